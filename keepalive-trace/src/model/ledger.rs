//! What a run came to, in numbers: counted from its events alone, live and from any recording of them.
use std::collections::BTreeMap;

use super::{
    event::{Body, Event, Place, Stop, Uneventful},
    http::Cause,
    verdict::Verdict,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// All but the start and the stop.
    pub events: u64,
    /// Events that are missing, by where they were lost.
    pub lost: BTreeMap<Place, u64>,
    pub connections: u64,
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Of the connections, those that ended in order with nothing to report.
    pub uneventful: u64,
    /// What HTTP had to do with that.
    pub causes: BTreeMap<Cause, u64>,
    /// When the first and the last event came, nanoseconds of CLOCK_MONOTONIC.
    pub first_ns: Option<u64>,
    pub last_ns: u64,
}

impl Ledger {
    pub fn note(&mut self, event: &Event) {
        self.first_ns.get_or_insert(event.mono_ns);
        self.last_ns = self.last_ns.max(event.mono_ns);
        self.events += 1;
        match &event.body {
            Body::Start(_) | Body::Stop(_) => self.events -= 1,
            Body::Lost(lost) => {
                let all = self.lost.entry(lost.place).or_default();
                *all = all.saturating_add(lost.count);
            }
            Body::Open(..) => self.connections = self.connections.saturating_add(1),
            Body::Uneventful(Uneventful { verdict, cgroup: _, count }) => {
                self.connections = self.connections.saturating_add(*count);
                let all = self.verdicts.entry(*verdict).or_default();
                *all = all.saturating_add(*count);
                self.uneventful = self.uneventful.saturating_add(*count);
            }
            Body::End(_, end) => {
                let all = self.verdicts.entry(end.verdict).or_default();
                *all = all.saturating_add(1);
                let cause = end.http.as_ref().and_then(|http| http.cause);
                cause.into_iter().for_each(|cause| *self.causes.entry(cause).or_default() += 1);
            }
            _ => {}
        }
    }

    /// The run ended.
    pub fn close(&mut self, mono_ns: u64) {
        self.last_ns = self.last_ns.max(mono_ns);
    }

    /// All that was lost.
    pub fn lost(&self) -> u64 {
        self.lost.values().fold(0, |all, count| all.saturating_add(*count))
    }

    /// The last event of a run of which so many events were shown.
    pub fn stop(&self, shown: u64) -> Stop {
        Stop {
            events: shown,
            lost: self.lost(),
            connections: self.connections,
            uneventful: self.uneventful,
            verdicts: self.verdicts.clone(),
        }
    }
}
