//! What was told of the connections to one server, beside what passed on the wire.
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    clock::between,
    event::Event,
    netns::Id,
    server::ADDRESS,
    stage::Stage,
    tracer::Tracer,
    wire::{Frame, Kind},
};

use crate::bench::LIMIT;

/// What is told of a moment, and the wire's own stamp of it, are so far apart at most: both are taken in one run of the kernel's.
const APART: Duration = Duration::from_millis(1);

/// One connection to the server.
pub struct Link {
    /// The client's.
    pub port: u16,
    /// What was told of the client's end, and of the server's.
    pub ends: [Vec<Event>; 2],
    /// What passed, both ways.
    pub frames: Vec<Frame>,
}

/// Who hung up first on the wire, and how long no payload had passed then.
pub struct Close {
    pub by_server: bool,
    pub idle: Duration,
}

impl Link {
    /// The essence of each message, as told of the client's end, and in the end what HTTP had to do with the connection's end.
    pub fn story(&self) -> Vec<String> {
        let [client, _] = &self.ends;
        let mut story = messages(client);
        story.extend(client.iter().filter(|event| event.kind == "end").map(|end| end.http.as_deref().unwrap_or("-").to_owned()));
        story
    }

    /// How long no payload had passed when somebody hung up, in whole seconds, and whether that was the server.
    pub fn idle(&self) -> Result<(u64, bool)> {
        let Close { by_server, idle, .. } = self.close().context("nobody closed")?;
        Ok(((idle.as_secs_f64() * 10.0).round() as u64 / 10, by_server))
    }

    /// The line of an end's end.
    pub fn end(&self, which: usize) -> Result<&Event> {
        let end = self.ends[which].iter().find(|event| event.kind == "end");
        end.with_context(|| format!("no end of {} of port {}", ["the client's end", "the server's end"][which], self.port))
    }

    /// What was said of a message by the client's end.
    pub fn heads(&self) -> impl Iterator<Item = &Event> {
        self.ends[0].iter().filter(|event| event.kind == "http")
    }

    /// What each response promised: `timeout/max`, or `-` for what it didn't say.
    pub fn promises(&self) -> Vec<String> {
        let word = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let responses = self.heads().filter(|event| event.status.is_some_and(|status| status >= 200));
        responses.map(|event| format!("{}/{}", word(event.timeout_s), word(event.max))).collect()
    }

    pub fn close(&self) -> Option<Close> {
        let place = self.frames.iter().position(|frame| matches!(frame.kind, Kind::Fin | Kind::Reset))?;
        let (before, closing) = (&self.frames[..place], &self.frames[place]);
        let last = before.iter().rev().find(|frame| frame.segment.length > 0)?;
        let idle = between(last.segment.at, closing.segment.at);
        Some(Close { by_server: closing.segment.from.port() == ADDRESS.1, idle })
    }

    /// Both ends tell the same messages and the same cause; how long it was idle is what the wire says, and who hung up first, too.
    fn hold(&self) -> Result<()> {
        let [client, server] = &self.ends;
        assert_eq!(messages(client), messages(server), "port {}", self.port);
        let (ours, theirs) = (self.end(0)?, self.end(1)?);
        let counts = |event: &Event| (event.requests, event.responses, event.handshakes_saved, event.http.clone());
        assert_eq!(counts(ours), counts(theirs), "port {}: {ours:?}, {theirs:?}", self.port);
        let told = messages(client).iter().filter(|message| message.starts_with("request")).count();
        assert_eq!(ours.requests.unwrap_or_default() as usize, told, "{ours:?}");
        if client.iter().any(|event| event.status == Some(101)) {
            // Of what came after the switch nothing is told.
            return Ok(());
        }
        let close = self.close().context("nobody closed")?;
        for (end, is_first) in [(ours, !close.by_server), (theirs, close.by_server)] {
            assert_eq!(end.verdict.as_deref(), Some(if is_first { "local-close" } else { "peer-close" }), "{end:?}");
            let why = end.why.as_deref().context("no why")?;
            let who = if close.by_server { "the server" } else { "the client" };
            let (_, told) = why.split_once(&format!("HTTP: {who} closed it")).with_context(|| format!("not {who}: {why}"))?;
            let told = told.strip_prefix(" after ").and_then(|rest| rest.split_once(" s without a message"));
            let told = told.and_then(|(seconds, _)| seconds.parse().ok()).with_context(|| format!("not how long: {why}"))?;
            let told = Duration::from_secs_f64(told);
            assert!(told.abs_diff(close.idle) <= APART, "port {}: {:?} on the wire, but told: {why}", self.port, close.idle);
        }
        Ok(())
    }
}

