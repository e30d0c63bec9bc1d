//! One connection's two directions: where heads begin, what is missing of them, and where the next one may begin.
use std::collections::VecDeque;

use keepalive_trace_ebpf::{LARGE, LONGEST, Segment, mark};

use super::head::{Body, Head, Parsed, parse};
use crate::model::http::{Line, Method, Other, Passed, What};

/// A head that is longer is not read, bytes: the kernel side passes on no more.
const MOST: usize = LONGEST as usize + LARGE;
/// What a client of HTTP/2 says first (RFC 9113, 3.4), or enough of it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// Pieces of a head that came before what stands before them.
const EARLY: usize = 8;
/// Requests whose answers are still to come, of which the methods are known.
const ASKED: usize = 64;
/// What was read may come again within so many bytes of sequence numbers.
const AGAIN: u32 = 1 << 24;
/// Where the next message begins after a body that is longer can't be told by sequence numbers, bytes.
const LONGEST_BODY: u64 = 1 << 30;

/// How long nothing had passed before it.
pub fn idle_ns(segment: &Segment) -> Option<u64> {
    (1..u64::MAX / 2).contains(&segment.idle_ns).then_some(segment.idle_ns)
}

/// What is known of a connection.
#[derive(Debug, Default)]
pub struct Flow {
    ways: [Way; 2],
    asked: VecDeque<Method>,
    /// It speaks another protocol.
    is_other: bool,
}

#[derive(Debug, Default)]
struct Way {
    /// A head that has begun.
    begun: Option<Begun>,
    /// The last message that was read.
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    /// The sequence number after its head.
    after: u32,
    /// Bytes of its body, where they are known.
    body: Option<u32>,
}

impl Last {
    /// The next message, where it begins in the middle of a segment.
    fn next_within(self, seq: u32, bytes: &[u8]) -> Option<(u32, &[u8])> {
        let next = self.after.wrapping_add(self.body?);
        let rest = bytes.get(next.wrapping_sub(seq) as usize..)?;
        (!rest.is_empty()).then_some((next, rest))
    }
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
    fn of(seq: u32, idle_ns: Option<u64>, bytes: &[u8]) -> Self {
        Self { seq, idle_ns, bytes: bytes.to_vec(), early: Vec::new() }
    }

    /// The sequence number after what is there.
    fn end(&self) -> u32 {
        self.seq.wrapping_add(self.bytes.len() as u32)
    }

    /// Whether a segment that begins here overlaps with what is there, or goes on where that ends.
    fn reaches(&self, seq: u32) -> bool {
        seq.wrapping_sub(self.seq) as usize <= self.bytes.len()
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
            let (seq, mut bytes) = self.early.swap_remove(place);
            self.add(seq, &bytes);
            bytes.fill(0);
        }
    }

    fn held(&self) -> usize {
        self.bytes.len() + self.early.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.bytes.fill(0);
        self.early.iter_mut().for_each(|(_, bytes)| bytes.fill(0));
    }
}

impl Way {
    /// Whether a message can't begin here: it was read, or is within a body.
    fn is_past(&self, seq: u32) -> bool {
        self.last.is_some_and(|Last { after, body }| {
            seq.wrapping_sub(after.wrapping_sub(AGAIN)) < AGAIN || body.is_some_and(|body| seq.wrapping_sub(after) < body)
        })
    }

    /// A head is lost, and counted: where the next begins is not known, and what is missing before that is not counted again.
    fn lose(&mut self) {
        self.begun = None;
        if let Some(last) = &mut self.last {
            last.body = None;
        }
    }

    /// Whether a message that begins here is not the next after the last one.
    fn has_gap_before(&self, seq: u32) -> bool {
        self.last.is_some_and(|Last { after, body }| body.is_some_and(|body| after.wrapping_add(body) != seq))
    }
}

/// Whether another protocol follows: after a switch, or within a tunnel (RFC 9110, 9.3.6).
fn switches(status: u16, to: Option<&Method>) -> bool {
    status == 101 || (200..300).contains(&status) && to == Some(&Method::Connect)
}

