//! From the segments that the kernel side passes on to HTTP messages: heads put together again, and forgotten.
//!
//! Bytes stay here no longer than it takes to read them, and are overwritten then.
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use keepalive_trace_ebpf::{Segment, mark};
use zerocopy::FromBytes as _;

use super::record::address;
use crate::model::{
    http::{Passed, What},
    tracker::Whose,
};

mod flow;
mod head;

use flow::Flow;

/// Connections that are kept in mind. Others than these have their messages read one by one.
pub const CONNECTIONS: usize = 65_536;

/// Listeners' children whose first request came before they had an address, and of which nothing was seen since.
const UNBORN: usize = 1024;

/// Reads messages out of segments, of many connections.
#[derive(Debug, Default)]
pub struct Heads {
    flows: HashMap<u64, Flow>,
    /// By their ends, the oldest first.
    unborn: VecDeque<(Whose, Flow)>,
    /// Bytes of heads that are not whole yet, of all connections.
    held: usize,
    /// Heads that made no sense, or of which something was missing.
    unreadable: u64,
}

/// A segment that the kernel side passed on, with its bytes.
#[derive(Debug)]
pub struct Passing {
    segment: Segment,
    bytes: Vec<u8>,
}

impl Passing {
    /// What comes out of the ring. None where the bytes make no sense.
    pub fn of(item: &[u8]) -> Option<Self> {
        let (segment, bytes) = Segment::read_from_prefix(item).ok()?;
        let bytes = bytes.get(..segment.captured as usize)?.to_vec();
        Some(Self { segment, bytes })
    }

    /// CLOCK_MONOTONIC, nanoseconds.
    pub fn mono_ns(&self) -> u64 {
        self.segment.mono_ns
    }

    pub fn whose(&self) -> Whose {
        if self.segment.marks & mark::LISTENER == 0 { Whose::Socket(self.segment.sk) } else { ends(&self.segment) }
    }

    /// Where this is how TLS begins: whom the client greets.
    pub fn greeted(&self) -> Option<SocketAddr> {
        let Segment { laddr, raddr, lport, rport, marks, .. } = self.segment;
        let server = if marks & mark::EGRESS == 0 { address(laddr, lport) } else { address(raddr, rport) };
        (marks & mark::TLS != 0).then_some(server)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.bytes.fill(0);
    }
}

/// A connection whose socket may have no address yet.
fn ends(segment: &Segment) -> Whose {
    let Segment { laddr, raddr, lport, rport, netns, .. } = *segment;
    Whose::Ends(netns, address(laddr, lport), address(raddr, rport))
}

impl Heads {
    /// So many bytes are kept at most, of heads that are not whole yet, of all connections.
    pub const MOST: usize = 64 << 20;

    /// What passed, in the order in which it did.
    pub fn take(&mut self, Passing { segment, bytes }: &Passing) -> Vec<Passed> {
        self.read(segment, bytes)
    }

    /// How many heads could not be read, since the last call.
    pub fn take_unreadable(&mut self) -> u64 {
        std::mem::take(&mut self.unreadable)
    }

    /// Bytes that are kept now.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The connection is over.
    pub fn forget(&mut self, address: u64) {
        if let Some(flow) = self.flows.remove(&address) {
            self.give_up(flow);
        }
    }

    /// What it had begun is never read.
    fn give_up(&mut self, flow: Flow) {
        self.held -= flow.held();
        self.unreadable += flow.begun();
    }

    /// What a segment and its bytes say; nothing, where a head is still to be completed.
    fn read(&mut self, segment: &Segment, bytes: &[u8]) -> Vec<Passed> {
        let left = segment.marks & mark::EGRESS != 0;
        let mut passed = Vec::new();
        if segment.idle_ns == 0 {
            // The first message on its connection: if there is one of that address, it is another's.
            self.forget(segment.sk);
        }
        if segment.marks & mark::CHILD != 0 {
            self.adopt(segment);
        }
        if !bytes.is_empty() {
            if segment.marks & mark::LISTENER != 0 {
                self.conceive(segment, bytes, &mut passed);
            } else {
                self.read_flow(segment, bytes, &mut passed);
            }
        }
        if segment.marks & (mark::FIN | mark::RST) != 0 {
            let close = What::Close { rst: segment.marks & mark::RST != 0, ack: segment.ack };
            passed.push(Passed { left, idle_ns: flow::idle_ns(segment), what: close });
        }
        passed
    }

    fn read_flow(&mut self, segment: &Segment, bytes: &[u8], passed: &mut Vec<Passed>) {
        let is_known = self.flows.len() < CONNECTIONS || self.flows.contains_key(&segment.sk);
        let mut alone = Flow::default();
        let flow = if is_known { self.flows.entry(segment.sk).or_default() } else { &mut alone };
        let others = self.held - flow.held();
        self.unreadable += flow.read(segment, bytes, passed);
        if others + flow.held() > Self::MOST {
            self.unreadable += flow.begun();
            flow.clear();
        }
        self.held = others + flow.held();
        if !is_known {
            self.give_up(alone);
        }
    }

    /// A listener's child, which has no address before this segment has made it.
    fn conceive(&mut self, segment: &Segment, bytes: &[u8], passed: &mut Vec<Passed>) {
        let mut flow = Flow::default();
        self.unreadable += flow.read(segment, bytes, passed);
        self.held += flow.held();
        self.unborn.push_back((ends(segment), flow));
        while (self.unborn.len() > UNBORN || self.held > Self::MOST)
            && let Some((_, oldest)) = self.unborn.pop_front()
        {
            self.give_up(oldest);
        }
    }

    /// Its child has an address now.
    fn adopt(&mut self, segment: &Segment) {
        let whose = ends(segment);
        self.forget(segment.sk);
        let place = self.unborn.iter().rposition(|(unborn, _)| *unborn == whose);
        if let Some((_, flow)) = place.and_then(|place| self.unborn.remove(place)) {
            self.flows.insert(segment.sk, flow);
        }
    }
}

#[cfg(test)]
mod tests;
