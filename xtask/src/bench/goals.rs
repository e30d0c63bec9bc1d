//! The goals of performance, what is reached of them, and what once was.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result};

use super::{
    figures::{Figures, HERE, Place},
    table::Table,
};
use crate::workspace;

/// Goals that were reached once, a line each: where, and the goal's number.
const MET: &str = "tests/bench/met.txt";
/// A goal that was reached once is lost when it is missed by more than this share of it.
const LEEWAY: f64 = 0.05;

/// Which side of a figure is the good one.
#[derive(Clone, Copy, Debug)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}
use Limit::{AtLeast, AtMost};

/// Where a goal's figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Every kernel that is measured.
    Kernels,
    /// This machine.
    Here,
}

/// One line of the table.
struct Goal {
    number: &'static str,
    what: &'static str,
    limit: Limit,
    unit: &'static str,
    from: From,
    /// Rows and columns. The worst of those that were measured counts; with none, the bench does not measure it.
    figures: &'static [(&'static str, &'static str)],
}

macro_rules! goals {
    ($($number:literal, $what:literal, $limit:expr, $unit:literal, $from:expr, [$($row:literal: $column:literal),*];)*) => {
        &[$(Goal { number: $number, what: $what, limit: $limit, unit: $unit, from: $from, figures: &[$(($row, $column)),*] }),*]
    };
}

const GOALS: &[Goal] = goals! {
    "1a", "connections/s, default `trace` and `record`, of those without a tracer", AtLeast(0.99), "", From::Kernels,
        ["trace, kprobe": "ratio", "trace, fentry": "ratio", "record, kprobe": "ratio", "record, fentry": "ratio"];
    "1b", "orderly ends of 2,000 connections that default `trace` did not count", AtMost(0.0), "", From::Kernels,
        ["records, kprobe": "ends missed", "records, fentry": "ends missed"];
    "2", "connections/s, `trace --all`, of those without a tracer", AtLeast(0.85), "", From::Kernels,
        ["trace --all, kprobe": "ratio", "trace --all, fentry": "ratio"];
    "3a", "kernel instructions a record added to `close()`, kprobe", AtMost(1800.0), "", From::Kernels,
        ["trace --all, kprobe, kernel side": "record"];
    "3b", "kernel instructions a record added to `close()`, fentry", AtMost(1500.0), "", From::Kernels,
        ["trace --all, fentry, kernel side": "record"];
    "4", "CPU of the tool a record, `trace --all --json` and `record`", AtMost(5000.0), "", From::Kernels,
        ["trace --all --json, kprobe": "tool", "trace --all --json, fentry": "tool", "record, kprobe": "tool",
         "record, fentry": "tool", "record --all, kprobe": "tool", "record --all, fentry": "tool"];
    "5a", "events lost of 1,000,000 at 100,000 a second, `record`", AtMost(0.0), "", From::Kernels,
        ["flood, record": "lost"];
    "5b", "events lost of 500,000 at 100,000 a second, `trace --all --json`", AtMost(0.0), "", From::Kernels,
        ["flood, trace --all --json": "lost"];
    "5c", "of both: neither seen nor counted as lost", AtMost(0.0), "", From::Kernels,
        ["flood, record": "unaccounted", "flood, trace --all --json": "unaccounted"];
    "5d", "changes a second in both, while load and tracer share one CPU", AtLeast(99_000.0), "", From::Kernels,
        ["flood, record": "changes/s", "flood, trace --all --json": "changes/s"];
    "6", "CPU from start to attached, of bpftrace's", AtMost(0.5), "", From::Kernels,
        ["trace, kprobe": "start ratio", "trace, fentry": "start ratio"];
    "7a", "peak memory at rest", AtMost(20.0), "MB", From::Kernels,
        ["trace, kprobe": "memory at rest", "trace, fentry": "memory at rest"];
    "7b", "peak memory after the load", AtMost(48.0), "MB", From::Kernels,
        ["trace, kprobe": "peak memory", "trace, fentry": "peak memory", "record, kprobe": "peak memory",
         "record, fentry": "peak memory"];
    "8a", "1,000,000 tracked connections", AtMost(250.0), "MB", From::Here, ["crowd": "MB"];
    "8b", "memory with ten times the connections of the cap", AtMost(1.05), "", From::Here, ["crowd": "cap"];
    "9a", "static binary", AtMost(16.0), "MB", From::Here, ["binary": "MB"];
    "9b", "eBPF object code", AtMost(100.0), "KB", From::Here, ["ebpf object": "code KB"];
    "10a", "`report` of 10,000,000 events, CPU", AtMost(3.0), "s", From::Here, ["report": "seconds"];
    "10b", "`report` of 10,000,000 events, memory", AtMost(64.0), "MB", From::Here, ["report": "MB"];
    "11a", "recording, bytes an event in floods", AtMost(30.0), "B", From::Here, ["report": "bytes an event"];
    "11b", "recording, bytes an event on a quiet host", AtMost(100.0), "B", From::Kernels,
        ["record, 12 idle connections": "bytes an event", "record, 600 idle connections": "bytes an event"];
    "12a", "CPU for 100,000 sockets that exist at the start", AtMost(500.0), "M", From::Kernels, ["snapshot": "M"];
    "12b", "CPU of ten idle minutes", AtMost(15.0), "M", From::Kernels, ["trace, kprobe": "idle", "trace, fentry": "idle"];
    "13", "page of 12,000 histories", AtMost(2.0), "MB", From::Here, [];
};

