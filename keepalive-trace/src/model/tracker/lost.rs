//! Ends whose records were lost: a walk through the sockets shows which connections are gone.
use std::collections::HashSet;

use super::{Tracker, connection::remembered};
use crate::model::{
    event::{Body, Event},
    sighting::Closed,
    state::State,
};

/// What a walk through the kernel's sockets has found.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// When it began: CLOCK_MONOTONIC, nanoseconds.
    pub began_ns: u64,
    /// The network namespaces that it has seen all sockets of.
    pub namespaces: HashSet<u32>,
    /// Each socket's address, local port and remote port.
    pub sockets: HashSet<(u64, u16, u16)>,
}

impl Tracker {
    /// Ends the connections that a walk has not found, and on which nothing has happened since it began. To be called when all
    /// that had been seen before the end of the walk has been taken in. Gives how many are told of.
    pub fn end_missing(&mut self, census: &Census, out: &mut Vec<Event>) -> u64 {
        let mut missing = Vec::new();
        for (address, slot) in self.table.living() {
            let history = &self.table.get(slot).history;
            let socket = (address, history.local().port(), history.remote().port());
            if history.last_ns < census.began_ns
                && history.netns().is_some_and(|netns| census.namespaces.contains(&netns))
                && !census.sockets.contains(&socket)
            {
                missing.push((address, slot));
            }
        }
        let before = out.len();
        for (address, slot) in missing {
            let socket = remembered(&self.table.get(slot).history, address, State::CLOSE);
            self.finish(slot, census.began_ns, &socket, &Closed::unseen(), out);
        }
        out[before..].iter().filter(|event| matches!(event.body, Body::End(..))).count() as u64
    }
}
