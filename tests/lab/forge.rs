//! Segments that no socket sent: what a middlebox puts on the wire in a host's name.
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::packet::{Segment, flag};

/// Unscaled, and open.
const WINDOW: u16 = 512;
const HEADER: u8 = 20;

/// A bare segment: a header without options or payload.
#[derive(Clone, Copy, Debug)]
pub struct Forgery {
    from: SocketAddr,
    to: SocketAddr,
    seq: u32,
    ack: u32,
    flags: u8,
}

impl Forgery {
    /// What the receiver of this segment would send, with these flags: at the very sequence number that the sender expects, which
    /// is the only one where a reset is believed.
    pub fn in_answer_to(segment: &Segment, flags: u8) -> Self {
        // A probe repeats the number before the next one.
        let next = segment.seq.wrapping_add(1);
        let ack = if flags & flag::ACK == 0 { 0 } else { next };
        Self { from: segment.to, to: segment.from, seq: segment.ack, ack, flags }
    }

    /// Sends it within the calling thread's network namespace. Needs root.
    pub fn send(&self) -> Result<()> {
        let socket = Socket::new(Domain::for_address(self.from), Type::RAW, Some(Protocol::TCP)).context("a raw socket")?;
        let end = |address: SocketAddr| SocketAddr::new(address.ip(), 0);
        socket.bind(&end(self.from).into()).with_context(|| format!("cannot bind a raw socket to {}", self.from))?;
        socket.send_to(&self.bytes(), &end(self.to).into()).with_context(|| format!("cannot send {self:?}"))?;
        Ok(())
    }

    /// The TCP header with its checksum.
    fn bytes(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER.into());
        header.extend(self.from.port().to_be_bytes());
        header.extend(self.to.port().to_be_bytes());
        header.extend(self.seq.to_be_bytes());
        header.extend(self.ack.to_be_bytes());
        header.extend([(HEADER / 4) << 4, self.flags]);
        header.extend(WINDOW.to_be_bytes());
        header.extend([0; 4]); // checksum, urgent pointer
        // The pseudo header's parts are added in any order.
        let mut summed = [octets(self.from.ip()), octets(self.to.ip()), vec![0, HEADER, 0, libc::IPPROTO_TCP as u8]].concat();
        summed.extend(&header);
        header[16..18].copy_from_slice(&checksum(&summed).to_be_bytes());
        header
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The internet checksum of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        application::Reader,
        pair::{Family, Plan},
        peer,
        stage::Stage,
    };

    #[test]
    fn a_header_with_its_checksum_sums_up_to_nothing() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0x22, 0x0d]), 0);
    }

    #[test]
    fn a_forged_reset_in_answer_to_a_probe_is_believed() {
        if crate::skipped("a forged reset in answer to a probe is believed") {
            return;
        }
        const LIMIT: Duration = Duration::from_secs(20);
        for family in [Family::V4, Family::V6, Family::Mapped] {
            let mut stage = Stage::open().unwrap();
            let pair = stage.connect(&Plan::new(family).keepalive(1, 5, 3)).unwrap();
            let reader = Reader::start(&pair.client, LIMIT).unwrap();
            peer::deafen(&pair.server).unwrap();
            stage.reset_in_answer(&pair.connection, Duration::ZERO, LIMIT).unwrap();
            assert_eq!(reader.wait().unwrap().0.name(), "ECONNRESET", "{family:?}");
        }
    }

    #[test]
    fn a_forged_acknowledgement_sets_the_kernel_s_count_back() {
        if crate::skipped("a forged acknowledgement sets the kernel's count back") {
            return;
        }
        let mut stage = Stage::open().unwrap();
        let pair = stage.connect(&Plan::new(Family::V6).keepalive(1, 5, 3)).unwrap();
        peer::deafen(&pair.server).unwrap();
        stage.acknowledge_in_answer(&pair.connection, Duration::from_millis(50), Duration::from_secs(20)).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(stage.timer(&pair.connection).unwrap().unwrap().probes_out, 0);
    }
}
