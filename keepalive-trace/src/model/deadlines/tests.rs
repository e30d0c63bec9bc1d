use super::*;
use crate::model::{
    listing::samples::{armed, by_socket, by_sysctl, listed},
    wheel::{Armed, level},
};

fn settings(time_s: i32, intvl_s: i32, probes: u32, user_timeout_ms: u32) -> Settings {
    Settings { user_timeout_ms, ..by_sysctl(time_s, intvl_s, probes) }
}

/// Whether something may be seen after so many seconds, as precisely as they are given.
fn seen(window: Option<WindowMs>, seconds: &str) -> bool {
    let decimals = seconds.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let ms = (seconds.parse::<f64>().unwrap() * 1000.0) as i64;
    let half = 500 / 10_i64.pow(u32::try_from(decimals).unwrap());
    window.is_some_and(|window| window.earliest_ms < ms + half && ms - half <= window.latest_ms)
}

#[test]
fn what_was_measured_lies_within_the_window_of_the_death() {
    assert!(seen(death(&settings(1, 1, 3, 0), 250), "4.07"));
    assert!(seen(death(&settings(1, 1, 3, 2500), 250), "3.06"));
    assert!(seen(death(&settings(1, 1, 2, 5000), 250), "5.1"));
    assert!(seen(death(&settings(1, 2, 9, 300), 250), "3.0"));
    assert!(seen(death(&settings(7200, 75, 9, 0), 250), "7924"));
    assert!(seen(death(&settings(1, 0, 9, 0), 250), "1.04"));
}

#[test]
fn the_windows_are_as_narrow_as_the_wheel_allows() {
    assert_eq!(death(&settings(1, 1, 3, 0), 250), Some(WindowMs { earliest_ms: 4012, latest_ms: 4132 }));
    assert_eq!(death(&settings(7200, 75, 9, 0), 250), Some(WindowMs { earliest_ms: 7_875_036, latest_ms: 8_024_508 }));
    assert_eq!(first_probe(&settings(340, 75, 9, 0), 250), Some(WindowMs { earliest_ms: 340_000, latest_ms: 356_388 }));
}

#[test]
fn lateness_decides_which_run_the_user_timeout_meets() {
    // Runs at 1.004 to 1.032 s, then every 1.004 to 1.032 s: the second comes before, at or after 2.020 s.
    assert_eq!(death(&settings(1, 1, 9, 2020), 250), Some(WindowMs { earliest_ms: 2016, latest_ms: 3052 }));
    // The third alone can meet 2.5 s.
    assert_eq!(death(&settings(1, 1, 9, 2500), 250), Some(WindowMs { earliest_ms: 3008, latest_ms: 3100 }));
}

#[test]
fn a_user_timeout_shorter_than_the_idle_time_ends_the_connection_at_the_run_after_the_first_probe() {
    assert_eq!(death(&settings(1, 2, 9, 1), 250), death(&settings(1, 2, 1, 0), 250));
}

#[test]
fn a_user_timeout_counts_by_itself_whatever_the_number_of_probes() {
    assert_eq!(death(&settings(1, 1, 0, 5000), 250), death(&settings(1, 1, 255, 5000), 250));
}

#[test]
fn a_user_timeout_of_weeks_with_a_probe_every_tick_is_reckoned_at_once() {
    let latest = death(&settings(1, 0, 9, u32::MAX), 1000).map(|window| window.latest_ms);
    assert_eq!(latest, Some(i64::from(u32::MAX) + 1));
}

#[test]
fn no_probes_end_the_connection_at_the_first_run_and_unprobed() {
    let settings = settings(7200, 75, 0, 0);
    assert_eq!(death(&settings, 250), Some(WindowMs { earliest_ms: 7_200_000, latest_ms: 7_331_076 }));
    assert_eq!(first_probe(&settings, 250), None);
}

#[test]
fn a_time_of_0_probes_at_the_next_tick() {
    assert_eq!(first_probe(&settings(0, 75, 9, 0), 250), Some(WindowMs { earliest_ms: 0, latest_ms: 8 }));
}

#[test]
fn keepalive_that_is_off_or_disarmed_by_a_negative_sysctl_never_detects() {
    let off = Settings { keepalive: false, ..settings(7200, 75, 9, 0) };
    for never in [off, settings(-1, 75, 9, 0), settings(60, -1, 9, 0), settings(60, -1, 0, 5000)] {
        assert_eq!((death(&never, 250), detection(&listed(never), 250)), (None, None), "{never:?}");
    }
    assert!(death(&settings(60, -1, 0, 0), 250).is_some());
    assert_eq!(death(&settings(60, 75, 9, 0), 0), None);
}

#[test]
fn a_run_that_found_the_connection_not_idle_is_followed_by_one_after_the_rest() {
    let settings = settings(7200, 75, 9, 0);
    assert_eq!(rearmed(&settings, 7_199_000, 250), Some(WindowMs { earliest_ms: 1000, latest_ms: 1036 }));
    assert_eq!(rearmed(&settings, 7_200_000, 250), None);
    assert_eq!(rearmed(&Settings { keepalive: false, ..settings }, 0, 250), None);
}

#[test]
fn the_longest_sysctls_give_numbers_and_no_panic() {
    let longest = settings(i32::MAX, i32::MAX, 255, 0);
    let first = first_probe(&longest, 250).unwrap();
    assert!(first.earliest_ms >= i64::from(i32::MAX) * 1000 && first.latest_ms > first.earliest_ms);
    assert!(death(&longest, 1000).is_some());
}

#[test]
fn detection_takes_the_whole_round_even_where_the_timer_is_about_to_fire() {
    let settings = by_socket(60, 10, 3);
    let timer = Armed { left: 100, expires: 0, level: Some(1) };
    assert_eq!(detection(&armed(timer, settings), 250), death(&settings, 250).map(|window| window.latest_ms));
}

#[test]
fn detection_waits_for_a_timer_that_was_armed_before_the_sysctl_was_lowered() {
    // An hour is left; then three intervals of 10 s, each up to 0.256 s late.
    let timer = Armed { left: 900_000, expires: 0, level: Some(level(1_800_000, 250)) };
    let expected = (900_000 + 32_768 + 3 * (2500 + 64) + 1) * 4;
    assert_eq!(detection(&armed(timer, by_sysctl(60, 10, 3)), 250), Some(expected));
    // A user timeout that has passed by then needs one interval only.
    let expected = (900_000 + 32_768 + 2500 + 64 + 1) * 4;
    assert_eq!(detection(&armed(timer, Settings { user_timeout_ms: 90_000, ..by_sysctl(60, 10, 3) }), 250), Some(expected));
}
