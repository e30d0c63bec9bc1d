//! Whole exchanges, cut and shuffled as networks do it, through what the kernel side makes of them.
use std::collections::HashSet;

use keepalive_trace_ebpf::{LARGE, LONGEST, begins};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// What the kernel side keeps of one direction, and does: `Way` in its `http.rs`.
#[derive(Default)]
struct Kernel {
    edge: Option<u32>,
    in_head: bool,
    head_bytes: u32,
    tail: Vec<u8>,
}

impl Kernel {
    /// The marks with which a segment is passed on, if it is.
    fn pass(&mut self, seq: u32, bytes: &[u8]) -> Option<u8> {
        let end = seq.wrapping_add(bytes.len() as u32);
        let starts = bytes.first_chunk().is_some_and(|four| begins(u32::from_be_bytes(*four)));
        let has_gap = !starts && self.edge != Some(seq);
        let passes = starts || self.in_head;
        if self.edge.is_none_or(|edge| end.wrapping_sub(edge).cast_signed() > 0) {
            self.edge = Some(end);
        }
        if !passes {
            return None;
        }
        if starts {
            self.head_bytes = 0;
        }
        self.tail.extend_from_slice(bytes);
        self.head_bytes += bytes.len().min(LARGE) as u32;
        let cut = bytes.len() > LARGE || self.head_bytes >= LONGEST;
        self.in_head = !cut && (has_gap || !self.tail.ends_with(b"\r\n\r\n"));
        Some(if starts { mark::START } else { 0 } | if cut { mark::CUT } else { 0 })
    }
}

/// One message: its text, how long its head is, and what is to be told of it.
#[derive(Clone, Debug)]
struct Sent {
    text: String,
    head: usize,
    name: String,
    /// Its body has a length that is known.
    measured: bool,
    /// It follows the one before within a segment.
    glued: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Bare,
    Length,
    Chunks,
}

fn sent(first: &str, name: &str, kind: Kind, body: &str, pad: usize, glued: bool) -> Sent {
    let (header, body) = match kind {
        Kind::Bare => (String::new(), String::new()),
        Kind::Length => (format!("Content-Length: {}\r\n", body.len()), body.to_owned()),
        Kind::Chunks => ("Transfer-Encoding: chunked\r\n".to_owned(), "5\r\nhello\r\n0\r\n\r\n".to_owned()),
    };
    let head = format!("{first}\r\nX-Pad: {}\r\n{header}\r\n", "x".repeat(pad));
    Sent { head: head.len(), text: head + &body, name: name.to_owned(), measured: !matches!(kind, Kind::Chunks), glued }
}

