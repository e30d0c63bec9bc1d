//! The kernel's own defaults, in full: 7200 s, 75 s, 9 probes.
use std::{ops::RangeInclusive, time::Duration};

use anyhow::{Context, Result};
use lab::{
    application::Reader,
    clock::{self, between, wheel_lateness},
    pair::{Family, Plan},
    peer,
    wire::Kind,
};
use socket2::TcpKeepalive;

use crate::{
    bench::{Bench, tests},
    scene::same_moment,
};

tests![a_dead_peer_is_noticed_after_two_hours_eleven_minutes_and_fifteen_seconds];

const TIME: Duration = Duration::from_secs(7200);
const INTERVAL: Duration = Duration::from_secs(75);
const PROBES: usize = 9;

fn a_dead_peer_is_noticed_after_two_hours_eleven_minutes_and_fifteen_seconds(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::V4).keepalive_with(TcpKeepalive::new()))?;
    let start = clock::now();
    let reader = Reader::start(&pair.client, 2 * TIME)?;
    peer::deafen(&pair.server)?;
    let (ending, ended) = reader.wait()?;
    assert_eq!(ending.name(), "ETIMEDOUT");

    let probes = (1..=PROBES).map(|n| format!("probe {n}/{PROBES} sent"));
    let story: Vec<String> = probes.chain(["reset keepalive-timeout".to_owned()]).collect();
    let story: Vec<&str> = story.iter().map(String::as_str).collect();
    let events = scene.is(&pair.connection, &story)?;
    for event in &events {
        assert_eq!((event.time_s, event.intvl_s, event.probes), (Some(7200), Some(75), Some(9)));
        let origin = event.origin.as_ref().context("no origin")?;
        assert_eq!([&*origin.time, &*origin.intvl, &*origin.probes], ["sysctl"; 3]);
    }
    assert!(events[..PROBES].iter().all(|event| event.next_ms == Some(75_000)), "{events:?}");

    // Each wait ends within one slot of the timer wheel after its deadline: for two hours at HZ=250 that is 131 s, for 75 s it is 2 s.
    let hz = clock::hz()?;
    let in_order = |delay| -> RangeInclusive<Duration> { delay..=delay + wheel_lateness(delay, hz) };
    let first = between(start, events[0].at());
    assert!(in_order(TIME).contains(&first), "the first probe came after {first:?}");
    for pair in events.windows(2) {
        let waited = between(pair[0].at(), pair[1].at());
        assert!(in_order(INTERVAL).contains(&waited), "{waited:?} between {} and {}", pair[0].gist(), pair[1].gist());
    }
    assert_eq!(scene.stage.capture.times(&pair.connection, Kind::Probe)?.len(), PROBES);
    same_moment(events[PROBES].at(), ended, "the death told and the application's error");
    drop(pair);
    scene.hold()
}
