//! HTTP on connections that are not known yet: a request comes before anybody accepts what it comes on.
use std::{collections::VecDeque, net::SocketAddr};

use crate::model::{http::Passed, sighting::Socket};

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
