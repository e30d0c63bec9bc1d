//! What is promised of remedies: they help.
use proptest::{array::uniform3, option, prelude::*, sample::select};

use super::*;
use crate::model::{
    deadlines::{death, first_probe},
    listing::{
        Queued,
        samples::{by_sysctl, idle_for, listed},
    },
    settings::{Origin, Settings, Sourced},
    sighting::Socket,
    wheel::{Armed, leg, level},
    window::WindowMs,
};

fn hzs() -> impl Strategy<Value = u32> {
    select(vec![100, 250, 300, 1000])
}

fn origins() -> impl Strategy<Value = Origin> {
    select(vec![Origin::Socket, Origin::Sysctl])
}

fn settings() -> impl Strategy<Value = Settings> {
    let times = || prop_oneof![1 => -2..3_i32, 4 => 0..1000_i32, 2 => 0..40_000_i32];
    let timeouts = prop_oneof![Just(0), 1..1_000_000_u32];
    (any::<bool>(), times(), times(), 0..10_u32, timeouts, [origins(), origins(), origins()]).prop_map(
        |(keepalive, time, intvl, probes, user_timeout_ms, [time_from, intvl_from, probes_from])| {
            // A socket's own value is never 0 or negative.
            let sourced = |value: i32, origin| Sourced { value, origin: if value > 0 { origin } else { Origin::Sysctl } };
            let probes_from = if probes > 0 { probes_from } else { Origin::Sysctl };
            Settings {
                keepalive,
                time_s: sourced(time, time_from),
                intvl_s: sourced(intvl, intvl_from),
                probes: Sourced { value: probes, origin: probes_from },
                user_timeout_ms,
            }
        },
    )
}

fn timers() -> impl Strategy<Value = Option<Armed>> {
    let levels = option::of(0..9_u8);
    let timers = (-1000..3_000_000_i64, any::<u32>(), levels).prop_map(|(left, expires, level)| Armed { left, expires, level });
    option::of(timers)
}

