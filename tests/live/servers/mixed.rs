//! HTTP Keep-Alive and TCP keepalive on the same connection: which of the two ended it, or who else.
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{
    event::Event,
    pair::Connection,
    server::ADDRESS,
    silence::Silence,
    stage::Stage,
    tracer::Tracer,
    wire::{Frame, Kind},
};

use super::{URL, lines, nginx, start_pool};
use crate::bench::{Bench, LIMIT, tests};

tests![
    in_a_silent_network_tcp_keepalive_ends_what_http_would_have_kept,
    in_a_silent_network_http_ends_what_tcp_keepalive_would_have_kept,
    a_middlebox_that_has_forgotten_the_connection_is_neither,
    a_request_into_a_network_that_has_forgotten_the_connection_meets_no_close,
];

/// The client's keepalive: the first probe after 5 s, and two more, 2 s apart.
const KEEPALIVE: &str = "5/2/3";
/// The server's, with these settings of nginx.
const SERVERS_KEEPALIVE: &str = "10s:2s:3";
/// Longer than a kernel tries to deliver a FIN.
const LONG: Duration = Duration::from_secs(400);

fn configuration(keepalive: &str, timeout: &str) -> String {
    let kept = nginx::BARE.replace("keepalive_timeout 300ms", &format!("keepalive_timeout {timeout}"));
    kept.replace("listen 127.0.0.1:8080", &format!("listen 127.0.0.1:8080 so_keepalive={keepalive}"))
}

/// The connection of a client in this namespace, once its first response has come.
fn answered(stage: &Stage, tracer: &Tracer) -> Result<Connection> {
    let netns = stage.netns.id();
    let is_response =
        |event: &Event| event.is_in(netns) && event.status.is_some() && event.rport == Some(ADDRESS.1) && event.kind == "http";
    tracer.wait_for("a response", LIMIT, |events| events.iter().any(is_response))?;
    let port = tracer.events().iter().find(|event| is_response(event)).and_then(|event| event.lport).context("no port")?;
    let address = |port| (ADDRESS.0, port).into();
    Ok(Connection { ip: 4, netns, local: address(port), remote: address(ADDRESS.1) })
}

fn end(tracer: &Tracer, of: &Connection) -> Result<Event> {
    tracer.wait_for_some_of(of, "the end", LONG, |event| event.kind == "end", 1)?;
    tracer.events_of(of).into_iter().find(|event| event.kind == "end").context("no end")
}

/// The verdict, what HTTP has to do with it, and the rest of the sentence from where it speaks of HTTP.
fn gist(end: &Event) -> (&str, &str, &str) {
    let why = end.why.as_deref().unwrap_or_default();
    let http = why.find("HTTP: ").map_or("", |place| &why[place..]);
    (end.verdict.as_deref().unwrap_or_default(), end.http.as_deref().unwrap_or_default(), http)
}

/// The segments of this kind that an end sent.
fn sent<'a>(frames: &'a [Frame], by: &'a Connection, kind: Kind) -> impl Iterator<Item = &'a Frame> {
    frames.iter().filter(move |frame| frame.kind == kind && frame.went(by.local, by.remote))
}

fn in_a_silent_network_tcp_keepalive_ends_what_http_would_have_kept(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let _server = nginx::start(&stage, &configuration(SERVERS_KEEPALIVE, "75s"))?;
    let tracer = bench.own_tracer(&["--http"])?;
    let client = start_pool(&stage.netns, URL, &[KEEPALIVE, "GET", "60"])?;
    let connection = answered(&stage, &tracer)?;
    let _silence = Silence::whole(&stage.netns)?;
    lines(client)?;
    let frames = stage.capture.frames()?;
    for of in [connection, connection.other_end()] {
        let end = end(&tracer, &of)?;
        let (verdict, cause, http) = gist(&end);
        assert_eq!((verdict, cause), ("keepalive-timeout", ""), "{end:?}");
        assert!(http.starts_with("HTTP: neither the client nor the server closed it"), "{http}");
        let [probes, resets, fins] = [Kind::Probe, Kind::Reset, Kind::Fin].map(|kind| sent(frames, &of, kind).count());
        assert_eq!((probes, resets, fins), (3, 1, 0), "{of:?}");
    }
    Ok(())
}

