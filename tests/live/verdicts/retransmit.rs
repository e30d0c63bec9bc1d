//! retransmit-timeout: data was sent again and again to the end; keepalive never had a say.
use std::{thread::sleep, time::Duration};

use anyhow::Result;
use lab::{
    application::Reader,
    pair::{Family, Pair, Plan},
    peer,
    wire::Kind,
};

use super::{abort, counted, three_probes};
use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
    story::Story,
};

tests![
    data_that_nobody_acknowledges,
    data_that_nobody_acknowledges_within_the_user_timeout,
    data_sent_while_a_probe_is_unanswered,
];

/// Deafens the peer, sends, and holds that retransmission ends it, which tells the peer nothing.
fn dies(scene: &mut Scene, pair: &Pair) -> Result<Story> {
    let reader = Reader::start(&pair.client, LIMIT)?;
    peer::deafen(&pair.server)?;
    pair.send(b"anybody there?")?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    let story = scene.ended(&pair.connection)?.is("retransmit-timeout", Some("ETIMEDOUT")).because(&["data"]);
    assert!(scene.stage.capture.times(&pair.connection, Kind::Data)?.len() > 1, "sent again");
    assert!(scene.stage.capture.times(&pair.connection, Kind::Reset)?.is_empty());
    assert_eq!(counted(scene, "TCPAbortOnTimeout")?, 1);
    Ok(story)
}

fn data_that_nobody_acknowledges(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_retries2", 3)?;
    let pair = scene.stage.connect(&three_probes(Family::V4))?;
    let story = dies(&mut scene, &pair)?.probes(0, 0);
    assert!(!story.end().why.as_ref().is_some_and(|why| why.contains("TCP_USER_TIMEOUT")), "{:?}", story.end());
    let passed = story.events.iter().any(|event| event.gist() == "timer data-in-flight");
    assert_eq!(passed, bench.shows_timer_lines(), "keepalive passed: {story:?}");
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}

fn data_that_nobody_acknowledges_within_the_user_timeout(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let plan = three_probes(Family::V6).user_timeout(Duration::from_millis(1500));
    let pair = scene.stage.connect(&plan)?;
    dies(&mut scene, &pair)?.probes(0, 0).because(&["TCP_USER_TIMEOUT"]);
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}

/// The kernel's count of probes freezes while data is under way: one is unanswered, and yet it is not keepalive that ends it.
fn data_sent_while_a_probe_is_unanswered(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_retries2", 3)?;
    let pair = scene.stage.connect(&Plan::new(Family::Mapped).keepalive(1, 2, 3))?;
    peer::deafen(&pair.server)?;
    scene.stage.capture.wait_for_probes(&pair.connection, 1, LIMIT)?;
    sleep(Duration::from_millis(100));
    dies(&mut scene, &pair)?.probes(1, 1);
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}
