//! zero-window-timeout: the peer's window stayed closed to the end.
use std::{net::Shutdown, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    application::Reader,
    pair::{Family, Pair, Plan},
    peer,
    wire::Kind,
};

use super::{abort_unread, counted};
use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
    story::Story,
};

tests![
    a_peer_that_reads_nothing_within_the_user_timeout,
    a_peer_that_reads_nothing_and_then_goes_deaf,
    a_half_closed_end_whose_peer_reads_nothing,
];

/// So small that a peer that doesn't read closes its window at once.
const BUFFER: usize = 4096;

/// Holds that it was the window that ended it, which tells the peer nothing.
fn died(scene: &mut Scene, pair: &Pair) -> Result<Story> {
    let story = scene.ended(&pair.connection)?.is("zero-window-timeout", Some("ETIMEDOUT")).probes(0, 0).because(&["window"]);
    assert!(!scene.stage.capture.times(&pair.connection, Kind::WindowProbe)?.is_empty());
    assert!(scene.stage.capture.times(&pair.connection, Kind::Reset)?.is_empty());
    assert_eq!(counted(scene, "TCPAbortOnTimeout")?, 1);
    Ok(story)
}

fn a_peer_that_reads_nothing_within_the_user_timeout(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let plan = Plan::new(Family::V4).keepalive(1, 1, 3).user_timeout(Duration::from_secs(3)).buffers(BUFFER);
    let pair = scene.stage.connect(&plan)?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    pair.fill()?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    died(&mut scene, &pair)?.because(&["TCP_USER_TIMEOUT"]);
    abort_unread(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}

fn a_peer_that_reads_nothing_and_then_goes_deaf(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_retries2", 3)?;
    let pair = scene.stage.connect(&Plan::new(Family::V6).keepalive(1, 1, 3).buffers(BUFFER))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    pair.fill()?;
    sleep(Duration::from_secs(2)); // asked about its window and answering, it would live for ever
    peer::deafen(&pair.server)?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    died(&mut scene, &pair)?;
    abort_unread(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}

fn a_half_closed_end_whose_peer_reads_nothing(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let plan = Plan::new(Family::Mapped).user_timeout(Duration::from_secs(2)).buffers(BUFFER);
    let pair = scene.stage.connect(&plan)?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    pair.fill()?;
    pair.client.shutdown(Shutdown::Write).context("shutdown")?; // the FIN waits behind what is unsent
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    died(&mut scene, &pair)?.because(&["TCP_USER_TIMEOUT"]);
    abort_unread(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}
