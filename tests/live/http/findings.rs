//! What was wrong with how a connection was kept: who broke which promise, and which of the two mechanisms left a hole.
use lab::{event::Event, silence::Silence, wire::Kind};

use super::*;

/// Longer than a kernel tries to deliver a FIN to nobody.
const LONG: Duration = Duration::from_secs(400);

/// An exchange in which the server promises this.
fn promising(pair: &Pair, promise: &str) -> Result<()> {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: {promise}\r\n\r\nok");
    pair.send(GET)?;
    read(&pair.server, GET.len())?;
    pair.server.send(answer.as_bytes())?;
    read(&pair.client, answer.len())
}

fn findings(end: &Event) -> Vec<&str> {
    end.findings.iter().map(String::as_str).collect()
}

fn why(end: &Event) -> &str {
    end.why.as_deref().unwrap_or_default()
}

pub fn a_client_that_asks_when_the_timeout_is_over_or_too_often_is_told(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let [late, in_time, often] = [Family::V4, Family::V6, Family::Mapped].map(|family| connect(&stage, family));
    let (late, in_time, often) = (late?, in_time?, often?);
    for (pair, wait_ms) in [(&late, 2100), (&in_time, 1900)] {
        promising(pair, "timeout=2")?;
        sleep(Duration::from_millis(wait_ms));
        promising(pair, "timeout=2")?;
    }
    ["max=2", "max=1", "max=0", "max=0"].iter().try_for_each(|max| promising(&often, max))?;
    let all = [&late, &in_time, &often].map(|pair| pair.connection);
    for pair in [late, in_time, often] {
        close(pair.client, pair.server);
    }
    let finished = stop(tracer, &all.map(|end| [end, end.other_end()]).concat())?;
    let ends =
        |of: fn(Connection) -> Connection| all.iter().map(|end_of| end(&finished, &of(*end_of))).collect::<Result<Vec<_>>>();
    let [clients, servers] = [ends(|client| client)?, ends(|client| client.other_end())?];
    assert_eq!(findings(clients[0]), ["reuse-beyond-promise"], "{:?}", clients[0]);
    let late = why(clients[0]);
    assert!(late.contains("the client asked again after 2.1") && late.contains("when timeout=2 was over"), "{late}");
    assert_eq!(findings(clients[1]), [""; 0], "{:?}", clients[1]);
    assert_eq!(findings(clients[2]), ["promise-broken", "reuse-beyond-promise"], "{:?}", clients[2]);
    let often = why(clients[2]);
    assert!(often.contains("the server answered 4 requests, more than it had promised"), "{often}");
    assert!(often.contains("the client asked 4 times, more than it was allowed"), "{often}");
    // The server's host knows when a request came, and not when it was sent.
    assert_eq!(servers.iter().map(|end| findings(end)).collect::<Vec<_>>(), [vec![], vec![], vec!["promise-broken"]]);
    Ok(())
}

pub fn keepalive_that_waits_longer_than_the_server_does_never_acts(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let mut all = Vec::new();
    for time in [7200, 1] {
        let pair = stage.connect(&Plan::new(Family::V4).keepalive(time, 75, 9))?;
        promising(&pair, "timeout=2")?;
        sleep(2 * SECOND);
        all.push(pair.connection);
        close(pair.server, pair.client);
    }
    let finished = stop(tracer, &all.iter().flat_map(|end| [*end, end.other_end()]).collect::<Vec<_>>())?;
    let frames = stage.capture.frames()?;
    let probes = |of: &Connection| {
        let is_probe = |frame: &&lab::wire::Frame| frame.kind == Kind::Probe && frame.went(of.local, of.remote);
        frames.iter().filter(is_probe).count()
    };
    assert_eq!([probes(&all[0]), probes(&all[1])], [0, 1]);
    let [never, once] = [end(&finished, &all[0])?, end(&finished, &all[1])?];
    assert_eq!((findings(never), findings(once)), (vec!["keepalive-never-acts"], vec![]), "{never:?} {once:?}");
    assert!(why(never).ends_with("TCP keepalive, at 7200 s, could never act"), "{}", why(never));
    assert_eq!([never, once].map(|end| end.http.as_deref()), [Some("idle-timeout"); 2]);
    for server in &all {
        assert_eq!(findings(end(&finished, &server.other_end())?), [""; 0]);
    }
    Ok(())
}

