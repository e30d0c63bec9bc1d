//! user-timeout: TCP_USER_TIMEOUT passed while probes were unanswered. The kernel counts none then, it looks at the clock.
use std::time::Duration;

use anyhow::Result;
use lab::{
    application::Reader,
    clock::{hz, wheel_lateness},
    pair::{Family, Plan},
    peer,
    wire::Kind,
};

use super::{abort, counted};
use crate::{
    bench::{Bench, LIMIT, tests},
    story::Story,
};

tests![shorter_than_the_probes_would_take, longer_than_the_probes_would_take, on_a_half_closed_end];

/// Deafens the peer, and holds that so many probes are sent before the user timeout ends it.
fn dies(bench: &Bench, family: Family, count: u32, timeout: Duration, sent: u32) -> Result<Story> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&Plan::new(family).keepalive(1, 1, count).user_timeout(timeout))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    peer::deafen(&pair.server)?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");

    let story = scene.ended(&pair.connection)?.is("user-timeout", Some("ETIMEDOUT")).probes(sent, sent);
    let story = story.because(&["TCP_USER_TIMEOUT", "probe"]);
    // It is noticed at the first run of the timer after it has passed.
    let idle = Duration::from_millis(story.end().idle_ms.unwrap_or_default());
    let second = Duration::from_secs(1);
    let latest = timeout + second + (sent + 1) * wheel_lateness(second, hz()?);
    assert!((timeout..latest).contains(&idle), "idle for {idle:?}");
    assert_eq!(scene.stage.capture.times(&pair.connection, Kind::Probe)?.len(), sent as usize);
    assert_eq!(counted(&scene, "TCPAbortOnTimeout")?, 1);
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()?;
    Ok(story)
}

fn shorter_than_the_probes_would_take(bench: &Bench) -> Result<()> {
    let story = dies(bench, Family::V4, 9, Duration::from_millis(2500), 2)?;
    story.tells(&["open connect", "probe 1/9 sent", "probe 2/9 sent", "reset user-timeout", "end user-timeout"]);
    Ok(())
}

fn longer_than_the_probes_would_take(bench: &Bench) -> Result<()> {
    dies(bench, Family::V6, 2, Duration::from_secs(5), 4).map(drop)
}

fn on_a_half_closed_end(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::Mapped).keepalive(1, 1, 9).user_timeout(Duration::from_millis(1500)))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    pair.client.shutdown(std::net::Shutdown::Write)?;
    std::thread::sleep(super::A_MOMENT);
    peer::deafen(&pair.server)?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    scene.ended(&pair.connection)?.is("user-timeout", Some("ETIMEDOUT")).probes(1, 1).because(&["TCP_USER_TIMEOUT"]);
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}
