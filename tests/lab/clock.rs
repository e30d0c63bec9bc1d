//! The kernel's clocks, and how late its timer wheel may be.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_getres, clock_gettime};

/// A moment of CLOCK_MONOTONIC in nanoseconds: the clock of the tracer's `mono_ns`.
pub type Moment = u64;

/// What CLOCK_MONOTONIC says now.
#[expect(clippy::expect_used, reason = "every Linux has this clock")]
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC");
    nanoseconds(time)
}

/// What to add to a CLOCK_REALTIME stamp to have it in CLOCK_MONOTONIC, as of now.
pub fn realtime_to_monotonic() -> Result<i128> {
    // The real time is read between two readings of the other, and the middle of those is taken.
    let before = now();
    let real = clock_gettime(ClockId::CLOCK_REALTIME).context("CLOCK_REALTIME")?;
    let middle = i128::from(before.midpoint(now()));
    Ok(middle - i128::from(nanoseconds(real)))
}

/// Nanoseconds from 1970 to a moment that the tracer wrote as `2026-01-01T00:00:05.000000007Z`.
pub fn of_rfc3339(text: &str) -> Result<i128> {
    let broken = || format!("no moment: {text}");
    let number = |from: usize, to: usize| -> Result<i128> {
        let digits = text.get(from..to).with_context(broken)?;
        digits.parse().with_context(broken)
    };
    ensure!(text.len() == 30 && text.ends_with('Z'), broken());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Years begin in March here, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + number(11, 13)?) * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    Ok(seconds * 1_000_000_000 + number(20, 29)?)
}

/// The time from one moment to a later one; zero when it isn't later.
pub fn between(earlier: Moment, later: Moment) -> Duration {
    Duration::from_nanos(later.saturating_sub(earlier))
}

/// Whether two witnesses name the same moment: they may see one thing up to 20 ms apart.
pub fn is_same_moment(one: Moment, other: Moment) -> bool {
    one.abs_diff(other) <= 20_000_000
}

/// Jiffies a second: the coarse clock advances once a jiffy.
pub fn hz() -> Result<u64> {
    let jiffy = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).context("CLOCK_MONOTONIC_COARSE")?;
    let nanos = nanoseconds(jiffy).max(1);
    Ok((1_000_000_000 + nanos / 2) / nanos)
}

/// How late a timer of this length may fire on the kernel's timer wheel, and still be in order.
///
/// Level 0 holds delays below 63 jiffies; level n those from 63 * 8^(n-1), in slots of 8^n jiffies. A timer goes into the next slot
/// after its deadline, so it is never early, and late by one slot at most. Two jiffies are added: one because "now" is a count of
/// whole jiffies where the timer is armed, and one because the wheel turns in the tick.
pub fn wheel_lateness(delay: Duration, hz: u64) -> Duration {
    const LEVELS: u32 = 9;
    let jiffies = delay.as_nanos() * u128::from(hz) / 1_000_000_000;
    let level = (0..LEVELS - 1).find(|level| jiffies < 63 << (3 * level)).unwrap_or(LEVELS - 1);
    jiffies_to_time((1 << (3 * level)) + 2, hz)
}

/// So many jiffies as time.
pub fn jiffies_to_time(jiffies: u64, hz: u64) -> Duration {
    Duration::from_nanos(jiffies * 1_000_000_000 / hz)
}

fn nanoseconds(time: nix::sys::time::TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_and_hz_is_one_of_those_that_linux_has() {
        let earlier = now();
        assert!(now() >= earlier);
        assert!([100, 250, 300, 1000].contains(&hz().unwrap()));
    }

    #[test]
    fn the_wheel_is_a_slot_late_at_most_and_slots_grow_eightfold() {
        let late = |seconds, hz| wheel_lateness(Duration::from_secs(seconds), hz) - jiffies_to_time(2, hz);
        assert_eq!(late(0, 250), Duration::from_millis(4));
        assert_eq!(late(1, 250), Duration::from_millis(32));
        assert_eq!(late(75, 250), Duration::from_millis(2048));
        assert_eq!(late(7200, 250), Duration::from_millis(131_072));
        assert_eq!(late(7200, 300).as_secs(), 873);
        assert_eq!(late(7200, 1000), Duration::from_millis(262_144));
    }

    #[test]
    fn a_written_moment_is_counted_from_1970() {
        let seconds = |text: &str| of_rfc3339(text).unwrap() / 1_000_000_000;
        assert_eq!(of_rfc3339("1970-01-01T00:00:00.000000007Z").unwrap(), 7);
        assert_eq!(seconds("2000-02-29T12:00:00.000000000Z"), 951_825_600);
        assert_eq!(seconds("2026-11-26T01:20:59.999999999Z"), 1_795_656_059);
        assert!(of_rfc3339("2026-11-26 01:20:59").is_err());
    }

    #[test]
    fn real_time_is_turned_into_monotonic_time() {
        let offset = realtime_to_monotonic().unwrap();
        let real = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
        let moment = i128::from(nanoseconds(real)) + offset;
        assert!((i128::from(now()) - moment).abs() < 1_000_000_000);
    }
}
