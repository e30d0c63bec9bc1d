//! A packet capture on loopback: the witness that the tracer can't talk to.
//!
//! There is no capturing thread. The kernel stamps each packet as it passes and keeps it until somebody asks, so a quiet hour
//! costs nothing and what was sent before the question is in the answer.
use std::{
    io::IoSliceMut,
    net::{Ipv4Addr, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    cmsg_space,
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, socket},
        time::TimeSpec,
    },
};

use crate::{
    clock::{Moment, between, now, realtime_to_monotonic},
    netns::Netns,
    packet::Segment,
    pair::Connection,
    sockopt,
    wire::{Frame, Kind, Wire},
};

/// Room for some ten thousand small packets between two questions.
const BUFFER: i32 = 16 << 20;
/// Bytes kept of a packet: its headers, at their longest, and some.
const KEPT: usize = 256;
/// Loopback shows each packet twice, as it goes and as it comes: the first is kept.
const OUTGOING: u8 = libc::PACKET_OUTGOING;
/// Longer than a packet is on its way on loopback.
const ARRIVAL: Duration = Duration::from_millis(10);

/// All TCP segments on a namespace's loopback since it was opened.
pub struct Capture {
    socket: OwnedFd,
    to_monotonic: i128,
    wire: Wire,
    frames: Vec<Frame>,
}

impl Capture {
    /// Begins to capture.
    pub fn open(netns: &Netns) -> Result<Self> {
        let socket = netns.enter(|| {
            let protocol = SockProtocol::EthAll;
            let socket = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)
                .context("cannot open a packet socket")?;
            sockopt::set(&socket, sockopt::RECEIVE_BUFFER, BUFFER)?;
            sockopt::set(&socket, sockopt::TIMESTAMPS, 1)?;
            Ok(socket)
        })?;
        let to_monotonic = realtime_to_monotonic()?;
        let mut capture = Self { socket, to_monotonic, wire: Wire::default(), frames: Vec::new() };
        netns.enter(|| capture.await_stamps())?;
        Ok(capture)
    }

    /// The kernel turns stamping on a little after it was asked to, and until then a packet is stamped when it is read. So a
    /// packet is sent and left lying, until one bears a stamp from before it was left.
    fn await_stamps(&mut self) -> Result<()> {
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a UDP socket")?;
        for _ in 0..100 {
            let sent = now();
            sender.send_to(b"stamp", sender.local_addr()?).context("cannot send a datagram")?;
            let left = now();
            sleep(Duration::from_millis(5));
            while let Some((_, at)) = self.receive()? {
                // The two clocks are compared to a millisecond.
                if at + 1_000_000 > sent && at < left + 1_000_000 {
                    self.frames()?;
                    return Ok(());
                }
            }
        }
        bail!("the kernel does not stamp packets as they pass");
    }

    /// Everything so far.
    pub fn frames(&mut self) -> Result<&[Frame]> {
        while let Some((packet, at)) = self.receive()? {
            if let Some(segment) = Segment::parse(&packet, at) {
                let frame = self.wire.judge(segment);
                self.frames.push(frame);
            }
        }
        let dropped = sockopt::packets_dropped(&self.socket)?;
        ensure!(dropped == 0, "the capture itself lost {dropped} packets");
        Ok(&self.frames)
    }

    /// The next packet that went out and is waiting, with its stamp.
    fn receive(&self) -> Result<Option<(Vec<u8>, Moment)>> {
        let mut bytes = [0; KEPT];
        let mut control = cmsg_space!(TimeSpec);
        loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            let message = match recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error).context("cannot read the packet socket"),
            };
            if message.address.is_none_or(|address| address.pkttype() != OUTGOING) {
                continue;
            }
            let stamp = message.cmsgs().context("control messages")?.find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
                _ => None,
            });
            let stamp = stamp.context("a packet without a stamp")?;
            let real = i128::from(stamp.tv_sec()) * 1_000_000_000 + i128::from(stamp.tv_nsec());
            let at = Moment::try_from(real + self.to_monotonic).context("a stamp from before the boot")?;
            // Of a long packet the tail is missing: it is put back as zeros, for its length counts.
            let (length, kept) = (message.bytes, message.bytes.min(KEPT));
            let mut packet = bytes[..kept].to_vec();
            packet.resize(length, 0);
            return Ok(Some((packet, at)));
        }
    }

    /// Waits until what was captured satisfies, and says when that is not so within `limit`.
    pub fn wait(&mut self, what: &str, limit: Duration, satisfies: impl Fn(&[Frame]) -> bool) -> Result<()> {
        let start = now();
        loop {
            if satisfies(self.frames()?) {
                return Ok(());
            }
            let Some(left) = limit.checked_sub(between(start, now())) else {
                bail!("the wire has not shown {what} within {limit:?}");
            };
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
        }
    }

    /// Waits until the connection's local end has sent so many keepalive probes, and until the last of them has arrived: a packet is
    /// captured as it goes, and whoever then made the peer deaf could still come before it.
    pub fn wait_for_probes(&mut self, of: &Connection, count: usize, limit: Duration) -> Result<()> {
        let what = format!("{count} probes of {of:?}");
        self.wait(&what, limit, |frames| sent(frames, of, Kind::Probe).count() >= count)?;
        sleep(ARRIVAL);
        Ok(())
    }

    /// Waits for the next probe that the connection's local end sends from now on.
    pub fn next_probe(&mut self, of: &Connection, limit: Duration) -> Result<Segment> {
        let so_far = self.times(of, Kind::Probe)?.len();
        self.wait_for_probes(of, so_far + 1, limit)?;
        let probe = sent(self.frames()?, of, Kind::Probe).nth(so_far).context("the probe that was waited for is gone")?;
        Ok(probe.segment)
    }

    /// When the connection's local end sent a segment of this kind.
    pub fn times(&mut self, of: &Connection, kind: Kind) -> Result<Vec<Moment>> {
        Ok(sent(self.frames()?, of, kind).map(|frame| frame.segment.at).collect())
    }

    /// What answered the connection's probes: the peer's next segment, where it came before anything else was sent.
    pub fn answers(&mut self, of: &Connection) -> Result<Vec<Kind>> {
        let both_ways = |frame: &&Frame| frame.went(of.local, of.remote) || frame.went(of.remote, of.local);
        let ours: Vec<&Frame> = self.frames()?.iter().filter(both_ways).collect();
        let answered = |pair: &&[&Frame]| pair[0].kind == Kind::Probe && pair[0].segment.from != pair[1].segment.from;
        Ok(ours.windows(2).filter(answered).map(|pair| pair[1].kind).collect())
    }
}

