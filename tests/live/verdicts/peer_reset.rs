//! peer-reset-on-probe and peer-reset: RST came from the peer, in answer to a probe or otherwise.
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{
    application::Reader,
    pair::{Connection, Family, Pair, Plan},
    peer,
    wire::Kind,
};

use super::{abort, counted, three_probes};
use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
};

tests![
    a_peer_that_rebooted_answers_the_probe,
    a_middlebox_answers_the_probe,
    a_middlebox_answers_the_third_probe,
    a_peer_that_closes_with_linger_zero,
    data_to_a_peer_that_rebooted,
    data_sent_after_a_probe_that_nobody_answered,
];

const ON_PROBE: [&str; 4] = ["open connect", "probe 1/3 sent", "reply 1 reset", "end peer-reset-on-probe"];
/// The middlebox takes its time.
const DELAY: Duration = Duration::from_millis(50);

/// TCP_REPAIR took the socket out of the kernel's hands, so its peer heard of nothing.
fn forgot(scene: &Scene, server: &Connection) -> Result<()> {
    scene.ended(server)?.is("local-abort", None).because(&["TCP_REPAIR"]);
    Ok(())
}

fn a_peer_that_rebooted_answers_the_probe(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&three_probes(Family::V4))?;
    let reader = Reader::start(&client, LIMIT)?;
    peer::forget(server)?;
    forgot(&scene, &connection.other_end())?;
    assert_eq!(reader.wait()?.0.name(), "ECONNRESET");
    let story = scene.ended(&connection)?.is("peer-reset-on-probe", Some("ECONNRESET")).probes(1, 0);
    story.because(&["RST", "probe"]).tells(&ON_PROBE);
    assert_eq!(scene.stage.capture.answers(&connection)?, [Kind::Reset]);
    assert_eq!(counted(&scene, "EstabResets")?, 2, "neither end left ESTABLISHED in order");
    drop(client);
    scene.hold()
}

fn a_middlebox_answers_the_probe(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::V6).keepalive(1, 2, 3))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    peer::deafen(&pair.server)?;
    scene.stage.reset_in_answer(&pair.connection, DELAY, LIMIT)?;
    assert_eq!(reader.wait()?.0.name(), "ECONNRESET");
    let story = scene.ended(&pair.connection)?.is("peer-reset-on-probe", Some("ECONNRESET")).probes(1, 0);
    story.because(&["RST", "probe"]).tells(&ON_PROBE);
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}

fn a_middlebox_answers_the_third_probe(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&three_probes(Family::Mapped))?;
    peer::deafen(&pair.server)?;
    scene.stage.capture.wait_for_probes(&pair.connection, 2, LIMIT)?;
    scene.stage.reset_in_answer(&pair.connection, DELAY, LIMIT)?;
    let story = scene.ended(&pair.connection)?.is("peer-reset-on-probe", Some("ECONNRESET")).probes(3, 2);
    let story = story.because(&["RST", "probe"]);
    let reply = story.events.iter().find(|event| event.kind == "reply").context("no reply")?;
    assert_eq!((reply.gist().as_str(), reply.missed), ("reply 3 reset", Some(2)));
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}

fn a_peer_that_closes_with_linger_zero(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(&three_probes(Family::V6))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    assert_eq!(reader.wait()?.0.name(), "ECONNRESET");
    let story = scene.ended(&pair.connection)?.is("peer-reset", Some("ECONNRESET")).probes(0, 0);
    story.because(&["RST"]).tells(&["open connect", "end peer-reset"]);
    scene.hold()
}

fn data_to_a_peer_that_rebooted(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&three_probes(Family::Mapped))?;
    let reader = Reader::start(&client, LIMIT)?;
    peer::forget(server)?;
    forgot(&scene, &connection.other_end())?;
    client.send(b"anybody there?").context("send")?;
    assert_eq!(reader.wait()?.0.name(), "ECONNRESET");
    let story = scene.ended(&connection)?.is("peer-reset", Some("ECONNRESET")).probes(0, 0);
    story.because(&["RST"]).tells(&["open connect", "end peer-reset"]);
    assert!(scene.stage.capture.times(&connection, Kind::Probe)?.is_empty());
    drop(client);
    scene.hold()
}

/// The probe met silence, and what the RST answers is the data: keepalive has found nothing out.
fn data_sent_after_a_probe_that_nobody_answered(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V4).keepalive(1, 5, 3))?;
    let reader = Reader::start(&client, LIMIT)?;
    peer::deafen(&server)?;
    scene.stage.capture.wait_for_probes(&connection, 1, LIMIT)?;
    peer::forget(server)?;
    forgot(&scene, &connection.other_end())?;
    client.send(b"anybody there?").context("send")?;
    assert_eq!(reader.wait()?.0.name(), "ECONNRESET");
    let story =
        scene.ended(&connection)?.is("peer-reset", Some("ECONNRESET")).probes(1, 1).because(&["RST", "after the last probe"]);
    story.tells(&["open connect", "probe 1/3 sent", "end peer-reset"]);
    drop(client);
    scene.hold()
}
