//! Each connection as it picks a value up, or ends without.
use std::{thread::sleep, time::Duration};

use anyhow::Result;
use lab::{
    clock::{self, Moment, hz, jiffies_to_time},
    event::Event,
    pair::{Connection, Family, Plan},
    peer,
    role::Actor,
    sockopt::{self, KEEPALIVE, KEEPCNT, KEEPIDLE, USER_TIMEOUT},
    stage::Stage,
    wire::Kind,
};
use socket2::TcpKeepalive;

use super::{INTVL, SETTLE, TIME, Watch, counts, nobody_waits};
use crate::bench::{Bench, LIMIT};

/// When the connection's local end sent its probes.
fn probes(watch: &mut Watch, connection: &Connection, count: usize, limit: Duration) -> Result<Vec<Moment>> {
    watch.stage.capture.wait_for_probes(connection, count, limit)?;
    watch.stage.capture.times(connection, Kind::Probe)
}

/// Holds that the moment foretold is the latest at which the timer could fire, and not much later than it did.
fn fired_as_foretold(write: &Event, foretold: &Option<String>, fired: Moment) -> Result<()> {
    let latest = write.moment(foretold)?;
    // A window is three jiffies wide, and a written moment goes by another clock than the wire's stamps.
    let [width, clocks] = [jiffies_to_time(3, hz()?), Duration::from_millis(1)].map(|time| time.as_nanos() as Moment);
    assert!((latest - width - clocks..=latest + clocks).contains(&fired), "fired at {fired}, foretold was {latest}: {write:?}");
    Ok(())
}

pub fn a_lowered_time_is_followed_when_the_armed_timers_fire(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    let mut pairs = Vec::new();
    for (seconds, family) in [(90, Family::V4), (200, Family::V6), (400, Family::Mapped)] {
        watch.write(TIME, seconds)?;
        pairs.push(watch.by_sysctl(family)?);
    }
    let write = watch.write(TIME, 50)?;
    assert_eq!(counts(&write), [0, 3, 0, 3].map(Some), "{write:?}");
    let after = watch.by_sysctl(Family::V4)?;
    for (pair, foretold) in pairs.iter().zip([&write.nearest_at, &write.median_at, &write.last_at]) {
        let fired = probes(&mut watch, &pair.connection, 1, Duration::from_secs(500))?[0];
        fired_as_foretold(&write, foretold, fired)?;
        let pick_up = watch.pick_up(&pair.connection, LIMIT)?;
        watch.is_of_write(&pick_up, &write, fired)?;
        assert_eq!((pick_up.time_s, pick_up.keepalive), (Some(50), Some(true)), "{pick_up:?}");
    }
    // Nothing more comes of it, however often they are probed.
    sleep(Duration::from_secs(300));
    for pair in &pairs {
        watch.pick_up(&pair.connection, LIMIT)?;
    }
    assert!(watch.picked_up(&after.connection).is_empty(), "{:?}", watch.picked_up(&after.connection));
    watch.end()
}

pub fn a_raised_time_is_followed_when_the_armed_timer_fires(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    watch.write(TIME, 40)?;
    let pair = watch.by_sysctl(Family::V6)?;
    let write = watch.write(TIME, 100)?;
    let foretold = write.moment(&write.last_at)?;
    let pick_up = watch.pick_up(&pair.connection, Duration::from_secs(100))?;
    watch.is_of_write(&pick_up, &write, foretold)?;
    assert_eq!(pick_up.time_s, Some(100), "{pick_up:?}");
    // It fired too early for that, and sent nothing: the probe comes when the new time is over.
    let probed = probes(&mut watch, &pair.connection, 1, Duration::from_secs(200))?[0];
    let waited = clock::between(write.at(), probed);
    assert!(waited >= Duration::from_secs(99), "the probe came after {waited:?}");
    watch.pick_up(&pair.connection, LIMIT)?;
    watch.end()
}