fn sent<'a>(frames: &'a [Frame], of: &'a Connection, kind: Kind) -> impl Iterator<Item = &'a Frame> {
    frames.iter().filter(move |frame| frame.kind == kind && frame.went(of.local, of.remote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pair::{Family, Plan},
        peer,
    };

    #[test]
    fn the_wire_shows_the_probes_of_each_family_and_which_were_answered() {
        if crate::skipped("the wire shows the probes of each family and which were answered") {
            return;
        }
        for family in [Family::V4, Family::V6, Family::Mapped] {
            let netns = Netns::new().unwrap();
            let mut capture = Capture::open(&netns).unwrap();
            let start = now();
            let pair = Plan::new(family).keepalive(1, 1, 5).connect(&netns).unwrap();
            let limit = Duration::from_secs(10);
            capture.wait_for_probes(&pair.connection, 1, limit).unwrap();
            peer::deafen(&pair.server).unwrap();
            capture.wait_for_probes(&pair.connection, 3, limit).unwrap();

            let probes = capture.times(&pair.connection, Kind::Probe).unwrap();
            let moments = probes.iter().map(|&at| between(start, at).as_millis() / 100);
            assert!(moments.eq([10, 20, 30]), "{family:?}: {probes:?} after {start}");
            assert_eq!(capture.answers(&pair.connection).unwrap(), [Kind::Ack], "{family:?}");
            let before = netns.counters().unwrap();
            assert_eq!(before.get("TCPKeepAlive").unwrap(), 3, "{family:?}");
        }
    }

    #[test]
    fn waiting_for_what_does_not_come_says_so() {
        if crate::skipped("waiting for what does not come says so") {
            return;
        }
        let mut capture = Capture::open(&Netns::new().unwrap()).unwrap();
        let error = capture.wait("a segment", Duration::from_millis(20), |frames| !frames.is_empty()).unwrap_err();
        assert!(error.to_string().contains("a segment within 20ms"), "{error}");
    }
}
