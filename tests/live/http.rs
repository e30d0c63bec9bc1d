//! HTTP Keep-Alive beside TCP keepalive: what was said, who hung up, and what never leaves the kernel or the tracer.
mod findings;
mod limits;
mod others;

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    event::Event,
    pair::{Connection, Family, Pair, Plan},
    stage::Stage,
    tracer::{Finished, Tracer},
};
use socket2::Socket;

use crate::bench::{Bench, LIMIT, tests};
use findings::*;
use limits::*;
use others::*;

tests![
    a_server_that_hangs_up_when_it_said_is_told_from_one_that_meets_a_request,
    heads_come_in_any_pieces_and_in_heaps,
    a_request_that_nobody_has_accepted_yet_is_told_when_somebody_does,
    no_secret_is_printed_or_recorded,
    what_is_no_http_makes_no_events,
    heads_that_find_their_ring_full_are_counted,
    connections_that_find_their_table_full_are_counted,
    heads_beyond_what_is_read_are_counted_and_the_next_are_told,
    a_head_in_a_segment_of_many_packets_is_told_and_its_body_is_not_looked_at,
    what_is_no_http_passes_at_full_speed_without_a_record,
    tls_is_said_once,
    tls_of_others_and_what_only_looks_like_it_are_not_mentioned,
    another_protocol_is_said_at_the_end,
    a_request_that_makes_its_connection_is_told_whole_and_in_pieces,
    a_head_in_pieces_before_anybody_accepts_is_told,
    a_client_that_asks_when_the_timeout_is_over_or_too_often_is_told,
    keepalive_that_waits_longer_than_the_server_does_never_acts,
    a_server_that_is_gone_leaves_a_zombie_where_keepalive_is_off,
    what_reuse_saved_is_estimated_by_another_handshake_to_the_same_address,
    a_request_that_is_reset_unread_when_the_timeout_is_due_is_a_race,
];

const SECOND: Duration = Duration::from_secs(1);
const GET: &[u8] = b"GET /inbox HTTP/1.1\r\nHost: example.com\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=1, max=100\r\n\r\nok";

/// What HTTP did on a connection's local end, and its end.
fn story(events: &[Event], connection: &Connection) -> Vec<String> {
    let its = events.iter().filter(|event| event.is_of(connection));
    its.filter(|event| event.kind == "http" || event.kind == "end")
        .map(|event| match &event.http {
            Some(http) => format!("{}, {http}", event.gist()),
            None => event.gist(),
        })
        .collect()
}

fn end<'a>(finished: &'a Finished, connection: &Connection) -> Result<&'a Event> {
    finished.events.iter().find(|event| event.kind == "end" && event.is_of(connection)).context("no end")
}

fn connect(stage: &Stage, family: Family) -> Result<Pair> {
    stage.connect(&Plan::new(family))
}

/// A request and its response, each read before anything else happens.
fn exchange(pair: &Pair) -> Result<()> {
    pair.send(GET)?;
    read(&pair.server, GET.len())?;
    pair.server.send(OK)?;
    read(&pair.client, OK.len())
}

fn read(socket: &Socket, len: usize) -> Result<()> {
    use std::io::Read as _;
    let mut bytes = vec![0; len];
    let mut reader = socket;
    reader.read_exact(&mut bytes).context("cannot read")
}

/// One end closes, and the other when it has learnt that.
fn close(first: Socket, second: Socket) {
    drop(first);
    sleep(SECOND / 50);
    drop(second);
}

/// Waits until so many of these connections' ends are told, and stops.
fn stop(tracer: Tracer, connections: &[Connection]) -> Result<Finished> {
    for connection in connections {
        tracer.wait_for_some_of(connection, "the end", LIMIT, |event| event.kind == "end", 1)?;
    }
    let finished = tracer.stop()?;
    assert!(finished.status.success(), "{finished:?}");
    let lost = finished.events.iter().filter(|event| event.kind == "lost").collect::<Vec<_>>();
    assert!(lost.is_empty(), "{lost:?}");
    Ok(finished)
}

