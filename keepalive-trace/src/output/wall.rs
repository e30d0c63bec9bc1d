//! Moments by the wall clock, formatted once a second: the events of a second differ only in the digits behind it.
use std::io::Write as _;

use jiff::{Timestamp, tz::TimeZone};

use super::append::Append as _;

const SECOND: i128 = 1_000_000_000;

/// How a moment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// RFC 3339 with nanoseconds.
    Rfc3339,
    /// The time of day with milliseconds.
    TimeOfDay,
}

/// Formats moments, with the text of the last second at hand.
#[derive(Debug)]
pub(super) struct WallClock {
    style: Style,
    zone: TimeZone,
    /// When the last second began.
    second: Option<i128>,
    text: Vec<u8>,
}

impl WallClock {
    pub(super) fn new(style: Style, zone: TimeZone) -> Self {
        Self { style, zone, second: None, text: Vec::with_capacity(32) }
    }

    /// Appends this moment of CLOCK_MONOTONIC, which lies so far behind CLOCK_REALTIME, nanoseconds.
    pub(super) fn append(&mut self, mono_ns: u64, wall_offset_ns: i64, out: &mut Vec<u8>) {
        // No sum of these is beyond the years that a timestamp has.
        let ns = i128::from(mono_ns) + i128::from(wall_offset_ns);
        let second = match self.second.filter(|second| (*second..second + SECOND).contains(&ns)) {
            Some(second) => second,
            None => self.renew(ns),
        };
        let rest = (ns - second) as u64;
        out.extend_from_slice(&self.text);
        match self.style {
            Style::Rfc3339 => {
                out.padded(rest, 9);
                out.push(b'Z');
            }
            Style::TimeOfDay => out.padded(rest / 1_000_000, 3),
        }
    }

    /// Begins the second in which this moment lies.
    fn renew(&mut self, ns: i128) -> i128 {
        let second = ns - ns.rem_euclid(SECOND);
        self.second = Some(second);
        self.text.clear();
        let time = Timestamp::from_nanosecond(second).unwrap_or_default();
        // Writing to a Vec does not fail, and these formats are valid.
        let _ = match self.style {
            Style::Rfc3339 => write!(self.text, "{}.", time.strftime("%Y-%m-%dT%H:%M:%S")),
            Style::TimeOfDay => write!(self.text, "{}.", time.to_zoned(self.zone.clone()).strftime("%H:%M:%S")),
        };
        second
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::output::append::appended;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_moment_is_formatted_as_by_jiff(mono_ns in any::<u64>(), offset in any::<i64>()) {
            let time = Timestamp::from_nanosecond(i128::from(mono_ns) + i128::from(offset)).unwrap();
            let mut wall = WallClock::new(Style::Rfc3339, TimeZone::UTC);
            let mut day = WallClock::new(Style::TimeOfDay, TimeZone::fixed(jiff::tz::offset(-3)));
            for _ in 0..2 {
                prop_assert_eq!(appended(|out| wall.append(mono_ns, offset, out)), format!("{time:.9}"));
                let zoned = time.to_zoned(day.zone.clone()).strftime("%H:%M:%S.%3f").to_string();
                prop_assert_eq!(appended(|out| day.append(mono_ns, offset, out)), zoned);
            }
        }
    }
}
