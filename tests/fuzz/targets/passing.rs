//! What is done with any bytes as segments: by the fuzzer, and by the tests with what it kept.
use std::fmt::Write as _;

use keepalive_trace::{
    kernel::http::{Heads, Passing},
    model::{
        http::{Around, Exchange},
        verdict::Verdict,
    },
};
use keepalive_trace_ebpf::{Segment, mark};
use zerocopy::IntoBytes as _;

/// Before each segment: its socket and what befalls that, its marks, its place in the stream, its length, and what of it was not
/// copied.
pub const HEADER: usize = 7;
/// Sequence numbers begin shortly before they begin again.
const BASE: u32 = 0xffff_ff80;
const SOCKETS: u8 = 7;
/// The socket was another connection's before.
pub const IS_OVER: u8 = 1 << 6;
/// Nothing had passed on it before.
pub const IS_FIRST: u8 = 1 << 7;
/// Letters that no method, header or token has that is looked for: whether it is the one or the other, nobody can tell.
const ALIKE: [[u8; 2]; 6] = [*b"bj", *b"qw", *b"yz", *b"BJ", *b"QW", *b"YZ"];

/// Reads them, and the same with other letters; what comes out is the same.
pub fn pass(bytes: &[u8]) {
    assert_eq!(told(bytes, |byte| byte), told(bytes, exchanged), "letters of the input come out");
}

fn exchanged(byte: u8) -> u8 {
    ALIKE
        .into_iter()
        .find_map(|[one, other]| if byte == one { Some(other) } else { (byte == other).then_some(one) })
        .unwrap_or(byte)
}

/// All that is said of these segments.
fn told(mut bytes: &[u8], as_read: impl Fn(u8) -> u8) -> String {
    let around = Around { verdict: Verdict::Unknown, settings: None, connect_us: Some(u32::MAX), peer_us: None, at_ns: u64::MAX };
    let (mut heads, mut exchanges) = (Heads::default(), <[Exchange; SOCKETS as usize + 1]>::default());
    let (mut said, mut given) = (String::new(), 0);
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let [socket, marks, at @ .., low, high, uncopied] = *header;
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes([low, high]))));
        bytes = rest;
        given += payload.len();
        let sk = u64::from(socket & SOCKETS);
        let captured = payload.len() as u32;
        let segment = Segment {
            mono_ns: given as u64,
            sk,
            idle_ns: if socket & IS_FIRST != 0 { 0 } else { u64::from(uncopied) << 56 | 1 },
            rport: (socket & SOCKETS).into(),
            seq: BASE.wrapping_add(u16::from_le_bytes(at).into()),
            ack: u16::from_le_bytes(at).into(),
            len: captured + u32::from(uncopied),
            captured,
            marks,
            ..Segment::default()
        };
        if socket & IS_OVER != 0 {
            heads.forget(sk);
            exchanges[sk as usize] = Exchange::default();
        }
        let item: Vec<u8> = segment.as_bytes().iter().copied().chain(payload.iter().copied().map(&as_read)).collect();
        let Some(passing) = Passing::of(&item) else { unreachable!("a whole segment") };
        for passed in heads.take(&passing) {
            let exchange = &mut exchanges[sk as usize];
            let _ = writeln!(said, "{:?} {passed:?} {:?}", passing.whose(), exchange.note(u64::MAX, &passed));
            let _ = writeln!(said, "{:?} {:?}", exchange.end(&around), exchange.why(&around));
        }
        assert!(heads.held() <= given.min(Heads::MOST), "{} bytes are held of {given}", heads.held());
    }
    let _ = write!(said, "{}", heads.take_unreadable());
    said
}

/// One segment as [`pass`] reads it.
pub fn segment(socket: u8, marks: u8, at: u16, payload: &[u8]) -> Vec<u8> {
    let ([at_low, at_high], [low, high]) = (at.to_le_bytes(), (payload.len() as u16).to_le_bytes());
    let is_cut = u8::from(marks & mark::CUT != 0);
    [&[socket, marks, at_low, at_high, low, high, is_cut], payload].concat()
}