fn in_a_silent_network_http_ends_what_tcp_keepalive_would_have_kept(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let _server = nginx::start(&stage, &configuration(SERVERS_KEEPALIVE, "3s"))?;
    let tracer = bench.own_tracer(&["--http"])?;
    let client = start_pool(&stage.netns, URL, &[KEEPALIVE, "GET", "60"])?;
    let connection = answered(&stage, &tracer)?;
    let _silence = Silence::whole(&stage.netns)?;
    lines(client)?;
    let server = connection.other_end();
    let [ours, theirs] = [end(&tracer, &connection)?, end(&tracer, &server)?];
    // The server's program was done with it after 3 s, and its kernel tried to say so for as long as it does.
    let (verdict, cause, http) = gist(&theirs);
    assert_eq!((verdict, cause), ("orphan-timeout", "idle-timeout"), "{theirs:?}");
    assert!(http.starts_with("HTTP: the server closed it after 3.0"), "{http}");
    // The client's host never heard of it.
    assert_eq!((gist(&ours).0, gist(&ours).1), ("keepalive-timeout", ""), "{ours:?}");
    let frames = stage.capture.frames()?;
    let fin = sent(frames, &server, Kind::Fin).next().context("no FIN")?.segment.at;
    assert!(fin < sent(frames, &connection, Kind::Probe).next().context("no probe")?.segment.at);
    assert_eq!((sent(frames, &server, Kind::Probe).count(), sent(frames, &connection, Kind::Probe).count()), (0, 3));
    Ok(())
}

fn a_middlebox_that_has_forgotten_the_connection_is_neither(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let _server = nginx::start(&stage, &configuration("off", "75s"))?;
    let tracer = bench.own_tracer(&["--http"])?;
    let client = start_pool(&stage.netns, URL, &[KEEPALIVE, "GET", "20", "GET"])?;
    let connection = answered(&stage, &tracer)?;
    let silence = Silence::towards(&stage.netns, ADDRESS.1)?;
    stage.reset_in_answer(&connection, Duration::ZERO, LIMIT)?;
    drop(silence);
    let said = lines(client)?;
    let [ours, theirs] = [end(&tracer, &connection)?, end(&tracer, &connection.other_end())?];
    let (verdict, cause, http) = gist(&ours);
    assert_eq!((verdict, cause), ("peer-reset-on-probe", ""), "{ours:?}");
    assert!(http.starts_with("HTTP: neither the client nor the server closed it, 5."), "{http}");
    // The pool saw it in time, and took another connection.
    let port = connection.local.port().to_string();
    assert!(said.len() == 2 && said[0].starts_with(&port) && !said[1].starts_with(&port), "{said:?}");
    assert!(said.iter().all(|line| line.ends_with(" 200 -")), "{said:?}");
    // The server knew nothing of it, and kept to its timeout.
    let (verdict, cause, http) = gist(&theirs);
    assert_eq!((verdict, cause), ("local-close", "idle-timeout"), "{theirs:?}");
    assert!(http.starts_with("HTTP: the server closed it after 75.0"), "{http}");
    Ok(())
}

fn a_request_into_a_network_that_has_forgotten_the_connection_meets_no_close(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    stage.netns.sysctl("tcp_retries2", 5)?;
    let _server = nginx::start(&stage, &configuration("off", "3600s"))?;
    let tracer = bench.own_tracer(&["--http"])?;
    let client = start_pool(&stage.netns, URL, &["GET", "600", "GET"])?;
    let connection = answered(&stage, &tracer)?;
    let _silence = Silence::towards(&stage.netns, ADDRESS.1)?;
    let said = lines(client)?;
    assert_eq!(said[1..], [format!("{} TimeoutError {}", connection.local.port(), libc::ETIMEDOUT)], "{said:?}");
    let end = end(&tracer, &connection)?;
    assert_eq!(
        (gist(&end).0, gist(&end).1, end.requests, end.responses),
        ("retransmit-timeout", "", Some(2), Some(1)),
        "{end:?}"
    );
    Ok(())
}
