//! All connections of a run: who is who, and what became of them. Memory is bounded by the table's size.
use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
};

use super::{
    event::{Body, ConnId, Event, Lost, Place, Stop},
    verdict::Verdict,
};

/// How many connections are kept apart at a time: about 12 MB. Past it the one seen longest ago is forgotten, and counted.
pub const CAPACITY: usize = 65_536;

/// What makes two sightings the same connection, while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The kernel's address of the socket.
    pub sock: u64,
    pub netns: Option<u32>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// Gives connections their ids, and counts what the summary needs.
#[derive(Debug)]
pub struct Tracker {
    capacity: usize,
    /// Each living connection, with the turn at which it was seen last.
    living: HashMap<Identity, (ConnId, u64)>,
    /// The same, by turn: the first is the one seen longest ago.
    by_turn: BTreeMap<u64, Identity>,
    turn: u64,
    forgotten: u64,
    stop: Stop,
}

impl Tracker {
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            living: HashMap::new(),
            by_turn: BTreeMap::new(),
            turn: 0,
            forgotten: 0,
            stop: Stop::default(),
        }
    }

    /// The connection's id: a new one at its first sighting, so that an address and a socket used again are told apart.
    pub fn sighted(&mut self, identity: Identity, mono_ns: u64) -> ConnId {
        self.turn += 1;
        let turn = self.turn;
        if let Some((id, seen)) = self.living.get_mut(&identity) {
            self.by_turn.remove(seen);
            self.by_turn.insert(turn, identity);
            *seen = turn;
            return *id;
        }
        if self.living.len() >= self.capacity
            && let Some((_, oldest)) = self.by_turn.pop_first()
        {
            self.living.remove(&oldest);
            self.forgotten += 1;
        }
        let mut hasher = DefaultHasher::new();
        (identity, mono_ns).hash(&mut hasher);
        let id = ConnId(hasher.finish());
        self.living.insert(identity, (id, turn));
        self.by_turn.insert(turn, identity);
        self.stop.connections += 1;
        id
    }

    /// The connection is over: whoever comes next with this identity is another.
    pub fn ended(&mut self, identity: &Identity) {
        if let Some((_, turn)) = self.living.remove(identity) {
            self.by_turn.remove(&turn);
        }
    }

    /// Connections forgotten for lack of room since the last call.
    pub fn take_forgotten(&mut self) -> Option<Lost> {
        let count = std::mem::take(&mut self.forgotten);
        (count > 0).then_some(Lost { count, place: Place::ConnectionTable })
    }

    /// Counts an event, whether it is shown or not.
    pub fn observe(&mut self, event: &Event) {
        match &event.body {
            Body::Reset(_, reset) => {
                if let Some(cause) = reset.cause {
                    *self.stop.verdicts.entry(cause).or_default() += 1;
                }
            }
            Body::Timer(_, timer) if timer.outcome == super::event::Outcome::FinWait2 => {
                *self.stop.verdicts.entry(Verdict::FinWait2Timeout).or_default() += 1;
            }
            Body::Lost(lost) => self.stop.lost += lost.count,
            Body::Start(_) | Body::Probe(..) | Body::Timer(..) | Body::Stop(_) => {}
        }
    }

    /// The summary; `events` is how many were shown.
    pub fn stop(&self, events: u64) -> Stop {
        Stop { events, ..self.stop.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(port: u16) -> Identity {
        Identity {
            sock: 0xffff_8880_0000_0000,
            netns: Some(1),
            local: SocketAddr::from(([127, 0, 0, 1], port)),
            remote: SocketAddr::from(([127, 0, 0, 1], 7000)),
        }
    }

    #[test]
    fn a_connection_keeps_its_id() {
        let mut tracker = Tracker::new(8);
        assert_eq!(tracker.sighted(identity(1), 10), tracker.sighted(identity(1), 20));
        assert_eq!(tracker.stop(0).connections, 1);
    }

    #[test]
    fn the_same_socket_and_ports_after_an_end_are_another_connection() {
        let mut tracker = Tracker::new(8);
        let first = tracker.sighted(identity(1), 10);
        tracker.ended(&identity(1));
        assert_ne!(first, tracker.sighted(identity(1), 20));
        assert_eq!(tracker.stop(0).connections, 2);
    }

    #[test]
    fn a_full_table_forgets_the_connection_seen_longest_ago_and_counts_it() {
        let mut tracker = Tracker::new(2);
        let kept = tracker.sighted(identity(1), 10);
        let forgotten = tracker.sighted(identity(2), 20);
        tracker.sighted(identity(1), 30);
        tracker.sighted(identity(3), 40);
        assert_eq!(tracker.take_forgotten(), Some(Lost { count: 1, place: Place::ConnectionTable }));
        assert_eq!(tracker.take_forgotten(), None);
        assert_eq!(tracker.sighted(identity(1), 50), kept);
        assert_ne!(tracker.sighted(identity(2), 60), forgotten);
    }

    #[test]
    fn the_tables_never_outgrow_the_capacity() {
        let mut tracker = Tracker::new(16);
        for round in 0..1000 {
            tracker.sighted(identity(round), u64::from(round));
            if round % 3 == 0 {
                tracker.ended(&identity(round));
            }
        }
        assert!(tracker.living.len() <= 16 && tracker.by_turn.len() == tracker.living.len());
    }
}