impl Flow {
    /// Bytes that are kept of heads that are not whole yet.
    pub fn held(&self) -> usize {
        self.ways.iter().filter_map(|way| way.begun.as_ref()).map(Begun::held).sum()
    }

    /// Heads that are not whole yet.
    pub fn begun(&self) -> u64 {
        self.ways.iter().filter(|way| way.begun.is_some()).count() as u64
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.ways.iter_mut().for_each(Way::lose);
    }

    /// Reads what can be read now; gives how many heads can't be, and never will.
    pub fn read(&mut self, segment: &Segment, bytes: &[u8], passed: &mut Vec<Passed>) -> u64 {
        let Self { ways, asked, is_other } = self;
        let left = segment.marks & mark::EGRESS != 0;
        if *is_other {
            return 0;
        }
        let way = &mut ways[usize::from(left)];
        let starts = segment.marks & mark::START != 0 && !way.is_past(segment.seq);
        if starts && bytes.starts_with(PREFACE) {
            *is_other = true;
            passed.push(Passed { left, idle_ns: idle_ns(segment), what: What::Other(Other::Http2) });
            return u64::from(way.begun.take().is_some());
        }
        let mut unreadable = 0;
        match &mut way.begun {
            Some(begun) if !starts || begun.reaches(segment.seq) => begun.add(segment.seq, bytes),
            begun if starts => {
                // Of the one before something is missing, or all.
                unreadable += u64::from(begun.take().is_some() || way.has_gap_before(segment.seq));
                way.begun = Some(Begun::of(segment.seq, idle_ns(segment), bytes));
            }
            // It only looks like a message, or follows one that is whole, or is one of whose beginning nothing is known.
            begun => match way.last.and_then(|last| last.next_within(segment.seq, bytes)) {
                Some((seq, rest)) => *begun = Some(Begun::of(seq, Some(0), rest)),
                None => return 0,
            },
        }
        while let Some(begun) = way.begun.take() {
            let head = match parse(&begun.bytes, asked.front().copied()) {
                Parsed::Begun if begun.bytes.len() <= MOST => {
                    way.begun = Some(begun);
                    break;
                }
                Parsed::Begun | Parsed::Senseless => {
                    unreadable += 1;
                    way.lose();
                    break;
                }
                Parsed::Whole(head) => head,
            };
            passed.push(Passed { left, idle_ns: begun.idle_ns, what: What::Message(head.message, begun.seq) });
            match head.message.line {
                Line::Request(method) if asked.len() < ASKED => asked.push_back(method),
                Line::Request(_) => {}
                Line::Response(status) if switches(status, asked.front()) => {
                    *is_other = true;
                    passed.push(Passed { left, idle_ns: None, what: What::Other(Other::After(status)) });
                    break;
                }
                Line::Response(100..200) => {}
                Line::Response(_) => _ = asked.pop_front(),
            }
            way.begun = way.goes_on(begun, &head);
        }
        if segment.marks & mark::CUT != 0 && way.begun.is_some() {
            unreadable += 1;
            way.lose();
        }
        unreadable
    }
}

impl Way {
    /// A message was read; gives the next where it follows at once.
    fn goes_on(&mut self, mut begun: Begun, head: &Head) -> Option<Begun> {
        let after = begun.seq.wrapping_add(head.len as u32);
        let body = match head.body {
            Body::Length(length) if length < LONGEST_BODY => Some(length as u32),
            Body::Length(_) | Body::Open => None,
        };
        self.last = Some(Last { after, body });
        let body = body?;
        let rest = begun.bytes.get(head.len.checked_add(body as usize)?..)?;
        if rest.is_empty() {
            return None;
        }
        let mut next = Begun::of(after.wrapping_add(body), Some(0), rest);
        next.early = std::mem::take(&mut begun.early);
        next.add(next.end(), &[]);
        Some(next)
    }
}