pub fn who_ends_before_ends_under_the_old_value(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    watch.write(TIME, 300)?;
    let pairs = watch.some_by_sysctl(3)?;
    let write = watch.write(TIME, 100)?;
    assert_eq!(counts(&write), [0, 3, 0, 3].map(Some), "{write:?}");
    let connections: Vec<Connection> = pairs.iter().map(|pair| pair.connection).collect();
    sleep(Duration::from_secs(30));
    let [aborted, closed, stays] = <[_; 3]>::try_from(pairs).map_err(|_| anyhow::anyhow!("there are three"))?;
    aborted.abort_both()?;
    drop(closed);
    for connection in &connections[..2] {
        watch.tracer.wait_for_some_of(connection, "the end", LIMIT, |event| event.kind == "end", 1)?;
        let told = watch.told(connection);
        let ends: Vec<&Event> = told.iter().filter(|event| event.kind == "end").collect();
        assert_eq!(ends.len(), 1, "{told:?}");
        assert_eq!(ends[0].armed_before_sysctl, Some(true), "{told:?}");
        assert!(watch.picked_up(connection).is_empty(), "{told:?}");
    }
    // One that has followed ends like any other.
    watch.pick_up(&connections[2], Duration::from_secs(400))?;
    stays.abort_both()?;
    sleep(SETTLE);
    let told = watch.told(&connections[2]);
    assert!(told.iter().all(|event| event.armed_before_sysctl.is_none()), "{told:?}");
    watch.end()
}

/// An interval that is being waited for is not shortened.
pub fn an_interval_is_followed_by_the_wait_after_this_one(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    watch.write(TIME, 1)?;
    watch.write(INTVL, 30)?;
    let pair = watch.by_sysctl(Family::V4)?;
    peer::deafen(&pair.server)?;
    probes(&mut watch, &pair.connection, 1, LIMIT)?;
    let write = watch.write(INTVL, 2)?;
    assert_eq!(counts(&write), [0, 1, 0, 1].map(Some), "{write:?}");
    let sent = probes(&mut watch, &pair.connection, 3, LIMIT)?;
    fired_as_foretold(&write, &write.nearest_at, sent[1])?;
    let pick_up = watch.pick_up(&pair.connection, LIMIT)?;
    watch.is_of_write(&pick_up, &write, sent[1])?;
    assert_eq!((pick_up.time_s, pick_up.intvl_s), (Some(1), Some(2)), "{pick_up:?}");
    let next = clock::between(sent[1], sent[2]);
    assert!(next < Duration::from_secs(3), "the next probe came after {next:?}");
    pair.abort_both()?;
    watch.end()
}

pub fn keepalive_off_and_on_again_follows_at_once(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    watch.write(TIME, 200)?;
    let pair = watch.by_sysctl(Family::V4)?;
    let write = watch.write(TIME, 60)?;
    assert_eq!(counts(&write), [0, 1, 0, 1].map(Some), "{write:?}");
    sockopt::set(&pair.client, KEEPALIVE, 0)?;
    sleep(SETTLE);
    sockopt::set(&pair.client, KEEPALIVE, 1)?;
    let on = clock::now();
    let probed = probes(&mut watch, &pair.connection, 1, Duration::from_secs(100))?[0];
    let waited = clock::between(on, probed);
    assert!(waited >= Duration::from_secs(59) && waited < Duration::from_secs(70), "the probe came after {waited:?}");
    // It has followed when it was armed again; the old deadline is nothing to it any more.
    sleep(Duration::from_secs(300));
    let told = watch.picked_up(&pair.connection);
    let late = told.iter().filter(|event| event.via.as_deref() == Some("sysctl") && event.at() > on + 1_000_000_000);
    assert_eq!(late.count(), 0, "{told:?}");
    assert!(told.iter().filter(|event| event.via.as_deref() == Some("sysctl")).count() <= 1, "{told:?}");
    let connection = pair.connection;
    pair.abort_both()?;
    let told = watch.told(&connection);
    assert!(told.iter().all(|event| event.armed_before_sysctl.is_none()), "{told:?}");
    watch.end()
}