/// The server is gone, and its close with it.
pub fn a_server_that_is_gone_leaves_a_zombie_where_keepalive_is_off(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    stage.netns.sysctl("tcp_orphan_retries", 1)?;
    let tracer = bench.own_tracer(&["--http"])?;
    let unwatched = connect(&stage, Family::V4)?;
    let watched = stage.connect(&Plan::new(Family::V6).keepalive(10, 1, 3))?;
    [&unwatched, &watched].iter().try_for_each(|pair| promising(pair, "timeout=2"))?;
    let _silence = Silence::whole(&stage.netns)?;
    sleep(60 * SECOND);
    let [zombie, dead] = [unwatched.connection, watched.connection];
    for pair in [unwatched, watched] {
        drop(pair);
    }
    for connection in [zombie, dead] {
        tracer.wait_for_some_of(&connection, "the end", LONG, |event| event.kind == "end", 1)?;
    }
    let finished = stop(tracer, &[])?;
    let [zombie, dead] = [end(&finished, &zombie)?, end(&finished, &dead)?];
    assert_eq!((findings(zombie), &zombie.http), (vec!["zombie-uncovered"], &None), "{zombie:?}");
    assert!(why(zombie).contains("the server's close was due and had not come in 60.0"), "{}", why(zombie));
    assert_eq!((dead.verdict.as_deref(), findings(dead)), (Some("keepalive-timeout"), vec![]), "{dead:?}");
    Ok(())
}

/// It was made before anybody looked, so its own handshake was measured by nobody.
pub fn what_reuse_saved_is_estimated_by_another_handshake_to_the_same_address(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let early = connect(&stage, Family::V4)?;
    let netns = stage.netns.inode().to_string();
    let tracer = bench.own_tracer(&["--http", "--netns", &netns])?;
    let later = connect(&stage, Family::V4)?;
    (0..3).try_for_each(|_| [&early, &later].iter().try_for_each(|pair| exchange(pair)))?;
    let all = [&early, &later].map(|pair| pair.connection);
    for pair in [early, later] {
        close(pair.client, pair.server);
    }
    let finished = stop(tracer, &all)?;
    let opened = finished.events.iter().find(|event| event.kind == "open" && event.is_of(&all[1])).context("no opening")?;
    let took = opened.connect_us.context("its handshake was not measured")?;
    let saved = all.map(|connection| end(&finished, &connection).map(|end| (end.saved_us, end.saved_from.clone())));
    let [early, later] = saved;
    assert_eq!(early?, (Some(2 * took), Some("peer".to_owned())));
    assert_eq!(later?, (Some(2 * took), Some("connection".to_owned())));
    Ok(())
}

pub fn a_request_that_is_reset_unread_when_the_timeout_is_due_is_a_race(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let mut all = Vec::new();
    for (family, idle_ms) in [(Family::V4, 2990), (Family::V6, 500)] {
        let pair = connect(&stage, family)?;
        promising(&pair, "timeout=3")?;
        sleep(Duration::from_millis(idle_ms));
        pair.send(GET)?;
        sleep(SECOND / 50);
        all.push(pair.connection);
        // It has not read that: its kernel says so with a RST.
        close(pair.server, pair.client);
    }
    let finished = stop(tracer, &all.iter().flat_map(|end| [*end, end.other_end()]).collect::<Vec<_>>())?;
    let heads = ["request 1 GET", "response 1 200", "request 2 GET"];
    for (connection, cause) in all.iter().zip([", race", ""]) {
        let [told, there] = [*connection, connection.other_end()].map(|end| story(&finished.events, &end));
        assert_eq!(told, [&heads[..], &[&format!("end peer-reset{cause}")]].concat());
        assert_eq!(there, [&heads[..], &[&format!("end local-abort{cause}")]].concat());
        for end_of in [*connection, connection.other_end()] {
            let why = why(end(&finished, &end_of)?);
            assert!(why.contains("HTTP: the server reset it after 0.02"), "{why}");
        }
    }
    Ok(())
}
