//! Histories from events alone: what recordings are read into.
mod living;

use std::collections::{BTreeMap, VecDeque};

use living::{Living, Page};

use super::{
    choice::{Choice, Subject},
    event::{Body, ConnId, Event, Start},
    http::Cause,
    ledger::Ledger,
    report::{Gap, Report, Run, Told, Totals},
    verdict::Verdict,
    worst::{Rank, Worst},
};

/// So long after its end a connection may still be spoken of, nanoseconds: its own reset, and whoever accepts what is dead.
const LINGER_NS: u64 = 10_000_000_000;

/// Events that are not read yet: each is read once, and no more of it than somebody looks at.
pub trait Unread {
    fn count(&self) -> usize;

    /// When one came, nanoseconds of CLOCK_MONOTONIC.
    fn mono_ns(&self, nth: usize) -> Option<u64>;

    /// The connection that it is about.
    fn conn(&self, nth: usize) -> Option<ConnId>;

    /// The event itself; none where it is none that is known.
    fn read(&mut self, nth: usize, depth: Depth) -> Option<Event>;
}

/// How much of an event is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    Everything,
    /// What [`History::apply`] looks at, where the history has begun; all else may read as unknown.
    History,
}

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
    uneventful: u64,
    verdicts: BTreeMap<Verdict, u64>,
    causes: BTreeMap<Cause, u64>,
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
            uneventful: 0,
            verdicts: BTreeMap::new(),
            causes: BTreeMap::new(),
            worst: Worst::new(all, limit),
        }
    }

    /// The next run begins; what comes is of that one.
    pub fn begin(&mut self, start: Start, started_ns: u64) {
        self.runs.push(Run { start, started_ns, ledger: Ledger::default(), gaps: Vec::new() });
    }

    /// Takes in an event.
    pub fn note(&mut self, event: &Event) {
        self.tidy(event.mono_ns);
        self.apply(event, None);
    }

    /// Takes in some events at once: their connections are fetched together, and of those that are known no more is read than
    /// is looked at.
    pub fn note_some(&mut self, unread: &mut impl Unread) {
        self.living.fetch((0..unread.count()).map(|nth| unread.conn(nth)));
        for nth in 0..unread.count() {
            unread.mono_ns(nth).into_iter().for_each(|ns| self.tidy(ns));
            let page = unread.conn(nth).and_then(|id| self.living.page(id, Some(nth), || None));
            let depth = if page.is_some_and(|page| page.cgroup.is_some()) { Depth::History } else { Depth::Everything };
            unread.read(nth, depth).into_iter().for_each(|event| self.apply(&event, Some(nth)));
        }
    }

    /// What has ended long before is not spoken of any more.
    fn tidy(&mut self, now_ns: u64) {
        while let Some((ended_ns, id)) = self.ended.front().copied()
            && now_ns.saturating_sub(ended_ns) > LINGER_NS
        {
            self.ended.pop_front();
            if let Some(page) = self.living.remove(id) {
                self.close(page);
            }
        }
    }

    /// Adds an event to what it is about: the `nth` of those whose connections were fetched.
    fn apply(&mut self, event: &Event, nth: Option<usize>) {
        let Some(run) = self.runs.last_mut() else { return };
        run.ledger.note(event);
        if let Body::Uneventful(ended) = &event.body {
            let at = event.mono_ns;
            if self.choice.uneventful(&run.start.host, ended) && self.choice.overlaps(at, at, run.start.wall_offset_ns) {
                self.connections = self.connections.saturating_add(ended.count);
                self.uneventful = self.uneventful.saturating_add(ended.count);
                let all = self.verdicts.entry(ended.verdict).or_default();
                *all = all.saturating_add(ended.count);
            }
            return;
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
        let Self { runs, connections, uneventful, verdicts, causes, worst, .. } = self;
        Report::new(runs, Totals { connections, uneventful, verdicts, causes }, worst)
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
        self.connections = self.connections.saturating_add(1);
        if let Some(verdict) = history.verdict {
            let all = self.verdicts.entry(verdict).or_default();
            *all = all.saturating_add(1);
        }
        if let Some(cause) = history.http().and_then(|http| http.cause) {
            *self.causes.entry(cause).or_default() += 1;
        }
        let rank = Rank::of(&history, start.wall_offset_ns);
        self.worst.offer(rank, || Told { run: number, history, cgroup });
    }
}

#[cfg(test)]
mod tests;
