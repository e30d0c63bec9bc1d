//! What is told when runs are over, live or from recordings.
mod json;
mod page;
mod text;

use jiff::{Timestamp, tz::TimeZone};

pub use json::{history_lines, report_json};
pub use page::page;
pub use text::gap;
pub(super) use text::{totals, write};

use crate::model::{event::Start, report::Run};

/// How a report tells the time.
#[derive(Clone, Debug)]
pub(super) enum Clock {
    /// Date and time of day in this zone.
    Wall(TimeZone),
    /// Seconds since the run's start.
    SinceStart,
}

impl Clock {
    pub(super) fn new(wall_clock: bool) -> Self {
        if wall_clock { Self::Wall(TimeZone::system()) } else { Self::SinceStart }
    }

    /// The most characters that [`Self::time`] takes.
    fn width(&self) -> usize {
        match self {
            Self::Wall(_) => 23,
            Self::SinceStart => 12,
        }
    }

    /// A moment of a run, as it was asked for.
    fn time(&self, mono_ns: u64, run: &Run) -> String {
        match self {
            Self::Wall(zone) => wall(mono_ns, &run.start, zone, "%Y-%m-%d %H:%M:%S.%3f"),
            Self::SinceStart => {
                // An event may lie just before the moment at which the start was noted.
                let us = mono_ns.saturating_sub(run.started_ns) / 1000;
                format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
            }
        }
    }

    /// Date, time of day and zone: UTC, unless somebody asked for the time of day here.
    fn moment(&self, mono_ns: u64, start: &Start) -> String {
        let zone = match self {
            Self::Wall(zone) => zone,
            Self::SinceStart => &TimeZone::UTC,
        };
        wall(mono_ns, start, zone, "%Y-%m-%d %H:%M:%S.%3f%:z")
    }
}

fn wall(mono_ns: u64, start: &Start, zone: &TimeZone, format: &str) -> String {
    let ns = i128::from(mono_ns) + i128::from(start.wall_offset_ns);
    let time = Timestamp::from_nanosecond(ns);
    time.map_or_else(|_| "-".to_owned(), |time| time.to_zoned(zone.clone()).strftime(format).to_string())
}
