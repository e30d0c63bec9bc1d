//! What is told of runs when they are over: the same of a live one and of its recording.
use std::{collections::BTreeMap, sync::Arc};

use super::{
    event::Start,
    history::History,
    http::Cause,
    ledger::Ledger,
    verdict::Verdict,
    worst::{Rank, Worst},
};

/// A run of the tracer, as far as it is known.
#[derive(Clone, Debug)]
pub struct Run {
    pub start: Start,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub started_ns: u64,
    pub ledger: Ledger,
    /// What is missing of it.
    pub gaps: Vec<Gap>,
}

impl Run {
    /// How far it is known: nanoseconds of CLOCK_MONOTONIC.
    pub fn until_ns(&self) -> u64 {
        self.ledger.last_ns.max(self.started_ns)
    }
}

/// What a recording lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Its last file has no end: the recorder was killed, or still records.
    Unfinished {
        file: String,
        /// Bytes at the end that are no whole batch.
        torn_bytes: u64,
    },
    /// What follows in a file can't be read any more.
    Damaged { file: String, at_byte: u64, why: String },
    /// Rows that this version doesn't understand.
    Strange { file: String, rows: u64 },
    /// It goes on in this part, which was not given.
    Continued { file: String, part: u32 },
    /// These parts were not given, or are gone: from 1.
    Missing { first: u32, last: u32 },
}

/// A history, and whose run it is of.
#[derive(Clone, Debug)]
pub struct Told {
    /// The run's place in [`Report::runs`].
    pub run: usize,
    pub history: History,
    pub cgroup: Option<Arc<str>>,
}

/// How many connections were selected, and how they ended.
#[derive(Debug, Default)]
pub struct Totals {
    pub connections: u64,
    /// Of these, those that ended in order with nothing to report.
    pub uneventful: u64,
    pub verdicts: BTreeMap<Verdict, u64>,
    /// What HTTP had to do with that.
    pub causes: BTreeMap<Cause, u64>,
}

/// Everything that is told in the end.
#[derive(Debug)]
pub struct Report {
    pub runs: Vec<Run>,
    /// Of the connections that were chosen: how many, and how those ended that did.
    pub connections: u64,
    pub verdicts: BTreeMap<Verdict, u64>,
    /// What HTTP had to do with that.
    pub causes: BTreeMap<Cause, u64>,
    /// The worst first.
    pub histories: Vec<Told>,
    /// Histories past the limit.
    pub more: u64,
    /// Histories left out since nothing went wrong.
    pub fine: u64,
}

impl Report {
    /// Of a single run, with all its connections.
    pub fn of<'a>(run: Run, histories: impl Iterator<Item = (&'a History, Option<Arc<str>>)>, all: bool, limit: usize) -> Self {
        let mut worst = Worst::new(all, limit);
        for (history, cgroup) in histories {
            let told = || Told { run: 0, history: history.clone(), cgroup };
            worst.offer(Rank::of(history, run.start.wall_offset_ns), told);
        }
        let Ledger { connections, uneventful, verdicts, causes, .. } = run.ledger.clone();
        Self::new(vec![run], Totals { connections, uneventful, verdicts, causes }, worst)
    }

    pub fn new(runs: Vec<Run>, totals: Totals, worst: Worst<Told>) -> Self {
        let Totals { connections, uneventful, verdicts, causes } = totals;
        let (more, fine) = (worst.more, worst.fine.saturating_add(uneventful));
        Self { runs, connections, verdicts, causes, histories: worst.into_sorted(), more, fine }
    }

    /// All events of all runs.
    pub fn events(&self) -> u64 {
        self.runs.iter().map(|run| run.ledger.events).sum()
    }

    /// All that was lost on the way.
    pub fn lost(&self) -> u64 {
        self.runs.iter().fold(0, |all, run| run.ledger.lost().saturating_add(all))
    }
}