/// What the client says and what the server answers, in turn; with bodies that look like messages, or not.
fn exchange(alike: bool) -> impl Strategy<Value = [Vec<Sent>; 2]> {
    let bodies =
        if alike { vec!["", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nx"] } else { vec!["", "hello", "\r\n\r\nhello"] };
    // Even a heap of them all fits into what is copied of a segment; otherwise what does not is counted.
    let pads = if alike { vec![0, 0, 10, 600] } else { vec![0, 0, 10, 3000] };
    let body = (select(vec![Kind::Bare, Kind::Length, Kind::Chunks]), select(bodies), select(pads), any::<bool>());
    let pair = (select(Method::ALL[..5].to_vec()), any::<bool>(), body.clone(), body);
    vec(pair, 1..6).prop_map(|pairs| {
        let (mut asked, mut answered): (Vec<Sent>, Vec<Sent>) = Default::default();
        for (method, waits, (kind, body, pad, glued), (answer, answers, answer_pad, answer_glued)) in pairs {
            let name = method.name();
            asked.push(sent(&format!("{name} /path HTTP/1.1"), name, kind, body, pad, glued));
            if waits {
                answered.push(sent("HTTP/1.1 100 Continue", "100", Kind::Bare, "", 0, answer_glued));
            }
            let (status, answer) = match (method, answer) {
                (Method::Head, Kind::Length) => {
                    let mut answer = sent("HTTP/1.1 200 OK", "200", Kind::Length, answers, answer_pad, answer_glued);
                    answer.text.truncate(answer.head);
                    answered.push(answer);
                    continue;
                }
                (Method::Head, _) | (_, Kind::Bare) => ("204", Kind::Bare),
                (_, answer) => ("200", answer),
            };
            answered.push(sent(&format!("HTTP/1.1 {status} OK"), status, answer, answers, answer_pad, answer_glued));
        }
        [asked, answered]
    })
}

/// Where each of them begins.
fn starts(messages: &[Sent]) -> Vec<usize> {
    messages.iter().scan(0, |at, sent| Some(std::mem::replace(at, *at + sent.text.len()))).collect()
}

/// The stream cut into segments, each with its place; `tame`: so that the kernel side sees where each message begins.
fn segments(messages: &[Sent], cuts: &[prop::sample::Index], tame: bool) -> Vec<(usize, Vec<u8>)> {
    let stream: Vec<u8> = messages.iter().flat_map(|sent| sent.text.bytes()).collect();
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).chain([0, stream.len()]).collect();
    let starts = starts(messages);
    for (index, start) in starts.iter().enumerate().skip(1).filter(|_| tame) {
        let before = &messages[index - 1];
        if messages[index].glued && before.measured {
            // Of the one before, the head's last bytes lie in the same segment.
            let head_end = starts[index - 1] + before.head;
            at.retain(|cut| !(head_end - 1..start + 4).contains(cut) || *cut == stream.len());
        } else {
            at.retain(|cut| !(*start..start + 4).contains(cut));
            at.push(*start);
        }
    }
    if tame {
        at.retain(|cut| *cut == 0 || *cut >= 4);
    }
    at.sort_unstable();
    at.dedup();
    at.windows(2).map(|ends| (ends[0], stream[ends[0]..ends[1]].to_vec())).collect()
}

/// What is told of them, each with its direction and place; and how many could not be read in all.
fn told(segments: &[(bool, usize, Vec<u8>)], base: u32) -> (Vec<(bool, String, usize)>, u64) {
    let (mut heads, mut kernels) = (Heads::default(), [Kernel::default(), Kernel::default()]);
    let mut all = Vec::new();
    for (left, at, bytes) in segments {
        let seq = base.wrapping_add(*at as u32);
        let Some(marks) = kernels[usize::from(*left)].pass(seq, bytes) else { continue };
        let copied = &bytes[..bytes.len().min(LARGE)];
        let marks = marks | if *left { OUT } else { 0 };
        let segment = Segment { captured: copied.len() as u32, ..segment(marks, seq, bytes.len()) };
        for passed in heads.read(&segment, copied) {
            let What::Message(message, seq) = passed.what else { continue };
            let name = match message.line {
                Line::Request(method) => method.name().to_owned(),
                Line::Response(status) => status.to_string(),
            };
            all.push((passed.left, name, seq.wrapping_sub(base) as usize));
        }
        let kept: usize = heads.flows.values().map(Flow::held).sum();
        assert_eq!(heads.held(), kept);
    }
    heads.forget(SK);
    assert_eq!(heads.held(), 0);
    (all, heads.take_unreadable())
}

/// The client's messages before the server's, each direction cut by itself.
fn both(sides: &[Vec<Sent>; 2], cuts: &[Vec<prop::sample::Index>; 2], tame: bool) -> Vec<(bool, usize, Vec<u8>)> {
    let side = |left: bool| {
        let index = usize::from(!left);
        segments(&sides[index], &cuts[index], tame).into_iter().map(move |(at, bytes)| (left, at, bytes))
    };
    side(true).chain(side(false)).collect()
}

fn expected(sides: &[Vec<Sent>; 2]) -> Vec<(bool, String, usize)> {
    let side = |left: bool| {
        let sent = &sides[usize::from(!left)];
        starts(sent).into_iter().zip(sent).map(move |(at, sent)| (left, sent.name.clone(), at))
    };
    side(true).chain(side(false)).collect()
}

fn cuts() -> impl Strategy<Value = [Vec<prop::sample::Index>; 2]> {
    [vec(any::<prop::sample::Index>(), 0..12), vec(any::<prop::sample::Index>(), 0..12)]
}

/// Of a segment: how many others overtake it, whether it comes twice, and whether it is lost.
fn fates() -> impl Strategy<Value = Vec<(usize, bool, bool)>> {
    vec((prop_oneof![4 => Just(0), 1 => 1..4_usize], prop::bool::weighted(0.2), prop::bool::weighted(0.05)), 40)
}

fn shuffled(segments: Vec<(bool, usize, Vec<u8>)>, fates: &[(usize, bool, bool)]) -> Vec<(bool, usize, Vec<u8>)> {
    let mut all = Vec::new();
    for (place, (segment, (late, twice, lost))) in segments.into_iter().zip(fates.iter().copied().cycle()).enumerate() {
        if !lost {
            all.push((2 * (place + late), segment.clone()));
        }
        if twice {
            all.push((2 * (place + late) + 3, segment));
        }
    }
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, segment)| segment).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn an_exchange_is_told_the_same_however_it_is_cut_and_whatever_comes_twice(
        sides in exchange(true), cuts in cuts(), base in any::<u32>(), twice in vec(prop::bool::weighted(0.2), 40),
    ) {
        let mut segments = Vec::new();
        for (segment, twice) in both(&sides, &cuts, true).into_iter().zip(twice.into_iter().cycle()) {
            if twice {
                segments.push(segment.clone());
            }
            segments.push(segment);
        }
        prop_assert_eq!(told(&segments, base), (expected(&sides), 0));
    }

    #[test]
    fn what_is_lost_or_comes_in_disorder_makes_no_messages_and_those_that_it_costs_are_counted(
        sides in exchange(false), cuts in cuts(), base in any::<u32>(), fates in fates(),
    ) {
        let segments = shuffled(both(&sides, &cuts, false), &fates);
        let (all, unreadable) = told(&segments, base);
        let expected = expected(&sides);
        let once: HashSet<_> = all.iter().collect();
        prop_assert_eq!(once.len(), all.len());
        for one in &all {
            prop_assert!(expected.contains(one), "{:?} was never sent", one);
        }
        for (left, sent) in [(true, &sides[0]), (false, &sides[1])] {
            let mine = |(side, _, at): &(bool, String, usize)| (*side == left).then_some(*at);
            let (told, sent_at): (Vec<_>, Vec<_>) = (all.iter().filter_map(mine).collect(), starts(sent));
            let (Some(first), Some(last)) = (told.iter().min(), told.iter().max()) else { continue };
            let missing = sent_at.iter().any(|at| (first..last).contains(&at) && !told.contains(at));
            prop_assert!(unreadable > 0 || !missing || sent.iter().any(|sent| !sent.measured));
        }
    }

    #[test]
    fn no_bytes_make_it_fall(segments in vec((any::<u8>(), any::<u32>(), any::<u32>(), any::<u32>(), vec(any::<u8>(), 0..200)), 0..20)) {
        let mut heads = Heads::default();
        for (marks, seq, len, captured, bytes) in segments {
            let mut bytes = bytes;
            if marks & 0x40 != 0 {
                bytes.splice(0..0, *b"GET / HTTP/1.1\r\n");
            }
            let segment = Segment { marks, seq, len, captured, ..segment(marks, seq, 0) };
            heads.read(&segment, &bytes);
        }
    }
}
