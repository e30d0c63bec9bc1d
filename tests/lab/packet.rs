//! One TCP segment out of the bytes of an IP packet.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::clock::Moment;

/// The TCP flags that matter here.
pub mod flag {
    /// The sender is done sending.
    pub const FIN: u8 = 0x01;
    /// A handshake.
    pub const SYN: u8 = 0x02;
    /// There is no such connection, or no more.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// A TCP segment on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When it passed.
    pub at: Moment,
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// [`flag`] bits.
    pub flags: u8,
    /// The window as it stands in the header: unscaled, but 0 is 0.
    pub window: u16,
    /// Bytes of payload.
    pub length: u32,
}

impl Segment {
    /// Reads an IPv4 or IPv6 packet; `None` when it holds no whole TCP header.
    pub fn parse(packet: &[u8], at: Moment) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::parse_v4(packet, at),
            6 => Self::parse_v6(packet, at),
            _ => None,
        }
    }

    fn parse_v4(packet: &[u8], at: Moment) -> Option<Self> {
        let header = packet.get(..20)?;
        if i32::from(header[9]) != libc::IPPROTO_TCP {
            return None;
        }
        let header_length = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&header[at..at + 4]).ok()?)));
        Self::parse_tcp(packet.get(header_length..total)?, address(12)?, address(16)?, at)
    }

    /// Loopback adds no extension headers, so the first next-header is TCP or the packet is none of ours.
    fn parse_v6(packet: &[u8], at: Moment) -> Option<Self> {
        let header = packet.get(..40)?;
        if i32::from(header[6]) != libc::IPPROTO_TCP {
            return None;
        }
        let total = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let address = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).ok()?)));
        Self::parse_tcp(packet.get(40..total)?, address(8)?, address(24)?, at)
    }

    fn parse_tcp(tcp: &[u8], from: IpAddr, to: IpAddr, at: Moment) -> Option<Self> {
        let header = tcp.get(..20)?;
        let header_length = usize::from(header[12] >> 4) * 4;
        let length = tcp.len().checked_sub(header_length)?;
        Some(Self {
            at,
            from: SocketAddr::new(from, u16::from_be_bytes([header[0], header[1]])),
            to: SocketAddr::new(to, u16::from_be_bytes([header[2], header[3]])),
            seq: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            ack: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            flags: header[13],
            window: u16::from_be_bytes([header[14], header[15]]),
            length: u32::try_from(length).ok()?,
        })
    }

    /// True when one of these [`flag`] bits is set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// The sequence number that follows it: SYN and FIN count as one byte each.
    pub fn end(&self) -> u32 {
        let counted = u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN));
        self.seq.wrapping_add(self.length).wrapping_add(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source port 5000, destination port 80, seq 0x01020304, 24 bytes of header, ACK, window 0x0200, 3 bytes of payload.
    const TCP: [u8; 27] = [0x13, 0x88, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 0x10, 2, 0, 0, 0, 0, 0, 1, 1, 1, 1, b'a', b'b', b'c'];

    fn v4() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 47, 0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2];
        packet.extend(TCP);
        packet
    }

    #[test]
    fn ipv4_is_read_to_its_own_length_not_to_the_frame_s() {
        let mut packet = v4();
        packet.extend([0; 9]);
        let segment = Segment::parse(&packet, 7).unwrap();
        assert_eq!(segment.from, "127.0.0.1:5000".parse().unwrap());
        assert_eq!(segment.to, "127.0.0.2:80".parse().unwrap());
        assert_eq!((segment.at, segment.seq, segment.flags, segment.window, segment.length), (7, 0x0102_0304, 0x10, 0x200, 3));
        assert_eq!(segment.end(), 0x0102_0307);
    }

    #[test]
    fn ipv6_is_read() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 27, 6, 64];
        packet.extend(Ipv6Addr::LOCALHOST.octets());
        packet.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(TCP);
        let segment = Segment::parse(&packet, 0).unwrap();
        assert_eq!(segment.from, "[::1]:5000".parse().unwrap());
        assert_eq!(segment.to, "[fd00::1]:80".parse().unwrap());
        assert_eq!(segment.length, 3);
    }

    #[test]
    fn what_is_not_a_whole_tcp_segment_is_not_one() {
        let packet = v4();
        for length in 0..packet.len() {
            assert_eq!(Segment::parse(&packet[..length], 0), None, "{length} bytes");
        }
        let mut udp = packet.clone();
        udp[9] = 17;
        assert_eq!(Segment::parse(&udp, 0), None);
        let mut arp = packet;
        arp[0] = 0;
        assert_eq!(Segment::parse(&arp, 0), None);
    }
}
