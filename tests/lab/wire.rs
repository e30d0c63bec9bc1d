//! What a segment is, judged from the wire alone: the sequence numbers that passed before it.
use std::{collections::HashMap, net::SocketAddr};

use crate::packet::{Segment, flag};

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Part of a handshake.
    Syn,
    /// The sender closes.
    Fin,
    /// The sender knows no such connection, or ends it.
    Reset,
    /// Payload.
    Data,
    /// A keepalive probe: nothing new, at the sequence number before the next one.
    Probe,
    /// The same on the wire, but sent at a window that is closed: it asks whether the window has opened.
    WindowProbe,
    /// A bare acknowledgement.
    Ack,
}

/// A segment and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The segment.
    pub segment: Segment,
    /// What it is.
    pub kind: Kind,
}

impl Frame {
    /// True when it went from one to the other.
    pub fn went(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.segment.from == from && self.segment.to == to
    }
}

/// Every direction of every connection that passed, to tell a probe from an acknowledgement.
#[derive(Debug, Default)]
pub struct Wire(HashMap<(SocketAddr, SocketAddr), Direction>);

#[derive(Debug, Default)]
struct Direction {
    /// The sequence number that comes next.
    next: Option<u32>,
    /// The last window that this sender granted to the other.
    window: Option<u16>,
}

impl Wire {
    /// Says what the next segment on the wire is.
    pub fn judge(&mut self, segment: Segment) -> Frame {
        let closed = self.0.get(&(segment.to, segment.from)).is_some_and(|other| other.window == Some(0));
        let direction = self.0.entry((segment.from, segment.to)).or_default();
        let kind = kind(&segment, direction.next, closed);
        if segment.has(flag::SYN) {
            direction.next = None; // the ports are used again: a new connection, numbered anew
        }
        let end = segment.end();
        if kind != Kind::Reset && direction.next.is_none_or(|next| (end.wrapping_sub(next) as i32) > 0) {
            direction.next = Some(end);
        }
        direction.window = Some(segment.window);
        Frame { segment, kind }
    }
}

fn kind(segment: &Segment, next: Option<u32>, closed: bool) -> Kind {
    if segment.has(flag::RST) {
        return Kind::Reset;
    }
    if segment.has(flag::SYN) {
        return Kind::Syn;
    }
    if segment.has(flag::FIN) {
        return Kind::Fin;
    }
    // Linux probes without payload. Other systems repeat the last byte, which is what a retransmission of one byte looks like.
    let before_the_next = next.is_some_and(|next| segment.seq == next.wrapping_sub(1));
    match (before_the_next && segment.length == 0, closed) {
        (true, false) => Kind::Probe,
        (true, true) => Kind::WindowProbe,
        (false, _) if segment.length > 0 => Kind::Data,
        (false, _) => Kind::Ack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: u16 = 512;

    fn segment(from_client: bool, seq: u32, flags: u8, length: u32, window: u16) -> Segment {
        let (client, server) = ("127.0.0.1:5000".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        let (from, to) = if from_client { (client, server) } else { (server, client) };
        Segment { at: 0, from, to, seq, ack: 0, flags, window, length }
    }

    fn kinds(segments: impl IntoIterator<Item = Segment>) -> Vec<Kind> {
        let mut wire = Wire::default();
        segments.into_iter().map(|segment| wire.judge(segment).kind).collect()
    }

    #[test]
    fn a_probe_repeats_the_sequence_number_before_the_next_even_where_it_wraps() {
        let story = [
            segment(true, u32::MAX - 3, flag::SYN, 0, OPEN),
            segment(false, 100, flag::SYN | flag::ACK, 0, OPEN),
            segment(true, u32::MAX - 2, flag::ACK, 3, OPEN),
            segment(false, 101, flag::ACK, 0, OPEN),
            segment(true, u32::MAX, flag::ACK, 0, OPEN),
            segment(false, 101, flag::ACK, 0, OPEN),
            segment(true, u32::MAX, flag::ACK, 0, OPEN),
        ];
        use Kind::*;
        assert_eq!(kinds(story), [Syn, Syn, Data, Ack, Probe, Ack, Probe]);
    }

    #[test]
    fn a_byte_sent_again_is_no_probe() {
        let story = [segment(true, 10, flag::ACK, 1, OPEN), segment(true, 10, flag::ACK, 1, OPEN)];
        assert_eq!(kinds(story), [Kind::Data, Kind::Data]);
    }

    #[test]
    fn a_probe_at_a_closed_window_is_not_keepalive() {
        let story = [
            segment(true, 9, flag::SYN, 0, OPEN),
            segment(true, 10, flag::ACK, 5, OPEN),
            segment(false, 100, flag::ACK, 0, 0),
            segment(true, 14, flag::ACK, 0, OPEN),
            segment(false, 100, flag::ACK, 0, OPEN),
            segment(true, 14, flag::ACK, 0, OPEN),
        ];
        use Kind::*;
        assert_eq!(kinds(story), [Syn, Data, Ack, WindowProbe, Ack, Probe]);
    }

    #[test]
    fn a_fin_counts_as_a_byte_and_a_reset_as_none() {
        let story = [
            segment(true, 10, flag::ACK, 5, OPEN),
            segment(true, 15, flag::FIN | flag::ACK, 0, OPEN),
            segment(true, 15, flag::ACK, 0, OPEN),
            segment(true, 16, flag::RST | flag::ACK, 0, OPEN),
        ];
        use Kind::*;
        assert_eq!(kinds(story), [Data, Fin, Probe, Reset]);
    }

    #[test]
    fn used_again_the_same_ports_are_numbered_anew() {
        let story = [
            segment(true, 1000, flag::SYN, 0, OPEN),
            segment(true, 1001, flag::ACK, 0, OPEN),
            segment(true, 7, flag::SYN, 0, OPEN),
            segment(true, 8, flag::ACK, 0, OPEN),
            segment(true, 7, flag::ACK, 0, OPEN),
        ];
        use Kind::*;
        assert_eq!(kinds(story), [Syn, Ack, Syn, Ack, Probe]);
    }
}
