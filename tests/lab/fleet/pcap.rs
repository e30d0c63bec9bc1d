//! The packets of a host's connections, as a capture of raw IP (classic pcap, nanoseconds).
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io::{self, Write},
    net::{IpAddr, SocketAddr},
};

use keepalive_trace::model::{
    event::{Body, ConnId, Connection, Event, How, ReplyKind},
    verdict::Verdict,
};

use crate::packet::flag::{ACK, FIN, RST, SYN};

const MAGIC_NS: u32 = 0xa1b2_3c4d;
/// LINKTYPE_RAW: packets begin with their IP header.
const RAW: u32 = 101;
/// An answer is told of when the timer runs next: packets wait for so long to come in the order of time.
const HORIZON_NS: u64 = 200_000_000_000;
const DATA: &[u8] = b"GET / HTTP/1.1\r\n";

/// Writes the packets of the events that it is shown.
pub struct Capture<W> {
    out: W,
    wall_offset_ns: i64,
    flows: HashMap<ConnId, Flow>,
    waiting: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>>,
    pub packets: u64,
}

/// The next sequence numbers of both sides, and when the last probe went out.
struct Flow {
    ours: u32,
    theirs: u32,
    probed: u64,
}

impl<W: Write> Capture<W> {
    /// # Errors
    /// When `out` can't be written.
    pub fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC_NS.to_le_bytes())?;
        for half in [2_u16, 4] {
            out.write_all(&half.to_le_bytes())?;
        }
        for word in [0, 0, 65_535, RAW] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { out, wall_offset_ns: 0, flows: HashMap::new(), waiting: BinaryHeap::new(), packets: 0 })
    }

    /// The packets that the event tells of.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn show(&mut self, event: &Event) -> io::Result<()> {
        let at = event.mono_ns;
        match &event.body {
            Body::Start(start) => self.wall_offset_ns = start.wall_offset_ns,
            Body::Open(connection, open) => self.open(at, connection, open.how),
            Body::Probe(connection, _) => {
                let Some(flow) = self.flows.get_mut(&connection.id) else { return Ok(()) };
                flow.probed = at;
                let (seq, ack) = (flow.ours.wrapping_sub(1), flow.theirs);
                self.ours(at, connection, ACK, seq, ack, &[]);
            }
            Body::Reply(connection, reply) => {
                let Some(flow) = self.flows.get(&connection.id) else { return Ok(()) };
                let came = flow.probed + reply.rtt_us.unwrap_or(1000) * 1000 + 20_000;
                let flags = if reply.kind == ReplyKind::Ack { ACK } else { RST };
                let (seq, ack) = (flow.theirs, flow.ours);
                self.theirs(came, connection, flags, seq, ack, &[]);
            }
            Body::Reset(connection, _) => {
                let Some(flow) = self.flows.get(&connection.id) else { return Ok(()) };
                let (seq, ack) = (flow.ours, flow.theirs);
                self.ours(at, connection, RST | ACK, seq, ack, &[]);
            }
            Body::End(connection, end) => self.end(at, connection, end.verdict),
            _ => {}
        }
        self.write_until(at.saturating_sub(HORIZON_NS))
    }

    /// Writes what still waits.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_until(u64::MAX)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn open(&mut self, at: u64, connection: &Connection, how: How) {
        let (ours, theirs) = (connection.id.0 as u32, (connection.id.0 >> 32) as u32);
        if how == How::FirstEvent {
            return self.ours(at, connection, SYN, ours, 0, &[]);
        }
        if how == How::Connect {
            self.ours(at, connection, SYN, ours, 0, &[]);
            self.theirs(at + 1000, connection, SYN | ACK, theirs, ours.wrapping_add(1), &[]);
            self.ours(at + 2000, connection, ACK, ours.wrapping_add(1), theirs.wrapping_add(1), &[]);
        }
        if how == How::Accept {
            self.theirs(at, connection, SYN, theirs, 0, &[]);
            self.ours(at + 1000, connection, SYN | ACK, ours, theirs.wrapping_add(1), &[]);
            self.theirs(at + 2000, connection, ACK, theirs.wrapping_add(1), ours.wrapping_add(1), &[]);
        }
        let (ours, theirs) = (ours.wrapping_add(1), theirs.wrapping_add(1));
        self.ours(at + 3000, connection, ACK, ours, theirs, DATA);
        let ours = ours.wrapping_add(DATA.len() as u32);
        self.theirs(at + 4000, connection, ACK, theirs, ours, &[]);
        self.flows.insert(connection.id, Flow { ours, theirs, probed: at });
    }

    fn end(&mut self, at: u64, connection: &Connection, verdict: Verdict) {
        let Some(Flow { ours, theirs, .. }) = self.flows.remove(&connection.id) else { return };
        let (ours_after, theirs_after) = (ours.wrapping_add(1), theirs.wrapping_add(1));
        match verdict {
            Verdict::PeerClose => {
                self.theirs(at, connection, FIN | ACK, theirs, ours, &[]);
                self.ours(at + 1000, connection, FIN | ACK, ours, theirs_after, &[]);
                self.theirs(at + 2000, connection, ACK, theirs_after, ours_after, &[]);
            }
            Verdict::LocalClose => {
                self.ours(at, connection, FIN | ACK, ours, theirs, &[]);
                self.theirs(at + 1000, connection, FIN | ACK, theirs, ours_after, &[]);
                self.ours(at + 2000, connection, ACK, ours_after, theirs_after, &[]);
            }
            Verdict::PeerReset => self.theirs(at, connection, RST | ACK, theirs, ours, &[]),
            _ => {}
        }
    }

    fn ours(&mut self, at: u64, connection: &Connection, flags: u8, seq: u32, ack: u32, data: &[u8]) {
        self.wait(at, packet(connection.local, connection.remote, flags, seq, ack, data));
    }

    fn theirs(&mut self, at: u64, connection: &Connection, flags: u8, seq: u32, ack: u32, data: &[u8]) {
        self.wait(at, packet(connection.remote, connection.local, flags, seq, ack, data));
    }

    fn wait(&mut self, at: u64, packet: Vec<u8>) {
        self.packets += 1;
        self.waiting.push(Reverse((at, self.packets, packet)));
    }

    fn write_until(&mut self, until: u64) -> io::Result<()> {
        while self.waiting.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
            let Some(Reverse((at, _, packet))) = self.waiting.pop() else { return Ok(()) };
            let wall = at.saturating_add_signed(self.wall_offset_ns);
            let length = packet.len() as u32;
            for word in [(wall / 1_000_000_000) as u32, (wall % 1_000_000_000) as u32, length, length] {
                self.out.write_all(&word.to_le_bytes())?;
            }
            self.out.write_all(&packet)?;
        }
        Ok(())
    }
}

