//! From the segments that the kernel side passes on to HTTP messages: heads put together again, and forgotten.
//!
//! Bytes stay here no longer than it takes to read them, and are overwritten then.
use std::collections::{HashMap, VecDeque};

use keepalive_trace_ebpf::{Segment, mark};
use zerocopy::FromBytes as _;

use super::record::address;
use crate::model::{
    http::{Line, Method, Passed, What},
    tracker::Whose,
};

mod head;

use head::{Body, Parsed, parse};

/// A head that is longer is not read, bytes.
const LONGEST: usize = 64 * 1024;
/// Pieces of a head that came before what stands before them.
const EARLY: usize = 8;
/// Connections that are kept in mind. Others than these have their messages read one by one.
const CONNECTIONS: usize = 65_536;
/// Requests whose answers are still to come, of which the methods are known.
const ASKED: usize = 64;

/// Reads messages out of segments, of many connections.
#[derive(Debug, Default)]
pub struct Heads {
    flows: HashMap<u64, Flow>,
    /// Heads that made no sense, or of which something was missing.
    unreadable: u64,
}

#[derive(Debug, Default)]
struct Flow {
    ways: [Way; 2],
    asked: VecDeque<Method>,
}

#[derive(Debug, Default)]
struct Way {
    /// A head that has begun.
    begun: Option<Begun>,
    /// The sequence number after the body that is passing, if it is known.
    body_until: Option<u32>,
}

#[derive(Debug)]
struct Begun {
    /// Sequence number of the first byte.
    seq: u32,
    idle_ns: Option<u64>,
    bytes: Vec<u8>,
    early: Vec<(u32, Vec<u8>)>,
}

impl Begun {
    /// The sequence number after what is there.
    fn end(&self) -> u32 {
        self.seq.wrapping_add(self.bytes.len() as u32)
    }

    /// Adds what belongs to its end, and what had come before that.
    fn add(&mut self, seq: u32, bytes: &[u8]) {
        let ahead = seq.wrapping_sub(self.end()).cast_signed();
        if ahead > 0 {
            if self.early.len() < EARLY {
                self.early.push((seq, bytes.to_vec()));
            }
            return;
        }
        let known = ahead.unsigned_abs() as usize;
        self.bytes.extend_from_slice(bytes.get(known..).unwrap_or_default());
        let end = self.end();
        if let Some(place) = self.early.iter().position(|(seq, _)| seq.wrapping_sub(end).cast_signed() <= 0) {
            let (seq, bytes) = self.early.swap_remove(place);
            self.add(seq, &bytes);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.bytes.fill(0);
        self.early.iter_mut().for_each(|(_, bytes)| bytes.fill(0));
    }
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
        let Segment { laddr, raddr, lport, rport, netns, .. } = self.segment;
        if self.segment.marks & mark::LISTENER == 0 {
            Whose::Socket(self.segment.sk)
        } else {
            Whose::Ends(netns, address(laddr, lport), address(raddr, rport))
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.bytes.fill(0);
    }
}

impl Heads {
    /// What passed, in the order in which it did.
    pub fn take(&mut self, Passing { segment, bytes }: &Passing) -> Vec<Passed> {
        self.read(segment, bytes)
    }

    /// How many heads could not be read, since the last call.
    pub fn take_unreadable(&mut self) -> u64 {
        std::mem::take(&mut self.unreadable)
    }

    /// The connection is over.
    pub fn forget(&mut self, address: u64) {
        self.flows.remove(&address);
    }

    /// What a segment and its bytes say; nothing, where a head is still to be completed.
    fn read(&mut self, segment: &Segment, bytes: &[u8]) -> Vec<Passed> {
        let left = segment.marks & mark::EGRESS != 0;
        let idle_ns = (segment.idle_ns != 0).then_some(segment.idle_ns);
        let mut passed = Vec::new();
        if segment.idle_ns == 0 {
            // The first message on its connection: if there is one of that address, it is another's.
            self.forget(segment.sk);
        }
        if !bytes.is_empty() {
            let known = self.flows.len() < CONNECTIONS || self.flows.contains_key(&segment.sk);
            let mut alone = Flow::default();
            let remembered = known && segment.marks & mark::LISTENER == 0;
            let flow = if remembered { self.flows.entry(segment.sk).or_default() } else { &mut alone };
            flow.read(segment, bytes, &mut passed, &mut self.unreadable);
        }
        if segment.marks & (mark::FIN | mark::RST) != 0 {
            let close = What::Close { rst: segment.marks & mark::RST != 0, ack: segment.ack };
            passed.push(Passed { left, idle_ns, what: close });
        }
        passed
    }
}

impl Flow {
    fn read(&mut self, segment: &Segment, bytes: &[u8], passed: &mut Vec<Passed>, unreadable: &mut u64) {
        let Self { ways, asked } = self;
        let left = segment.marks & mark::EGRESS != 0;
        let way = &mut ways[usize::from(left)];
        let in_body = way.body_until.is_some_and(|end| segment.seq.wrapping_sub(end).cast_signed() < 0);
        let starts = segment.marks & mark::START != 0 && !in_body;
        match &mut way.begun {
            Some(begun) if !starts || begun.end() == segment.seq => begun.add(segment.seq, bytes),
            begun if starts => {
                // Of the one before something is missing.
                *unreadable += u64::from(begun.is_some());
                let idle_ns = (segment.idle_ns != 0).then_some(segment.idle_ns);
                way.begun = Some(Begun { seq: segment.seq, idle_ns, bytes: bytes.to_vec(), early: Vec::new() });
            }
            // It only looks like a message, or follows one that is whole, or is one of whose beginning nothing is known.
            _ => return,
        }
        while let Some(begun) = way.begun.take() {
            let to = asked.front().copied();
            match parse(&begun.bytes, to) {
                Parsed::Begun => {
                    let end = segment.seq.wrapping_add(segment.captured);
                    let cut = segment.captured < segment.len && begun.end() == end;
                    if cut || begun.bytes.len() > LONGEST {
                        *unreadable += 1;
                    } else {
                        way.begun = Some(begun);
                    }
                    return;
                }
                Parsed::Senseless => {
                    *unreadable += 1;
                    return;
                }
                Parsed::Whole(head) => {
                    match head.message.line {
                        Line::Request(method) if asked.len() < ASKED => asked.push_back(method),
                        Line::Response(status) if !(100..200).contains(&status) => _ = asked.pop_front(),
                        _ => {}
                    }
                    passed.push(Passed { left, idle_ns: begun.idle_ns, what: What::Message(head.message, begun.seq) });
                    let after = begun.seq.wrapping_add(head.len as u32);
                    let Body::Length(length) = head.body else {
                        way.body_until = None;
                        return;
                    };
                    way.body_until = Some(after.wrapping_add(length as u32));
                    // What follows at once is the next message.
                    let rest = usize::try_from(length).ok().and_then(|length| begun.bytes.get(head.len.checked_add(length)?..));
                    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                        let seq = after.wrapping_add(length as u32);
                        way.begun = Some(Begun { seq, idle_ns: Some(0), bytes: rest.to_vec(), early: Vec::new() });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
