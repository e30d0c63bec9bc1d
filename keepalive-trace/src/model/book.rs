//! Histories from events alone: what recordings are read into.
use std::{
    collections::{BTreeMap, VecDeque},
    hint::black_box,
    sync::Arc,
};

use hashbrown::HashMap;
use slab::Slab;

use super::{
    choice::{Choice, Subject},
    event::{Body, ConnId, Connection, Event, Start},
    history::History,
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
    /// Where each living connection's page is. Small, so that looking it up is quick among a million too.
    living: HashMap<ConnId, usize>,
    pages: Slab<Page>,
    /// Pages that the next events are about.
    next: Vec<usize>,
    /// Those that have ended, the oldest first.
    ended: VecDeque<(u64, ConnId)>,
    connections: u64,
    verdicts: BTreeMap<Verdict, u64>,
    worst: Worst<Told>,
}

#[derive(Debug)]
struct Page {
    history: History,
    cgroup: Option<Arc<str>>,
}

impl Page {
    fn new(connection: &Connection, at_ns: u64) -> Self {
        Self { history: History::begin(connection, at_ns), cgroup: connection.cgroup.clone() }
    }

    /// Looks at all of it, so that it is near when it is needed. The number means nothing.
    fn fetch(&self) -> u64 {
        self.history.fetch() ^ u64::from(self.cgroup.is_some())
    }
}

impl Book {
    pub fn new(choice: Choice, all: bool, limit: usize) -> Self {
        Self {
            choice,
            runs: Vec::new(),
            living: HashMap::new(),
            pages: Slab::new(),
            next: Vec::new(),
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

    /// Takes in some events at once. Their connections lie anywhere in a large table: fetched one after the other, with nothing
    /// between, they are waited for together.
    pub fn note_some(&mut self, events: &[Event]) {
        let Self { living, pages, next, .. } = self;
        next.clear();
        next.extend(events.iter().filter_map(|event| living.get(&event.body.connection()?.id)));
        let fetched = next.iter().filter_map(|page| pages.get(*page)).fold(0, |sum: u64, page| sum.wrapping_add(page.fetch()));
        black_box(fetched);
        events.iter().for_each(|event| self.note(event));
    }

    pub fn note(&mut self, event: &Event) {
        let Some(run) = self.runs.last_mut() else { return };
        run.ledger.note(event);
        while let Some((ended_ns, id)) = self.ended.front().copied()
            && event.mono_ns.saturating_sub(ended_ns) > LINGER_NS
        {
            self.ended.pop_front();
            if let Some(page) = self.living.remove(&id) {
                let page = self.pages.remove(page);
                self.close(page);
            }
        }
        let Some(connection) = event.body.connection() else { return };
        let known = self.living.get(&connection.id).copied();
        let number = match known {
            Some(number) => number,
            // These come after an end too.
            None if matches!(event.body, Body::Reset(..) | Body::Owner(_)) => return,
            None => {
                let number = self.pages.insert(Page::new(connection, event.mono_ns));
                self.living.insert(connection.id, number);
                number
            }
        };
        let Some(page) = self.pages.get_mut(number) else { return };
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
        self.living.clear();
        for (_, page) in std::mem::take(&mut self.pages) {
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