fn packet(from: SocketAddr, to: SocketAddr, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(20 + data.len());
    tcp.extend_from_slice(&from.port().to_be_bytes());
    tcp.extend_from_slice(&to.port().to_be_bytes());
    tcp.extend_from_slice(&seq.to_be_bytes());
    tcp.extend_from_slice(&ack.to_be_bytes());
    // Five words of header, a window of 64,000 bytes, the checksum, no urgent data.
    tcp.extend_from_slice(&[0x50, flags, 0xfa, 0, 0, 0, 0, 0]);
    tcp.extend_from_slice(data);
    let (source, target) = (octets(from.ip()), octets(to.ip()));
    let pseudo = [&source[..], &target, &(tcp.len() as u32).to_be_bytes(), &[0, 0, 0, 6]].concat();
    let sum = checksum(&[&pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut packet = header(&source, &target, tcp.len() as u16);
    packet.extend_from_slice(&tcp);
    packet
}

fn header(source: &[u8], target: &[u8], payload: u16) -> Vec<u8> {
    if source.len() == 16 {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend_from_slice(&payload.to_be_bytes());
        header.extend_from_slice(&[6, 64]);
        header.extend_from_slice(&[source, target].concat());
        return header;
    }
    let mut header = vec![0x45, 0];
    header.extend_from_slice(&(payload + 20).to_be_bytes());
    header.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    header.extend_from_slice(&[source, target].concat());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The Internet's checksum; every part but the last is of an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fleet::{Generator, Plan},
        packet::Segment,
    };

    #[test]
    fn probes_are_empty_segments_one_before_what_was_sent_and_come_in_the_order_of_time() {
        let plan = Plan { seed: 1, host: "a".to_owned(), connections: 50, events: 3000, hostile: false };
        let mut capture = Capture::begin(Vec::new()).unwrap();
        let mut probes = 0;
        for event in Generator::new(plan) {
            probes += usize::from(matches!(event.body, Body::Probe(..)));
            capture.show(&event).unwrap();
        }
        let packets = capture.packets;
        let bytes = capture.finish().unwrap();
        let (mut rest, mut last, mut seen, mut found) = (&bytes[24..], 0, 0, 0);
        let mut next: HashMap<_, u32> = HashMap::new();
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let (at, length) = (u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)), word(8) as usize);
            assert!(at >= last);
            let segment = Segment::parse(&rest[16..16 + length], at).unwrap();
            let flow = (segment.from, segment.to);
            found += usize::from(segment.length == 0 && next.get(&flow).is_some_and(|next| next.wrapping_sub(1) == segment.seq));
            next.entry(flow).or_insert(segment.end());
            if segment.length > 0 {
                next.insert(flow, segment.end());
            }
            (last, seen, rest) = (at, seen + 1, &rest[16 + length..]);
        }
        assert_eq!((seen, found), (packets, probes));
    }
}
