//! Histories from events alone: what recordings are read into.
mod living;

use std::collections::{BTreeMap, VecDeque};

use living::{Living, Page};

use super::{
    choice::{Choice, Subject},
    event::{Body, ConnId, Event, Start},
    ledger::Ledger,
    report::{Gap, Report, Run, Told},
    verdict::Verdict,
    worst::{Rank, Worst},
};

/// So long after its end a connection may still be spoken of, nanoseconds: its own reset, and whoever accepts what is dead.
const LINGER_NS: u64 = 10_000_000_000;

/// All that is known, run by run. Memory is what living connections take, and those that are told: the others are counted when
/// they have ended.
#[derive(Debug)]
pub struct Book {
    choice: Choice,
    runs: Vec<Run>,
    living: Living,
    /// Those that have ended, the oldest first.
    ended: VecDeque<(u64, ConnId)>,
    connections: u64,
    verdicts: BTreeMap<Verdict, u64>,
    worst: Worst<Told>,
}

impl Book {
    pub fn new(choice: Choice, all: bool, limit: usize) -> Self {
        Self {
            choice,
            runs: Vec::new(),
            living: Living::default(),
            ended: VecDeque::new(),
            connections: 0,
            verdicts: BTreeMap::new(),
            worst: Worst::new(all, limit),
        }
    }

    /// The next run begins; what comes is of that one.
    pub fn begin(&mut self, start: Start, started_ns: u64) {
        self.runs.push(Run { start, started_ns, ledger: Ledger::default(), gaps: Vec::new() });
    }

    /// Takes in some events at once: their connections are fetched together.
    pub fn note_some(&mut self, events: &[Event]) {
        self.living.fetch(events.iter().map(|event| Some(event.body.connection()?.id)));
        events.iter().enumerate().for_each(|(nth, event)| self.note(event, Some(nth)));
    }

    /// Takes in an event: the `nth` of those whose connections were fetched.
    fn note(&mut self, event: &Event, nth: Option<usize>) {
        let Some(run) = self.runs.last_mut() else { return };
        run.ledger.note(event);
        while let Some((ended_ns, id)) = self.ended.front().copied()
            && event.mono_ns.saturating_sub(ended_ns) > LINGER_NS
        {
            self.ended.pop_front();
            if let Some(page) = self.living.remove(id) {
                self.close(page);
            }
        }
        let Some(connection) = event.body.connection() else { return };
        // These come after an end too.
        let is_late = matches!(event.body, Body::Reset(..) | Body::Owner(_));
        let begin = || (!is_late).then(|| Page::new(connection, event.mono_ns));
        let Some(page) = self.living.page(connection.id, nth, begin) else { return };
        page.history.apply(event);
        if page.cgroup.is_none() && connection.cgroup.is_some() {
            page.cgroup.clone_from(&connection.cgroup);
        }
        if matches!(event.body, Body::End(..)) {
            self.ended.push_back((event.mono_ns, connection.id));
        }
    }

    /// The run is over, as far as it is known: at this moment, nanoseconds of CLOCK_MONOTONIC.
    pub fn end(&mut self, gaps: Vec<Gap>, stopped_ns: Option<u64>) {
        self.ended.clear();
        for page in std::mem::take(&mut self.living).pages() {
            self.close(page);
        }
        if let Some(run) = self.runs.last_mut() {
            run.gaps = gaps;
            stopped_ns.into_iter().for_each(|ns| run.ledger.close(ns));
        }
    }

    pub fn report(self) -> Report {
        Report::new(self.runs, self.connections, self.verdicts, self.worst)
    }

    /// Nothing more is to come of it.
    fn close(&mut self, Page { history, cgroup }: Page) {
        let Some(number) = self.runs.len().checked_sub(1) else { return };
        let start = &self.runs[number].start;
        let subject = Subject::of_history(&history, cgroup.as_deref());
        if !self.choice.host(&start.host)
            || !self.choice.connection(&subject)
            || !self.choice.verdict(history.verdict)
            || !self.choice.overlaps(history.opened_ns, history.last_ns, start.wall_offset_ns)
        {
            return;
        }
        self.connections += 1;
        if let Some(verdict) = history.verdict {
            *self.verdicts.entry(verdict).or_default() += 1;
        }
        let rank = Rank::of(&history, start.wall_offset_ns);
        self.worst.offer(rank, || Told { run: number, history, cgroup });
    }
}

#[cfg(test)]
mod tests;