fn a_server_that_hangs_up_when_it_said_is_told_from_one_that_meets_a_request(bench: &Bench) -> Result<()> {
    for family in [Family::V4, Family::V6, Family::Mapped] {
        let stage = Stage::open()?;
        let tracer = bench.own_tracer(&["--http"])?;

        let idle = connect(&stage, family)?;
        (0..3).try_for_each(|_| exchange(&idle))?;
        sleep(SECOND);
        let idle_ends = [idle.connection, idle.connection.other_end()];
        drop(idle.server);
        sleep(SECOND / 10);
        drop(idle.client);

        let race = connect(&stage, family)?;
        exchange(&race)?;
        sleep(SECOND);
        let race_ends = [race.connection, race.connection.other_end()];
        drop(race.server);
        sleep(SECOND / 10);
        race.client.send(GET)?;
        sleep(SECOND / 10);
        drop(race.client);

        let all = [idle_ends, race_ends].concat();
        let finished = stop(tracer, &all)?;
        let heads = ["request 1 GET", "response 1 200", "request 2 GET", "response 2 200", "request 3 GET", "response 3 200"];
        let told = story(&finished.events, &idle_ends[0]);
        assert_eq!(told, [&heads[..], &["end peer-close, idle-timeout"]].concat());
        assert_eq!(story(&finished.events, &idle_ends[1]), [&heads[..], &["end local-close, idle-timeout"]].concat());
        let told = story(&finished.events, &race_ends[0]);
        assert_eq!(told, [&heads[..3], &["end peer-reset, race"]].concat());
        // By then the server has nothing left but a time-wait socket.
        assert_eq!(story(&finished.events, &race_ends[1]), [&heads[..2], &["end local-close, idle-timeout"]].concat());

        let end = end(&finished, &idle_ends[0])?;
        assert_eq!((end.requests, end.responses, end.handshakes_saved), (Some(3), Some(3), Some(2)));
        assert!(end.saved_us.is_some_and(|us| us > 0) && end.saved_from.as_deref() == Some("connection"), "{end:?}");
        let why = end.why.as_deref().context("no why")?;
        assert!(why.contains("HTTP: the server closed it after 1.0") && why.contains("timeout=1, max=100"), "{why}");
        let response = finished.events.iter().find(|event| event.is_of(&idle_ends[0]) && event.status.is_some());
        let response = response.context("no response")?;
        assert_eq!((response.timeout_s, response.max, response.connection.as_deref()), (Some(1), Some(100), Some("keep-alive")));
    }
    Ok(())
}

