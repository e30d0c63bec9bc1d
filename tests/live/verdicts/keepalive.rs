//! keepalive-timeout: every probe went unanswered.
use std::{
    net::{Ipv4Addr, Shutdown},
    thread::sleep,
};

use anyhow::{Context, Result};
use lab::{
    application::{Reader, error_of},
    pair::{Family, Plan},
    peer,
    wire::Kind,
};
use socket2::TcpKeepalive;

use super::{A_MOMENT, abort, counted, three_probes};
use crate::bench::{Bench, LIMIT, tests};

tests![
    a_deaf_peer,
    no_probes_allowed_at_all,
    no_way_to_the_peer,
    a_half_closed_end_that_waits_for_the_peer_s_fin,
    an_end_whose_peer_has_closed_its_half,
];

const DEATH: [&str; 6] =
    ["open connect", "probe 1/3 sent", "probe 2/3 sent", "probe 3/3 sent", "reset keepalive-timeout", "end keepalive-timeout"];

fn a_deaf_peer(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&three_probes(Family::V4))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    peer::deafen(&pair.server)?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");

    let story = scene.ended(&pair.connection)?.is("keepalive-timeout", Some("ETIMEDOUT")).probes(3, 3).because(&["3", "probe"]);
    let story = story.opened("connect").tells(&DEATH);
    assert!(story.end().idle_ms >= Some(4000), "{:?}", story.end());
    assert!(story.events.iter().all(|event| event.cgroup.as_deref() == Some("/")), "{:?}", story.events);
    assert_eq!(scene.stage.capture.times(&pair.connection, Kind::Probe)?.len(), 3);
    assert_eq!(scene.stage.capture.times(&pair.connection, Kind::Reset)?.len(), 1);
    assert_eq!(counted(&scene, "TCPAbortOnTimeout")?, 1);
    abort(&scene, &pair.connection.other_end(), pair.server)?.opened("accept");
    scene.hold()
}

fn no_probes_allowed_at_all(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_keepalive_time", 1)?;
    scene.stage.netns.sysctl("tcp_keepalive_probes", 0)?;
    let pair = scene.stage.connect(&Plan::new(Family::V6).keepalive_with(TcpKeepalive::new()))?;
    let [client, server] = [Reader::start(&pair.client, LIMIT)?, Reader::start(&pair.server, LIMIT)?];
    assert_eq!(client.wait()?.0.name(), "ETIMEDOUT");

    let story =
        scene.ended(&pair.connection)?.is("keepalive-timeout", Some("ETIMEDOUT")).probes(0, 0).because(&["tcp_keepalive_probes"]);
    story.tells(&["open connect", "reset keepalive-timeout", "end keepalive-timeout"]);
    assert!(scene.stage.capture.times(&pair.connection, Kind::Probe)?.is_empty());
    // The peer is well, and hears of it.
    assert_eq!(server.wait()?.0.name(), "ECONNRESET");
    scene.ended(&pair.connection.other_end())?.is("peer-reset", Some("ECONNRESET")).probes(0, 0).because(&["RST"]);
    drop(pair);
    scene.hold()
}

fn no_way_to_the_peer(bench: &Bench) -> Result<()> {
    const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&three_probes(Family::V4).to((THERE, 0).into()))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    scene.stage.netns.lose_route(THERE)?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");

    let story = scene.ended(&pair.connection)?.is("keepalive-timeout", Some("ETIMEDOUT")).probes(3, 3);
    story.because(&["3", "dropped"]);
    assert!(scene.stage.capture.times(&pair.connection, Kind::Probe)?.is_empty());
    assert_eq!(counted(&scene, "TCPAbortFailed")?, 1, "the reset did not get away either");
    scene.stage.netns.find_route(THERE)?;
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}

/// FIN_WAIT2 with an owner: keepalive goes on as if nothing had been closed.
fn a_half_closed_end_that_waits_for_the_peer_s_fin(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(&three_probes(Family::Mapped))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    pair.client.shutdown(Shutdown::Write).context("shutdown")?;
    sleep(A_MOMENT);
    peer::deafen(&pair.server)?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    scene
        .ended(&pair.connection)?
        .is("keepalive-timeout", Some("ETIMEDOUT"))
        .probes(3, 3)
        .because(&["3", "probe"])
        .tells_but_early_runs(&DEATH);
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}

fn an_end_whose_peer_has_closed_its_half(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(&three_probes(Family::V6))?;
    pair.server.shutdown(Shutdown::Write).context("shutdown")?;
    sleep(A_MOMENT);
    peer::deafen(&pair.server)?;
    let story = scene.ended(&pair.connection)?.is("keepalive-timeout", Some("ETIMEDOUT")).probes(3, 3);
    assert_eq!(error_of(&pair.client)?.as_deref(), Some("ETIMEDOUT"));
    story.because(&["3", "probe"]).tells_but_early_runs(&DEATH);
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}
