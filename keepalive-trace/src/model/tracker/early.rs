//! HTTP on connections, and on those that are not known yet: a request comes before anybody accepts what it comes on.
use std::{collections::VecDeque, net::SocketAddr};

use super::{Entry, Slot, Tracker, connection::remembered};
use crate::model::{
    event::{Body, Event},
    http::Passed,
    sighting::Socket,
};

/// How much is kept. Past that the oldest is forgotten.
const MOST: usize = 4096;

/// By what a connection is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The kernel's address of its socket.
    Socket(u64),
    /// Its ends, where only its listener has a socket yet: the namespace's inode, then the local one and the remote one.
    Ends(u32, SocketAddr, SocketAddr),
}

impl Whose {
    /// 0 where there is none.
    pub(super) fn address(&self) -> u64 {
        match self {
            Self::Socket(address) => *address,
            Self::Ends(..) => 0,
        }
    }

    pub(super) fn is_socket(&self) -> bool {
        matches!(self, Self::Socket(_))
    }

    fn is(&self, socket: &Socket) -> bool {
        match self {
            Self::Socket(address) => *address == socket.address,
            Self::Ends(netns, local, remote) => {
                (socket.local, socket.remote) == (*local, *remote) && socket.netns.is_none_or(|known| known == *netns)
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Early(VecDeque<(u64, Whose, Vec<Passed>)>);

impl Early {
    /// Gives how much was forgotten for it.
    pub(super) fn keep(&mut self, mono_ns: u64, whose: &Whose, passed: &[Passed]) -> u64 {
        self.0.push_back((mono_ns, *whose, passed.to_vec()));
        let too_many = self.0.len().saturating_sub(MOST);
        self.0.drain(..too_many).count() as u64
    }

    /// What had passed on it, in order.
    pub(super) fn take(&mut self, socket: &Socket) -> Vec<(u64, Vec<Passed>)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (its, others) = std::mem::take(&mut self.0).into_iter().partition(|(_, whose, _)| whose.is(socket));
        self.0 = others;
        let its: VecDeque<_> = its;
        its.into_iter().map(|(at, _, passed)| (at, passed)).collect()
    }
}

impl Tracker {
    /// Something of HTTP passed on a connection; appends what there is to tell.
    pub fn pass(&mut self, mono_ns: u64, whose: &Whose, passed: &[Passed], out: &mut Vec<Event>) {
        if passed.is_empty() {
            return;
        }
        let found = self.table.find(whose.address());
        match found.filter(|slot| !self.table.is_ended(*slot) && whose.is_socket()) {
            Some(slot) => self.pass_on(slot, whose.address(), mono_ns, passed, out),
            None => self.forgotten += self.early.keep(mono_ns, whose, passed),
        }
    }

    pub(super) fn pass_on(&mut self, slot: Slot, address: u64, mono_ns: u64, passed: &[Passed], out: &mut Vec<Event>) {
        for passed in passed {
            let Entry { history, life, state, .. } = self.table.get_mut(slot);
            if let Some(http) = life.pass(mono_ns, passed) {
                let socket = remembered(history, address, *state);
                self.tell(slot, mono_ns, &socket, |connection| Body::Http(connection, http), out);
            }
        }
    }

    /// Whether it is known, and told.
    pub fn tells(&self, whose: &Whose) -> bool {
        whose.is_socket() && self.table.find(whose.address()).is_some_and(|slot| self.table.get(slot).told)
    }
}
