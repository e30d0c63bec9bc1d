//! The keepalive timer's runs one by one, as `tcp_keepalive_timer` decides, and what of it must agree with the closed forms.
use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::model::{listing::samples::by_sysctl, wheel::step};

/// What one run does that found the connection idle for so many jiffies.
enum Run {
    Kills,
    Rearms(u64),
}

fn run(settings: &Settings, hz: u32, elapsed: u64, probes_out: &mut u32) -> Run {
    let seconds = |value: i32| u64::try_from(value).unwrap() * u64::from(hz);
    let Settings { keepalive: _, time_s, intvl_s, probes, user_timeout_ms } = *settings;
    if elapsed < seconds(time_s.value) {
        return Run::Rearms(seconds(time_s.value) - elapsed);
    }
    let timeout = (u64::from(user_timeout_ms) * u64::from(hz)).div_ceil(1000);
    let kills = if user_timeout_ms != 0 { elapsed >= timeout && *probes_out > 0 } else { *probes_out >= probes.value };
    if kills {
        return Run::Kills;
    }
    *probes_out += 1;
    Run::Rearms(seconds(intvl_s.value))
}

/// The jiffy of the death, with each delay's lateness picked from 1 to the wheel's step for it.
fn dies(settings: &Settings, hz: u32, mut pick: impl FnMut(u64) -> u64) -> u64 {
    let (mut now, mut probes_out) = (0, 0);
    let mut delay = u64::try_from(settings.time_s.value).unwrap() * u64::from(hz);
    loop {
        now += delay + pick(step(delay, hz));
        match run(settings, hz, now, &mut probes_out) {
            Run::Kills => return now,
            Run::Rearms(next) => delay = next,
        }
    }
}

/// Every jiffy at which the connection can die, with every lateness of every leg.
fn deaths(settings: &Settings, hz: u32) -> BTreeSet<u64> {
    let mut deaths = BTreeSet::new();
    let late = |at: &BTreeSet<u64>, delay: u64| {
        let ends = at.iter().flat_map(|now| now + delay + 1..=now + delay + step(delay, hz));
        ends.collect::<BTreeSet<u64>>()
    };
    let mut at = late(&BTreeSet::from([0]), u64::try_from(settings.time_s.value).unwrap() * u64::from(hz));
    let mut probes_out = 0;
    while !at.is_empty() {
        let mut delay = 0;
        let mut alive = BTreeSet::new();
        for now in at {
            match run(settings, hz, now, &mut { probes_out }) {
                Run::Kills => _ = deaths.insert(now),
                Run::Rearms(next) => {
                    delay = next;
                    alive.insert(now);
                }
            }
        }
        probes_out += 1;
        at = late(&alive, delay);
    }
    deaths
}

fn settings(times: impl Strategy<Value = i32>, timeouts: impl Strategy<Value = u32>) -> impl Strategy<Value = Settings> {
    (times, 0..90_i32, 0..12_u32, timeouts)
        .prop_map(|(time, intvl, probes, user_timeout_ms)| Settings { user_timeout_ms, ..by_sysctl(time, intvl, probes) })
}

fn window(settings: &Settings, hz: u32) -> Window {
    death_after(first_run(settings, hz).unwrap(), settings, hz).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn a_connection_dies_within_the_window_however_late_the_wheel_is(
        settings in settings(0..10_000, prop_oneof![Just(0), 1..100_000_u32]),
        hz in select(vec![100, 250, 300, 1000]),
        picks in vec(0..u64::MAX, 1..40),
    ) {
        let mut picks = picks.iter().cycle();
        let died = dies(&settings, hz, |step| 1 + picks.next().unwrap() % step);
        let Window { earliest, latest } = window(&settings, hz);
        prop_assert!((earliest..=latest).contains(&died), "{died} not in {earliest}..={latest}");
    }

    #[test]
    fn the_least_and_the_greatest_lateness_meet_both_ends_where_probes_are_counted(
        settings in settings(0..10_000, Just(0)), hz in select(vec![100, 250, 300, 1000]),
    ) {
        let ends = Window { earliest: dies(&settings, hz, |_| 1), latest: dies(&settings, hz, |step| step) };
        prop_assert_eq!(window(&settings, hz), ends);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn with_a_user_timeout_too_some_lateness_meets_each_end(
        time_s in 0..20_i32, intvl_s in 0..12_i32, timeout in 1..25_000_u32, hz in select(vec![100, 250]),
    ) {
        let settings = Settings { user_timeout_ms: timeout, ..by_sysctl(time_s, intvl_s, 3) };
        // A probe every tick is many runs: they are few where the timeout is short.
        let settings = if intvl_s == 0 { Settings { user_timeout_ms: timeout % 3000 + 1, ..settings } } else { settings };
        let deaths = deaths(&settings, hz);
        let ends = Window { earliest: *deaths.first().unwrap(), latest: *deaths.last().unwrap() };
        prop_assert_eq!(window(&settings, hz), ends, "{:?}", settings);
    }
}