fn sockets() -> impl Strategy<Value = Listed> {
    let states = select(vec![State::ESTABLISHED, State::CLOSE_WAIT, State::FIN_WAIT1, State::FIN_WAIT2, State(10)]);
    let queues = option::of((0..2_u32, 0..2_u32).prop_map(|(unacked, unsent)| Queued { unacked, unsent }));
    let seen = (option::of(0..1_000_000_u64), option::of(0..3_u32), option::of(6..8_u32));
    (settings(), timers(), states, queues, seen).prop_map(|(settings, timer, state, queued, (idle_ms, probes_out, netns))| {
        let listed = listed(settings);
        Listed { timer, queued, socket: Socket { state, idle_ms, probes_out, netns, ..listed.socket }, ..listed }
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let sysctls = (0..9000_i64, 0..100_i64, 0..10_u32).prop_map(|(time_s, intvl_s, probes)| Sysctls { time_s, intvl_s, probes });
    let host = option::of((6..8_u32, sysctls));
    (hzs(), option::of(0..1_000_000_i64), option::of(0..10_000_000_i64), host)
        .prop_map(|(hz, idle_limit_ms, detect_within_ms, host)| Limits { hz, idle_limit_ms, detect_within_ms, host })
}

/// The timer, armed anew: for what is left of the idle time, or for the next tick where nothing is.
fn armed_anew(settings: &Settings, idle_ms: u64, hz: u32) -> Armed {
    let idle = u64::try_from(settings.time_s.value).unwrap_or(0) * u64::from(hz);
    let delay = idle.saturating_sub((idle_ms * u64::from(hz)).div_ceil(1000));
    let expires = u32::try_from((delay + 4_294_900_000) % (1 << 32)).unwrap();
    Armed { left: i64::try_from(delay).unwrap(), expires, level: Some(level(delay, hz)) }
}

/// The knob turned, as the kernel takes it.
fn turned(mut listed: Listed, knob: Knob, hz: u32) -> Listed {
    let Some(mut settings) = listed.socket.settings else { return listed };
    let idle_ms = listed.socket.idle_ms.unwrap_or(0);
    let own = |value: u32| Sourced { value: i32::try_from(value).unwrap(), origin: Origin::Socket };
    match knob {
        Knob::KeepAlive(on) => {
            let was = std::mem::replace(&mut settings.keepalive, on);
            if on != was {
                listed.timer = on.then(|| armed_anew(&settings, 0, hz));
            }
        }
        Knob::KeepIdle(s) => {
            assert!((1..=32_767).contains(&s));
            settings.time_s = own(s);
            if settings.keepalive {
                listed.timer = Some(armed_anew(&settings, idle_ms, hz));
            }
        }
        Knob::KeepIntvl(s) => {
            assert!((1..=32_767).contains(&s));
            settings.intvl_s = own(s);
        }
        Knob::KeepCnt(count) => {
            assert!((1..=127).contains(&count));
            settings.probes = Sourced { value: count, origin: Origin::Socket };
        }
        Knob::UserTimeoutMs(ms) => settings.user_timeout_ms = ms,
        Knob::Sysctl { name, value } => {
            let sysctl = Sourced { value: i32::try_from(value).unwrap(), origin: Origin::Sysctl };
            match name {
                remedy::TIME if settings.time_s.origin == Origin::Sysctl => settings.time_s = sysctl,
                remedy::INTVL if settings.intvl_s.origin == Origin::Sysctl => settings.intvl_s = sysctl,
                remedy::PROBES if settings.probes.origin == Origin::Sysctl => {
                    settings.probes = Sourced { value: u32::try_from(value).unwrap(), origin: Origin::Sysctl };
                }
                _ => panic!("{name} is not in force"),
            }
        }
    }
    listed.socket.settings = Some(settings);
    listed
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn whoever_turns_the_knobs_of_a_remedy_is_rid_of_the_finding(before in sockets(), limits in limits()) {
        let idle_ms = before.socket.idle_ms.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(0);
        for found in lint(&before, &limits) {
            prop_assert!(!found.why.is_empty() && !found.remedy.is_empty());
            // Where the limit has passed, the next probe is late whatever is set; it comes within 3 ticks.
            let passed = limits.idle_limit_ms.is_some_and(|limit| idle_ms + 30 > limit);
            if found.cure.is_empty() || (found.finding == Finding::LateForLimit && passed) {
                continue;
            }
            let after = found.cure.iter().fold(before.clone(), |listed, knob| turned(listed, *knob, limits.hz));
            let still = lint(&after, &limits).into_iter().find(|other| other.finding == found.finding);
            prop_assert_eq!(still, None, "after {:?}", found.cure);
        }
    }

    #[test]
    fn a_timer_that_was_armed_under_the_present_values_is_neither_late_nor_old(
        hz in hzs(), time in 1..20_000_i32, intvl in 1..20_000_i32, expires in any::<u32>(),
        parts in uniform3(0.0..1.0_f64), heard in any::<bool>(),
    ) {
        let settings = by_sysctl(time, intvl.min(time), 9);
        let jiffies = u64::try_from(time).unwrap() * u64::from(hz);
        let part = |of: u64, part: f64| (of as f64 * part) as u64;
        let idle_then = part(jiffies, parts[0]);
        let delay = jiffies - idle_then;
        let armed = Armed { left: i64::try_from(delay).unwrap(), expires, level: Some(level(delay, hz)) };
        // Some time has passed since, and perhaps the peer was heard from.
        let passed = part(armed.fires(delay, hz).latest, parts[1]);
        let idle = if heard { part(passed, parts[2]) } else { idle_then + passed };
        let timer = Armed { left: armed.left - i64::try_from(passed).unwrap(), ..armed };
        let listed = Listed { timer: Some(timer), ..idle_for(idle * 1000 / u64::from(hz), settings) };
        let latest = |window: Option<WindowMs>| window.map(|window| window.latest_ms);
        let (idle_limit_ms, detect_within_ms) = (latest(first_probe(&settings, hz)), latest(death(&settings, hz)));
        let limits = Limits { hz, idle_limit_ms, detect_within_ms, host: None };
        prop_assert_eq!(lint(&listed, &limits), []);
    }

    #[test]
    fn only_a_limit_too_short_for_any_keepalive_is_without_a_cure(listed in sockets(), limits in limits()) {
        for found in lint(&listed, &limits).iter().filter(|found| found.cure.is_empty()) {
            let short = match found.finding {
                Finding::LateForLimit => limits.idle_limit_ms.is_some_and(|limit| limit < 1100),
                Finding::SlowDetection => limits.detect_within_ms.is_some_and(|within| within < 2200),
                _ => false,
            };
            prop_assert!(short, "{found:?}");
        }
    }

    #[test]
    fn findings_come_once_each_and_in_order(listed in sockets(), limits in limits()) {
        let found: Vec<Finding> = lint(&listed, &limits).iter().map(|found| found.finding).collect();
        prop_assert!(found.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn the_longest_idle_time_keeps_the_limit_and_a_second_more_does_not(limit in 0..50_000_000_i64, hz in hzs()) {
        let latest = |idle: u32| leg(u64::from(idle * hz), hz).ms(hz).latest_ms;
        match longest_idle(limit, hz) {
            None => prop_assert!(latest(1) > limit),
            Some(idle) => {
                prop_assert!(latest(idle) <= limit);
                prop_assert!(idle == 32_767 || latest(idle + 1) > limit);
            }
        }
    }

    #[test]
    fn the_wheel_may_be_as_late_as_it_likes_within_the_values_for_quick_detection(within in 2200..100_000_000_i64, hz in hzs()) {
        let quick = remedy::quick(&by_sysctl(7200, 75, 9), within, hz).unwrap();
        prop_assert!(quick.latest_ms <= within);
        // Not much quicker than asked for either, where whole seconds and the longest options allow that.
        prop_assert!(quick.latest_ms * 2 >= within || !(6000..60_000_000).contains(&within), "{}", quick.latest_ms);
    }
}