impl Limit {
    /// Whether it holds, with this share of it let pass.
    fn holds(self, value: f64, leeway: f64) -> bool {
        match self {
            AtLeast(limit) => value >= limit * (1.0 - leeway),
            AtMost(limit) => value <= limit * (1.0 + leeway),
        }
    }

    fn worst(self, values: impl Iterator<Item = f64>) -> Option<f64> {
        values.reduce(match self {
            AtLeast(_) => f64::min,
            AtMost(_) => f64::max,
        })
    }

    fn text(self, unit: &str) -> String {
        let (sign, limit) = match self {
            AtLeast(limit) => (">=", limit),
            AtMost(limit) => ("<=", limit),
        };
        let number = if limit < 1000.0 { limit.to_string() } else { amount(limit) };
        format!("{sign} {number} {unit}").trim_end().to_owned()
    }
}

impl Goal {
    fn is_of(&self, place: &str) -> bool {
        (self.from == From::Here) == (place == HERE)
    }

    fn value(&self, place: &str, figures: &Figures) -> Option<f64> {
        let values = self.figures.iter().filter_map(|(row, column)| figures.get(row, column));
        self.limit.worst(values).filter(|_| self.is_of(place))
    }
}

/// Goals that were reached once, by place and number.
pub struct Met(BTreeSet<(Place, String)>);

impl Met {
    pub fn read() -> Result<Self> {
        let path = workspace::root().join(MET);
        if !path.exists() {
            return Ok(Self(BTreeSet::new()));
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let split = |line: &str| line.split_once(' ').map(|(place, number)| (place.to_owned(), number.trim().to_owned()));
        Ok(Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(split).collect()))
    }

    /// Adds those that are reached now, and writes all of them. Nothing is ever taken away.
    pub fn add(&mut self, all: &BTreeMap<Place, Figures>) -> Result<()> {
        for (place, figures) in all {
            let met = GOALS.iter().filter(|goal| goal.value(place, figures).is_some_and(|value| goal.limit.holds(value, 0.0)));
            self.0.extend(met.map(|goal| (place.clone(), goal.number.to_owned())));
        }
        let mut text =
            "# Goals that were reached once, by where: `cargo xtask bench` fails where one of them is lost.\n".to_owned();
        for (place, number) in &self.0 {
            text.push_str(&format!("{place} {number}\n"));
        }
        let path = workspace::root().join(MET);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn has(&self, place: &str, number: &str) -> bool {
        self.0.contains(&(place.to_owned(), number.to_owned()))
    }

    fn state(&self, goal: &Goal, place: &str, value: f64) -> &'static str {
        match (goal.limit.holds(value, 0.0), self.has(place, goal.number)) {
            (true, _) => "met",
            (false, true) if !goal.limit.holds(value, LEEWAY) => "LOST",
            (false, _) => "not met",
        }
    }
}