fn messages(events: &[Event]) -> Vec<String> {
    events.iter().filter(|event| event.kind == "http").map(Event::gist).collect()
}

/// How many requests a log has of each client's port, which its lines begin with, and how many are told of each connection.
pub fn as_logged<'a>(links: &[Link], lines: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut logged: BTreeMap<u16, u32> = BTreeMap::new();
    for line in lines {
        let port = line.split_whitespace().next().and_then(|word| word.parse().ok());
        *logged.entry(port.with_context(|| format!("no port: {line}"))?).or_default() += 1;
    }
    let told = links.iter().map(|link| Ok((link.port, link.end(0)?.requests.unwrap_or_default())));
    assert_eq!(told.collect::<Result<BTreeMap<_, _>>>()?, logged);
    Ok(())
}

/// The ports that a client named, in their order, each once.
pub fn ports(said: &[String]) -> Vec<u16> {
    let mut ports: Vec<u16> = said.iter().filter_map(|line| line.split_once(' ')?.0.parse().ok()).collect();
    ports.dedup();
    ports
}

/// Waits until the ends of so many connections are told, and stops the tracer; gives the connections in the order of their
/// handshakes, each held against its packets.
pub fn stop(tracer: Tracer, stage: &mut Stage, count: usize) -> Result<Vec<Link>> {
    let links = unheld(tracer, stage, count)?;
    links.iter().try_for_each(Link::hold)?;
    Ok(links)
}

/// Likewise, but the two ends may have seen different things.
pub fn unheld(tracer: Tracer, stage: &mut Stage, count: usize) -> Result<Vec<Link>> {
    let netns = stage.netns.id();
    let ends = |events: &[Event]| events.iter().filter(|event| event.is_in(netns) && event.kind == "end").count();
    let waited = tracer.wait_for(&format!("the ends of {count} connections"), LIMIT, |events| ends(events) >= 2 * count);
    waited.with_context(|| format!("{:?}", links(&tracer.events(), netns, &[]).iter().map(Link::story).collect::<Vec<_>>()))?;
    let finished = tracer.stop()?;
    ensure!(finished.status.success(), "{finished:?}");
    let lost: Vec<&Event> = finished.events.iter().filter(|event| event.kind == "lost").collect();
    ensure!(lost.is_empty(), "{lost:?}");
    let links = links(&finished.events, netns, stage.capture.frames()?);
    ensure!(links.len() == count, "{count} connections were expected: {:?}", links.iter().map(Link::story).collect::<Vec<_>>());
    Ok(links)
}

fn links(events: &[Event], netns: Id, frames: &[Frame]) -> Vec<Link> {
    let mut links: BTreeMap<u16, Link> = BTreeMap::new();
    let mut order = Vec::new();
    let server = Some(ADDRESS.1);
    let client_port = |frame: &Frame| {
        let ports = [frame.segment.from, frame.segment.to].map(|address: SocketAddr| address.port());
        ports.into_iter().find(|port| *port != ADDRESS.1)
    };
    for event in events.iter().filter(|event| event.is_in(netns)) {
        let (port, which) = match (event.lport, event.rport) {
            (Some(port), remote) if remote == server => (port, 0),
            (local, Some(port)) if local == server => (port, 1),
            _ => continue,
        };
        let link = links.entry(port).or_insert_with(|| {
            order.push(port);
            Link { port, ends: [Vec::new(), Vec::new()], frames: Vec::new() }
        });
        link.ends[which].push(event.clone());
    }
    for frame in frames {
        if let Some(link) = client_port(frame).and_then(|port| links.get_mut(&port)) {
            link.frames.push(*frame);
        }
    }
    order.iter().filter_map(|port| links.remove(port)).collect()
}
