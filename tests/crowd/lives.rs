//! Connections that nobody had: opened with owner and settings, probed, and of ten six still open, three closed in order, and
//! one ended badly.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use keepalive_trace::model::{
    errno::Errno,
    event::{Family, Probe, ProbeResult, Reset},
    owner::{Comm, Task},
    settings::{Origin, Settings, Sourced},
    sighting::{Clock, Closed, Left, Sighting, Socket, What},
    state::State,
    verdict::Verdict,
};

/// Jiffies a second.
pub const HZ: u32 = 250;
const MS: u64 = 1_000_000;
/// Milliseconds per jiffy.
const JIFFY: u64 = 4;

/// From one connection's opening to the next one's.
const GAP_NS: u64 = 10_000;
/// How many connections open until one is probed next.
const STEP: u32 = 20_000;
/// What happens one after the other in a life: opening, two healthy rounds, a round that may be the last one, the end.
const CHAPTERS: u32 = 5;
/// One in so many is IPv6.
const IPV6: u32 = 4;

/// How a life ends, if it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lives,
    PeerCloses,
    WeClose,
    Silence,
    Forgotten,
    Aborted,
    Retransmits,
}

/// Shows every sighting of so many connections, in the order of their times.
pub fn crowd(connections: u32, mut see: impl FnMut(&Sighting)) {
    // Each opening comes with the next chapter of connections that opened earlier.
    for turn in 0..connections + CHAPTERS * STEP {
        let now = u64::from(turn) * GAP_NS + MS * 1000;
        for chapter in 0..CHAPTERS {
            let Some(number) = turn.checked_sub(chapter * STEP).filter(|number| *number < connections) else { continue };
            let mut life = Life { number, now: now + u64::from(chapter), see: &mut see };
            life.chapter(chapter);
        }
    }
}

struct Life<'a, F> {
    number: u32,
    now: u64,
    see: &'a mut F,
}

impl<F: FnMut(&Sighting)> Life<'_, F> {
    fn chapter(&mut self, chapter: u32) {
        let fate = self.fate();
        match chapter {
            0 => self.open(),
            3 if matches!(fate, Fate::Silence | Fate::Forgotten) => (1..=3).for_each(|n| self.probe(n)),
            1..=3 => self.probe(1),
            _ => self.end(fate),
        }
    }

    /// The same for the same connection, and without a pattern from one to the next.
    fn dice(&self, sides: u32) -> u32 {
        let mut mixed = (u64::from(self.number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 29;
        mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 33) as u32 % sides
    }

    fn fate(&self) -> Fate {
        match self.dice(100) {
            0..60 => Fate::Lives,
            60..75 => Fate::PeerCloses,
            75..90 => Fate::WeClose,
            90..93 => Fate::Silence,
            93..96 => Fate::Forgotten,
            96..98 => Fate::Aborted,
            _ => Fate::Retransmits,
        }
    }

    fn task(&self) -> Task {
        let number = self.dice(200);
        Task { pid: 1000 + number, comm: Comm::from(format!("worker-{number}").as_str()) }
    }

    fn open(&mut self) {
        let by = Some(self.task());
        let what = if self.number.is_multiple_of(2) {
            What::Accepted { by, late: false }
        } else {
            What::Connected { connect_us: Some(200 + u64::from(self.dice(5000))), opener: by, late: false }
        };
        self.show(State::ESTABLISHED, 0, 2, what);
    }

    /// A probe; that of the round before was answered.
    fn probe(&mut self, n: u32) {
        let silent_ms = if n == 1 { 100 } else { u64::from(n) * 1000 };
        let probe =
            Probe { n: Some(n), result: Some(ProbeResult::Sent), next_ms: Some(1000), late_ms: Some(0), wheel_ms: Some(4) };
        self.show(State::ESTABLISHED, n - 1, silent_ms, What::Probe(probe));
    }

    fn end(&mut self, fate: Fate) {
        let by = Some(self.task());
        let quiet = |from| Closed { from, left: Some(Left { window: 64_000, ..Left::default() }), ..Closed::default() };
        let failed = |errno| Closed { errno: Some(errno), ..quiet(State::ESTABLISHED) };
        let closed = match fate {
            // Some answers are still to be seen.
            Fate::Lives if self.number.is_multiple_of(8) => return,
            Fate::Lives => return self.show(State::ESTABLISHED, 0, 0, What::Acked),
            Fate::PeerCloses => Closed { by, ..quiet(State::LAST_ACK) },
            Fate::WeClose => Closed { by, time_wait: true, ..quiet(State::FIN_WAIT2) },
            Fate::Silence => {
                let reason = Some("TCP_KEEPALIVE_TIMEOUT".into());
                let reset = Reset { reason, cause: Some(Verdict::KeepaliveTimeout), task: None };
                self.show(State::ESTABLISHED, 3, 4000, What::Reset(reset));
                Closed { in_timer: true, ..failed(Errno::TIMEDOUT) }
            }
            Fate::Forgotten => {
                self.show(State::ESTABLISHED, 3, 4000, What::PeerReset);
                failed(Errno::CONNRESET)
            }
            Fate::Aborted => Closed { by, ..quiet(State::ESTABLISHED) },
            Fate::Retransmits => {
                Closed { left: Some(Left { unacked: 99, window: 64_000, ..Left::default() }), ..failed(Errno::TIMEDOUT) }
            }
        };
        let silent_ms = if matches!(fate, Fate::Silence | Fate::Forgotten) { 4000 } else { 100 };
        self.show(State::CLOSE, 0, silent_ms, What::Closed(closed));
        if fate == Fate::Aborted {
            self.show(State::CLOSE, 0, silent_ms, What::Reset(Reset { reason: None, cause: None, task: by }));
        }
    }

    /// `silent_ms`: since the last ACK.
    fn show(&mut self, state: State, probes_out: u32, silent_ms: u64, what: What) {
        let socket = |value| Sourced { value, origin: Origin::Socket };
        let (local, remote) = self.ends();
        let jiffies = (self.now / MS / JIFFY) as u32;
        let socket = Socket {
            address: 0xffff_8880_0000_0000 + u64::from(self.number) * 2304,
            cookie: None,
            family: if local.is_ipv4() { Family::V4 } else { Family::V6 },
            local,
            remote,
            netns: Some(0xf000_0098),
            cgroup: None,
            state,
            orphan: false,
            settings: Some(Settings {
                keepalive: true,
                time_s: socket(60),
                intvl_s: socket(10),
                probes: Sourced { value: 3, origin: Origin::Sysctl },
                user_timeout_ms: 0,
            }),
            idle_ms: Some(silent_ms),
            probes_out: Some(probes_out),
            clock: Some(Clock { now: jiffies, acked: jiffies.wrapping_sub((silent_ms / JIFFY) as u32), moved: 0 }),
        };
        (self.see)(&Sighting { mono_ns: self.now, socket, what });
        self.now += 1;
    }

    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let [a, b, c, d] = self.number.to_be_bytes();
        let port = 1024 + self.dice(60_000) as u16;
        let (local, remote): (IpAddr, IpAddr) = if self.number.is_multiple_of(IPV6) {
            let peer = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), peer.into())
        } else {
            (Ipv4Addr::new(10, 0, 0, 5).into(), Ipv4Addr::new(100 + a, b, c, d).into())
        };
        (SocketAddr::new(local, 443), SocketAddr::new(remote, port))
    }
}
