//! What is spoken that is no HTTP/1: said, and not guessed at. And requests that come before their connection is one.
use lab::sockopt;

use super::*;

const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
const NOTE: &str = "speaks TLS";

/// Says these bytes on a connection, and ends it.
fn say(stage: &Stage, tracer: &Tracer, bytes: &[&[u8]]) -> Result<lab::pair::Connection> {
    let pair = connect(stage, Family::V4)?;
    for bytes in bytes {
        pair.send(bytes)?;
        read(&pair.server, bytes.len())?;
    }
    let connection = pair.connection;
    close(pair.client, pair.server);
    tracer.wait_for_some_of(&connection, "the end", LIMIT, |event| event.kind == "end", 1)?;
    Ok(connection)
}

pub fn tls_is_said_once(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http", "-v"])?;
    let first = say(&stage, &tracer, &[CLIENT_HELLO, b"\x17\x03\x03\x00\x01x"])?;
    for _ in 0..3 {
        say(&stage, &tracer, &[CLIENT_HELLO])?;
    }
    let finished = tracer.stop()?;
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(finished.errors.matches(NOTE).count(), 1, "{}", finished.errors);
    assert!(finished.errors.contains(&format!("port {} {NOTE}", first.remote.port())), "{}", finished.errors);
    assert_eq!(finished.lost(), 0);
    Ok(())
}

pub fn tls_of_others_and_what_only_looks_like_it_are_not_mentioned(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    for (arguments, bytes) in [
        (["--comm", "nobody"], CLIENT_HELLO),
        (["--comm", "live"], b"\x16\x03\x01\x00\x02\x02\x00\x00\xc4\x03\x03".as_slice()),
        (["-D", "1"], CLIENT_HELLO),
    ] {
        let tracer = bench.own_tracer(&[&["--http", "-v"], &arguments[..]].concat())?;
        let pair = connect(&stage, Family::V4)?;
        pair.send(bytes)?;
        read(&pair.server, bytes.len())?;
        sleep(3 * SECOND);
        pair.send(bytes)?;
        sleep(SECOND);
        let finished = tracer.stop()?;
        assert!(!finished.errors.contains(NOTE), "{}", finished.errors);
    }
    Ok(())
}

pub fn another_protocol_is_said_at_the_end(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let http2 = say(&stage, &tracer, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", GET])?;
    let upgraded = connect(&stage, Family::V6)?;
    exchange(&upgraded)?;
    upgraded.send(GET)?;
    read(&upgraded.server, GET.len())?;
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    upgraded.server.send(switch)?;
    read(&upgraded.client, switch.len())?;
    upgraded.send(GET)?;
    read(&upgraded.server, GET.len())?;
    let connection = upgraded.connection;
    close(upgraded.client, upgraded.server);
    let finished = stop(tracer, &[http2, connection])?;
    assert_eq!(story(&finished.events, &http2), ["end local-close"]);
    let why = end(&finished, &http2)?.why.clone().context("no why")?;
    assert!(why.contains("HTTP: it spoke HTTP/2, which is not read"), "{why}");
    let heads = ["request 1 GET", "response 1 200", "request 2 GET", "response 2 101", "end local-close"];
    assert_eq!(story(&finished.events, &connection), heads);
    let why = end(&finished, &connection)?.why.clone().context("no why")?;
    assert!(why.contains("HTTP: from response 2 (101) on it spoke another protocol"), "{why}");
    Ok(())
}

pub fn a_request_that_makes_its_connection_is_told_whole_and_in_pieces(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    for family in [Family::V4, Family::V6] {
        for pieces in [vec![GET], vec![&GET[..6], &GET[6..20], &GET[20..]]] {
            let plan = Plan::new(family);
            let (listener, client) = stage.netns.enter(|| Ok((plan.listen()?, plan.client_socket()?)))?;
            // The handshake's last ACK is not enough for a connection then: the first data is.
            sockopt::set(&listener, sockopt::DEFER_ACCEPT, 30)?;
            client.set_tcp_nodelay(true)?;
            client.connect(&listener.local_addr()?)?;
            for piece in pieces {
                client.send(piece)?;
                sleep(SECOND / 20);
            }
            let (server, _) = listener.accept()?;
            let connection = lab::pair::connection(&stage.netns, &client)?.other_end();
            read(&server, GET.len())?;
            server.send(OK)?;
            read(&client, OK.len())?;
            close(server, client);
            tracer.wait_for_some_of(&connection, "the end", LIMIT, |event| event.kind == "end", 1)?;
            let its = tracer.events().into_iter().filter(|event| event.is_of(&connection)).collect::<Vec<_>>();
            assert_eq!(story(&its, &connection), ["request 1 GET", "response 1 200", "end local-close, idle-timeout"], "{its:?}");
        }
    }
    stop(tracer, &[])?;
    Ok(())
}

pub fn a_head_in_pieces_before_anybody_accepts_is_told(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let plan = Plan::new(Family::V6);
    let (listener, client) = stage.netns.enter(|| Ok((plan.listen()?, plan.client_socket()?)))?;
    client.set_tcp_nodelay(true)?;
    client.connect(&listener.local_addr()?)?;
    for piece in [&GET[..6], &GET[6..20], &GET[20..]] {
        client.send(piece)?;
        sleep(SECOND / 20);
    }
    let (server, _) = listener.accept()?;
    let connection = lab::pair::connection(&stage.netns, &client)?.other_end();
    read(&server, GET.len())?;
    close(server, client);
    let finished = stop(tracer, &[connection])?;
    let its = finished.events.iter().filter(|event| event.is_of(&connection)).map(Event::gist).collect::<Vec<_>>();
    assert_eq!(its[..2], ["open accept", "request 1 GET"], "{its:?}");
    Ok(())
}