pub fn an_option_of_its_own_ends_the_waiting(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    watch.write(TIME, 200)?;
    let pair = watch.by_sysctl(Family::Mapped)?;
    watch.write(TIME, 60)?;
    sockopt::set(&pair.client, KEEPIDLE, 20)?;
    probes(&mut watch, &pair.connection, 1, LIMIT)?;
    sleep(Duration::from_secs(300));
    let told = watch.picked_up(&pair.connection);
    assert!(told.iter().all(|event| event.via.as_deref() != Some("sysctl")), "{told:?}");
    let write = watch.write(TIME, 50)?;
    assert_eq!(counts(&write), [0, 0, 1, 1].map(Some), "{write:?}");
    let connection = pair.connection;
    pair.abort_both()?;
    let told = watch.told(&connection);
    assert!(told.iter().all(|event| event.armed_before_sysctl.is_none()), "{told:?}");
    watch.end()
}

/// Of several writes while a timer is armed, the last is followed; and where that is what it was armed with, there is none to follow.
pub fn of_several_writes_the_last_is_followed(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    watch.write(TIME, 200)?;
    let pair = watch.by_sysctl(Family::V4)?;
    watch.write(TIME, 100)?;
    watch.write(TIME, 200)?;
    probes(&mut watch, &pair.connection, 1, Duration::from_secs(300))?;
    assert!(watch.picked_up(&pair.connection).is_empty(), "{:?}", watch.picked_up(&pair.connection));

    let again = watch.by_sysctl(Family::V6)?;
    watch.write(TIME, 80)?;
    let so_far = watch.writes().len();
    let mut other = Actor::enter("other-admin", &watch.stage.netns)?;
    other.sysctl(TIME, 50)?;
    let last = watch.next_write(so_far)?;
    let fired = probes(&mut watch, &again.connection, 1, Duration::from_secs(300))?[0];
    let pick_up = watch.pick_up(&again.connection, LIMIT)?;
    assert_eq!((pick_up.by_pid, pick_up.by_comm.as_deref()), (Some(other.pid()), Some("other-admin")), "{pick_up:?}");
    let waited = clock::between(last.at(), fired).as_millis();
    assert!(pick_up.waited_ms.is_some_and(|ms| u128::from(ms).abs_diff(waited) <= 20), "after {waited} ms: {pick_up:?}");
    assert_eq!(pick_up.time_s, Some(50), "{pick_up:?}");
    watch.end()
}

/// Setting one thing does not end the waiting for another.
pub fn another_option_does_not_end_the_waiting(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    // It was there before anybody watched.
    let pair = stage.connect(&Plan::new(Family::V4).keepalive_with(TcpKeepalive::new().with_retries(8)))?;
    stage.netns.sysctl(TIME, 300)?;
    sockopt::set(&pair.client, KEEPALIVE, 0)?;
    sockopt::set(&pair.client, KEEPALIVE, 1)?;
    let mut watch = Watch::of(bench, stage, &[])?;
    let write = watch.write(TIME, 60)?;
    assert_eq!(counts(&write), [0, 1, 0, 1].map(Some), "{write:?}");
    sockopt::set(&pair.client, KEEPCNT, 7)?;
    sockopt::set(&pair.client, USER_TIMEOUT, 1_000_000)?;
    let fired = probes(&mut watch, &pair.connection, 1, Duration::from_secs(400))?[0];
    fired_as_foretold(&write, &write.last_at, fired)?;
    let pick_up = watch.pick_up(&pair.connection, LIMIT)?;
    watch.is_of_write(&pick_up, &write, fired)?;
    assert_eq!((pick_up.time_s, pick_up.probes), (Some(60), Some(7)), "{pick_up:?}");
    watch.end()
}

pub fn a_connection_of_later_has_nothing_to_pick_up(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    let write = watch.write(TIME, 10)?;
    assert_eq!(counts(&write), [Some(0); 4]);
    nobody_waits(&write);
    let pair = watch.by_sysctl(Family::V6)?;
    probes(&mut watch, &pair.connection, 2, Duration::from_secs(200))?;
    let told = watch.picked_up(&pair.connection);
    assert!(told.is_empty(), "{told:?}");
    let connection = pair.connection;
    pair.abort_both()?;
    let told = watch.told(&connection);
    assert!(told.iter().all(|event| event.armed_before_sysctl.is_none()), "{told:?}");
    watch.end()
}