/// The goals beside these figures.
pub fn table(all: &BTreeMap<Place, Figures>, met: &Met) -> Table {
    let kernels: Vec<&Place> = all.keys().filter(|place| *place != HERE).collect();
    let mut head = vec!["#".to_owned(), "what".to_owned(), "goal".to_owned()];
    head.extend(kernels.iter().map(|kernel| format!("on {kernel}")));
    head.push("any kernel".to_owned());
    let mut table = Table::new(head);
    for goal in GOALS {
        let cell = |place: &str| {
            let value = all.get(place).and_then(|figures| goal.value(place, figures));
            match value {
                Some(value) => format!("{}: {}", amount(value), met.state(goal, place, value)),
                None if goal.is_of(place) => "not measured".to_owned(),
                None => String::new(),
            }
        };
        let mut row = vec![goal.number.to_owned(), goal.what.to_owned(), goal.limit.text(goal.unit)];
        row.extend(kernels.iter().map(|kernel| cell(kernel)));
        row.push(cell(HERE));
        table.push(row);
    }
    table
}

/// Goals that were reached once, and are not now.
pub fn lost(all: &BTreeMap<Place, Figures>, met: &Met) -> Vec<String> {
    let mut lost = Vec::new();
    for (place, figures) in all {
        for goal in GOALS {
            let Some(value) = goal.value(place, figures) else { continue };
            if met.state(goal, place, value) == "LOST" {
                let Goal { number, what, limit, unit, .. } = goal;
                lost.push(format!("goal {number} is lost ({place}): {what}: {}, {}", amount(value), limit.text(unit)));
            }
        }
    }
    lost
}

/// With digits that mean something, and thousands apart.
pub fn amount(value: f64) -> String {
    if value.abs() < 1000.0 && value.fract() == 0.0 {
        return value.to_string();
    }
    if value.abs() < 10.0 {
        return format!("{value:.3}");
    }
    if value.abs() < 1000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(number: &str) -> &'static Goal {
        GOALS.iter().find(|goal| goal.number == number).unwrap()
    }

    fn met(goals: &[(&str, &str)]) -> Met {
        Met(goals.iter().map(|(place, number)| (place.to_string(), number.to_string())).collect())
    }

    #[test]
    fn the_worst_figure_of_those_that_were_measured_counts() {
        let mut figures = Figures::default();
        assert_eq!(goal("2").value("6.1", &figures), None);
        figures.set("trace --all, kprobe", "ratio", 0.86);
        assert_eq!(goal("2").value("6.1", &figures), Some(0.86));
        figures.set("trace --all, fentry", "ratio", 0.85);
        assert_eq!(goal("2").value("6.1", &figures), Some(0.85));
        assert_eq!(goal("2").value(HERE, &figures), None);
    }

    #[test]
    fn a_goal_is_lost_only_where_it_was_met_and_by_more_than_five_percent() {
        let mut figures = Figures::default();
        figures.set("trace --all, fentry", "ratio", 0.82);
        let all = |figures: &Figures| BTreeMap::from([("6.1".to_owned(), figures.clone())]);
        assert!(lost(&all(&figures), &met(&[("6.1", "2")])).is_empty());
        figures.set("trace --all, fentry", "ratio", 0.80);
        assert!(lost(&all(&figures), &met(&[])).is_empty());
        assert!(lost(&all(&figures), &met(&[("7.x", "2")])).is_empty());
        assert_eq!(lost(&all(&figures), &met(&[("6.1", "2")])).len(), 1);
    }

    #[test]
    fn a_goal_of_nothing_has_no_leeway() {
        assert!(AtMost(0.0).holds(0.0, LEEWAY));
        assert!(!AtMost(0.0).holds(1.0, LEEWAY));
    }

    #[test]
    fn numbers_have_as_many_digits_as_mean_something() {
        let amounts = [0.0, 0.6271, 33.54, 1800.0, 105_470.7, -1234.5].map(amount);
        assert_eq!(amounts, ["0", "0.627", "33.5", "1,800", "105,471", "-1,234"]);
    }
}
