//! Requests at the moment of an idle server's close.
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use lab::{
    clock::between,
    server::{ADDRESS, Client, PYTHON},
    silence::Silence,
    stage::Stage,
    wire::{Frame, Kind},
};

use super::{nginx, told};
use crate::bench::{Bench, tests};

tests![
    of_a_hundred_requests_at_the_close_each_that_met_it_is_told_and_no_other,
    requests_that_are_on_their_way_when_the_server_closes_are_races,
];

const SCRIPT: &str = include_str!("race.py");
/// Connections whose close is only waited for.
const WAITED: usize = 5;
const COUNT: usize = 100;
/// Requests leave up to so many seconds before and after the close.
const SPREAD: &str = "0.003";
/// Of the server.
const TIMEOUT: Duration = Duration::from_millis(300);

/// What the wire says of a connection's last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    /// Something was sent back.
    Answer,
    /// The server's FIN had not come yet, and it had nothing of the request when it sent that.
    CloseOnTheWay,
    /// The server's FIN had come.
    CloseBefore,
}

fn met(link: &told::Link) -> Result<Met> {
    let is_of_server = |frame: &Frame| frame.segment.from.port() == ADDRESS.1;
    let is_request = |frame: &Frame| frame.kind == Kind::Data && !is_of_server(frame);
    // Sent again and again, it is the same request.
    let last = link.frames.iter().filter(|frame| is_request(frame)).map(|frame| frame.segment.seq).max().context("no request")?;
    let sent = link.frames.iter().position(|frame| is_request(frame) && frame.segment.seq == last).context("no request")?;
    let (before, after) = link.frames.split_at(sent);
    if after.iter().any(|frame| is_of_server(frame) && frame.segment.length > 0) {
        return Ok(Met::Answer);
    }
    let fin = |frame: &&Frame| is_of_server(frame) && frame.kind == Kind::Fin;
    if before.iter().any(|frame| fin(&frame)) {
        return Ok(Met::CloseBefore);
    }
    match after.iter().find(fin) {
        Some(fin) if fin.segment.ack == last => Ok(Met::CloseOnTheWay),
        other => bail!("port {}: neither an answer nor a close: {other:?}", link.port),
    }
}

fn of_a_hundred_requests_at_the_close_each_that_met_it_is_told_and_no_other(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let _server = nginx::start(&stage, nginx::BARE)?;
    let tracer = bench.own_tracer(&["--http"])?;
    let said = Client::start(&stage.netns, PYTHON, &["-c", SCRIPT, &COUNT.to_string(), SPREAD])?.wait()?;
    let said: BTreeMap<u16, &str> = said
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(port, said)| Some((port.parse().ok()?, said)))
        .collect();
    assert_eq!(said.len(), COUNT, "{said:?}");
    let links = told::unheld(tracer, &mut stage, WAITED + COUNT)?;

    let mut counts: BTreeMap<Met, usize> = BTreeMap::new();
    for link in &links {
        let end = link.end(0)?;
        let Some(said) = said.get(&link.port) else {
            assert_eq!(end.http.as_deref(), Some("idle-timeout"), "{end:?}");
            continue;
        };
        let met = met(link)?;
        *counts.entry(met).or_default() += 1;
        let is_race = end.http.as_deref() == Some("race");
        assert_eq!(is_race, met != Met::Answer, "port {}: {met:?}, {said}: {end:?}", link.port);
        assert_eq!(is_race, *said != "200", "port {}: {met:?}, {said}: {end:?}", link.port);
        assert!(is_race || end.http.is_none() && end.responses == Some(2), "{end:?}");
        assert_eq!(end.why.as_deref().is_some_and(|why| why.contains("a request met the close")), is_race, "{end:?}");
    }
    let races = COUNT - counts.get(&Met::Answer).copied().unwrap_or_default();
    assert!((COUNT / 5..=COUNT - COUNT / 5).contains(&races), "not at the close: {counts:?}");
    Ok(())
}

/// What the client sends is lost on the way around the close, and the server's FIN is not.
fn requests_that_are_on_their_way_when_the_server_closes_are_races(bench: &Bench) -> Result<()> {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let mut stage = Stage::open()?;
    let _server = nginx::start(&stage, nginx::BARE)?;
    let tracer = bench.own_tracer(&["--http"])?;
    let start = lab::clock::now();
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = stage.netns.enter(|| Ok(TcpStream::connect(ADDRESS)?))?;
        client.write_all(REQUEST)?;
        let read = client.read(&mut [0; 4096])?;
        assert!(read > 0);
        clients.push(client);
    }
    let silence = Silence::towards(&stage.netns, ADDRESS.1)?;
    let until = TIMEOUT.checked_sub(between(start, lab::clock::now()) + Duration::from_millis(20));
    sleep(until.context("the machine is too slow")?);
    for client in &mut clients {
        client.write_all(REQUEST)?;
        sleep(Duration::from_millis(1));
    }
    sleep(TIMEOUT);
    drop(silence);
    for client in &mut clients {
        match client.read(&mut [0; 4096]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => bail!("an answer, or another error: {other:?}"),
        }
    }
    let count = clients.len();
    sleep(TIMEOUT);
    drop(clients);
    let links = told::unheld(tracer, &mut stage, count)?;
    for link in &links {
        assert_eq!(met(link)?, Met::CloseOnTheWay);
        assert_eq!(link.story(), ["request 1 GET", "response 1 200", "request 2 GET", "race"]);
        assert_eq!(link.end(1)?.http.as_deref(), Some("race"), "{:?}", link.end(1)?);
    }
    Ok(())
}