fn heads_come_in_any_pieces_and_in_heaps(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let pieces = connect(&stage, Family::V4)?;
    pieces.client.set_tcp_nodelay(true)?;
    pieces.send(&GET[..5])?;
    for piece in GET[5..].chunks(7) {
        sleep(SECOND / 50);
        pieces.send(piece)?;
    }
    read(&pieces.server, GET.len())?;
    pieces.server.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    sleep(SECOND / 50);
    // A head with more in it than a segment of the kernel's copy has room for at once.
    let cookies = format!("Set-Cookie: {}\r\n", "c".repeat(700)).repeat(8);
    let answer = format!("HTTP/1.1 200 OK\r\n{cookies}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    pieces.server.send(answer.as_bytes())?;
    read(&pieces.client, 25 + answer.len())?;
    let connection = pieces.connection;
    close(pieces.server, pieces.client);

    let heap = connect(&stage, Family::V6)?;
    let post = b"POST /x HTTP/1.1\r\nContent-Length: 6\r\n\r\nGET /y";
    let requests = [GET, post, GET].concat();
    heap.send(&requests)?;
    read(&heap.server, requests.len())?;
    let answers = [OK, b"HTTP/1.1 204 No Content\r\n\r\n", OK].concat();
    heap.server.send(&answers)?;
    read(&heap.client, answers.len())?;
    let heaped = heap.connection;
    close(heap.client, heap.server);

    let finished = stop(tracer, &[connection, heaped])?;
    let told = story(&finished.events, &connection);
    assert_eq!(told, ["request 1 GET", "response 1 100", "response 1 200", "end peer-close, connection-close"]);
    let told = story(&finished.events, &heaped);
    let requests = ["request 1 GET", "request 2 POST", "request 3 GET"];
    assert_eq!(told, [&requests[..], &["response 1 200", "response 2 204", "response 3 200", "end local-close"]].concat());
    Ok(())
}

fn a_request_that_nobody_has_accepted_yet_is_told_when_somebody_does(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let plan = Plan::new(Family::V4);
    let (listener, client) = stage.netns.enter(|| Ok((plan.listen()?, plan.client_socket()?)))?;
    client.connect(&listener.local_addr()?)?;
    client.send(GET)?;
    sleep(SECOND / 2);
    let (server, _) = listener.accept()?;
    let connection = lab::pair::connection(&stage.netns, &client)?.other_end();
    read(&server, GET.len())?;
    close(server, client);
    let finished = stop(tracer, &[connection])?;
    let its = finished.events.iter().filter(|event| event.is_of(&connection)).map(Event::gist).collect::<Vec<_>>();
    assert_eq!(its[..2], ["open accept", "request 1 GET"], "{its:?}");
    Ok(())
}

fn no_secret_is_printed_or_recorded(bench: &Bench) -> Result<()> {
    const SECRET: &str = "s3cr3t";
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let pair = connect(&stage, Family::V4)?;
    let head = format!(
        "POST /{SECRET}?{SECRET}=1#{SECRET} HTTP/1.1\r\nHost: {SECRET}\r\nAuthorization: Basic {SECRET}\r\nCookie: {SECRET}\r\n\
         Connection: keep-alive, {SECRET}\r\nKeep-Alive: timeout=7, {SECRET}=1\r\nX-{SECRET}: 1\r\nContent-Length: 6\r\n\r\n{SECRET}"
    );
    pair.send(head.as_bytes())?;
    read(&pair.server, head.len())?;
    let answer = format!("HTTP/1.1 200 {SECRET}\r\nSet-Cookie: {SECRET}\r\nContent-Length: 6\r\n\r\n{SECRET}");
    pair.server.send(answer.as_bytes())?;
    read(&pair.client, answer.len())?;
    let connection = pair.connection;
    close(pair.client, pair.server);
    let finished = stop(tracer, &[connection])?;
    assert_eq!(story(&finished.events, &connection), ["request 1 POST", "response 1 200", "end local-close"]);
    let printed = finished.events.iter().map(|event| event.line.as_str()).collect::<String>() + &finished.errors;
    assert!(printed.contains("\"timeout_s\":7"), "{printed}");
    // Its recording was replayed to these very lines, as that of every tracer is that runs here.
    assert!(!printed.contains(SECRET), "{printed}");
    Ok(())
}

fn what_is_no_http_makes_no_events(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let pair = connect(&stage, Family::V4)?;
    let others: [&[u8]; 5] = [b"\x16\x03\x01\x02\x00", b"SELECT 1", b"get key\r\n", b"HTTPS is not it\r\n\r\n", b"G"];
    for bytes in others {
        pair.send(bytes)?;
        read(&pair.server, bytes.len())?;
    }
    let connection = pair.connection;
    close(pair.client, pair.server);
    tracer.wait_for_some_of(&connection, "the end", LIMIT, |event| event.kind == "end", 1)?;
    let finished = tracer.stop()?;
    assert_eq!(story(&finished.events, &connection), ["end local-close"]);
    // What began like a message and was none is said to be unreadable, at both ends.
    let lost = finished.events.iter().filter(|event| event.kind == "lost").map(|event| (event.count, event.place.clone()));
    assert_eq!(lost.collect::<Vec<_>>(), [(Some(2), Some("reader".to_owned()))]);
    Ok(())
}
