//! From the wire to the model: jiffies become milliseconds, numbers become names, absent stays absent.
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use keepalive_trace_ebpf::{self as wire, Held, Record, flag, has, kind, name, outcome};

use super::cgroups::Cgroups;
use crate::model::{
    errno::Errno,
    event::{Family, Outcome, Probe, ProbeResult, Reset, Timer},
    holding::Holding,
    listing::{Listed, Queued},
    owner::{Comm, Owner, Task},
    settings::{Settings, Sourced},
    sighting::{Clock, Closed, Left, Sighting, Socket, What},
    state::State,
    sysctl::{self, Write},
    verdict::Verdict,
    wheel::{self, Armed},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Reads records of one run.
#[derive(Debug)]
pub struct Reader {
    /// Jiffies a second.
    pub hz: u32,
    /// The kernel's names of reset reasons.
    pub reasons: BTreeMap<u32, Arc<str>>,
    pub cgroups: Cgroups,
}

impl Reader {
    /// What a record tells; none where the record makes no sense.
    pub fn sighting(&mut self, record: &Record) -> Option<Sighting> {
        let what = self.what(record)?;
        let family = match record.family {
            AF_INET => Family::V4,
            AF_INET6 => Family::V6,
            _ => return None,
        };
        // The window's probes are counted in the same place, and a peer that has data to answer answers that.
        let data = matches!(what, What::Snapshot | What::PeerReset) && (record.unsent != 0 || record.unacked != 0);
        let socket = Socket {
            address: record.sk,
            cookie: (record.cookie != 0).then_some(record.cookie),
            family,
            local: address(record.laddr, record.lport),
            remote: address(record.raddr, record.rport),
            netns: known(record, has::NETNS, record.netns),
            cgroup: known(record, has::CGROUP, record.cgroup).and_then(|id| self.cgroups.path(id)),
            state: State(record.state),
            orphan: record.flags & flag::DEAD != 0,
            settings: self.settings(record),
            idle_ms: known(record, has::CLOCKS, record.ack_age.min(record.data_age))
                .filter(|_| heard(record))
                .map(|age| self.ms(age.into()).unsigned_abs()),
            probes_out: known(record, has::CLOCKS, record.probes_out.into()).filter(|_| !data),
            clock: known(
                record,
                has::CLOCKS,
                Clock { now: record.jiffies, acked: record.jiffies.wrapping_sub(record.ack_age), moved: record.moved },
            ),
        };
        Some(Sighting { mono_ns: record.mono_ns, socket, what })
    }

    /// A write to a sysctl; none where the record makes no sense.
    pub fn written(&self, write: &wire::Write) -> Option<Write> {
        let name = match write.name {
            name::TIME => sysctl::Name::Time,
            name::INTVL => sysctl::Name::Intvl,
            name::PROBES => sysctl::Name::Probes,
            _ => return None,
        };
        let value = |raw: i32| match name {
            sysctl::Name::Probes => i64::from(raw),
            sysctl::Name::Time | sysctl::Name::Intvl => i64::from(raw) / i64::from(self.hz),
        };
        Some(Write {
            mono_ns: write.mono_ns,
            netns: write.netns,
            name,
            old: value(write.old),
            new: value(write.new),
            refused: write.ret.checked_neg().and_then(|errno| u16::try_from(errno).ok()).filter(|errno| *errno != 0).map(Errno),
            by: (write.task_pid != 0).then(|| Task { pid: write.task_pid, comm: comm(write.task_comm) }),
        })
    }

    /// A socket that a walk came to, as it is listed; none where the record makes no sense.
    pub fn listed(&mut self, record: &Record, owner: Option<Owner>) -> Option<Listed> {
        let Sighting { mono_ns, socket, what: _ } = self.sighting(record)?;
        let armed = Armed {
            left: record.next.into(),
            expires: record.jiffies.wrapping_add_signed(record.next),
            level: known(record, has::LEVEL, record.level),
        };
        Some(Listed {
            mono_ns,
            socket,
            owner,
            timer: known(record, has::NEXT, armed),
            queued: known(record, has::LEFT, Queued { unacked: record.unacked, unsent: record.unsent }),
        })
    }

    // Inlined, it would take all registers, and be moved through them in pieces.
    #[inline(never)]
    fn what(&self, record: &Record) -> Option<What> {
        if matches!(record.kind, kind::PROBE | kind::TIMER) {
            return self.run(record);
        }
        let since_us = known(record, has::SINCE, record.since_ns / 1000);
        let by = known(record, has::TASK, Task { pid: record.task_pid, comm: comm(record.task_comm) });
        Some(match record.kind {
            kind::RESET => What::Reset(self.reset(record, by)),
            kind::SNAPSHOT => What::Snapshot,
            kind::CONNECTED => What::Connected { connect_us: since_us, opener: by, late: record.flags & flag::LATE != 0 },
            kind::ACCEPTED => What::Accepted { by, late: record.flags & flag::LATE != 0 },
            kind::SET => What::Set { by },
            kind::ACKED => What::Acked,
            kind::PEER_RESET => What::PeerReset,
            kind::ABORTED => What::Aborted { by },
            kind::CLOSED => What::Closed(closed(record, by, since_us)),
            _ => return None,
        })
    }

    /// What a run of the timer did.
    #[inline(never)]
    fn run(&self, record: &Record) -> Option<What> {
        let next_ms = known(record, has::NEXT, self.ms(record.next.into()));
        let late_ms = known(record, has::LATE, self.ms(record.late.into()));
        let deadline = record.jiffies.wrapping_add_signed(record.late.wrapping_neg());
        let rounding = i64::try_from(wheel::rounding(deadline, record.level)).unwrap_or(i64::MAX);
        let wheel_ms = late_ms.and(known(record, has::LEVEL | has::CLOCKS, self.ms(rounding)));
        if record.kind == kind::TIMER {
            return Some(What::Timer(Timer { outcome: timer_outcome(record.outcome)?, next_ms, late_ms, wheel_ms }));
        }
        Some(What::Probe(Probe {
            n: known(record, has::CLOCKS, u32::from(record.probes_out) + 1),
            result: known(record, has::RET, ProbeResult::of(record.ret)),
            next_ms,
            late_ms,
            wheel_ms,
        }))
    }

    fn reset(&self, record: &Record, task: Option<Task>) -> Reset {
        let in_timer = record.flags & flag::IN_TIMER != 0;
        let orphan = record.flags & flag::DEAD != 0;
        let reason = |number| self.reasons.get(&number).cloned().unwrap_or_else(|| format!("reason-{number}").into());
        Reset {
            reason: known(record, has::REASON, record.reason).map(reason),
            cause: in_timer.then(|| Verdict::of_timer(State(record.state), orphan, record.user_timeout_ms)),
            task,
        }
    }

    #[inline(never)]
    fn settings(&self, record: &Record) -> Option<Settings> {
        known(record, has::SETTINGS, ())?;
        known(record, has::SYSCTL, ())?;
        let seconds = |socket: u32, sysctl: i32| {
            let picked = Sourced::pick(i64::from(socket), i64::from(sysctl));
            let value = i32::try_from(picked.value / i64::from(self.hz)).unwrap_or(i32::MAX);
            Sourced { value, origin: picked.origin }
        };
        Some(Settings {
            keepalive: record.flags & flag::KEEPOPEN != 0,
            time_s: seconds(record.sock_time, record.sysctl_time),
            intvl_s: seconds(record.sock_intvl, record.sysctl_intvl),
            probes: Sourced::pick(record.sock_probes.into(), record.sysctl_probes.into()),
            user_timeout_ms: record.user_timeout_ms,
        })
    }

    /// Jiffies in milliseconds.
    fn ms(&self, jiffies: i64) -> i64 {
        jiffies * 1000 / i64::from(self.hz)
    }
}

fn closed(record: &Record, by: Option<Task>, trying_us: Option<u64>) -> Closed {
    let from = State(record.old_state);
    // A FIN takes a number too. It is counted until somebody reads past the end, as nobody has who leaves bytes unread.
    let fin = u32::from(from == State::CLOSE_WAIT || from == State::LAST_ACK);
    Closed {
        from,
        errno: known(record, has::ERR, record.err).and_then(|err| u16::try_from(err).ok()).filter(|err| *err != 0).map(Errno),
        in_timer: record.flags & flag::IN_TIMER != 0,
        time_wait: record.flags & flag::TIME_WAIT != 0,
        by,
        trying_us: trying_us.filter(|_| from == State::SYN_SENT),
        left: known(
            record,
            has::LEFT,
            Left {
                unacked: record.unacked,
                unsent: record.unsent,
                unread: record.unread.saturating_sub(fin),
                window: record.window,
                no_linger2: record.flags & flag::NO_LINGER2 != 0,
                linger_zero: record.flags & flag::LINGER_ZERO != 0,
            },
        ),
        unaccepted: record.flags & flag::UNACCEPTED != 0,
    }
}

/// Whether its peer has ever been heard: before that, its clocks stand at 0.
fn heard(record: &Record) -> bool {
    let closed = record.kind == kind::CLOSED && State(record.old_state) == State::SYN_SENT;
    !closed && State(record.state) != State::SYN_SENT
}

/// A process that holds a socket.
pub fn holding(held: &Held) -> Holding {
    Holding {
        socket: held.sk,
        netns: (held.netns != 0).then_some(held.netns),
        local_port: held.lport,
        remote_port: held.rport,
        task: Task { pid: held.pid, comm: comm(held.comm) },
    }
}

fn known<T>(record: &Record, bit: u32, value: T) -> Option<T> {
    (record.has & bit == bit).then_some(value)
}

/// IPv4-mapped addresses are shown as IPv4.
pub(super) fn address(words: [u64; 2], port: u16) -> SocketAddr {
    const MAPPED: [u8; 4] = [0, 0, 0xff, 0xff];
    let [prefix, rest] = words;
    let [mapped, v4]: [[u8; 4]; 2] = zerocopy::transmute!(rest);
    let address = if prefix == 0 && mapped == MAPPED {
        IpAddr::V4(v4.into())
    } else {
        let octets: [u8; 16] = zerocopy::transmute!(words);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    SocketAddr::new(address, port)
}

fn timer_outcome(number: u8) -> Option<Outcome> {
    Some(match number {
        outcome::DATA_IN_FLIGHT => Outcome::DataInFlight,
        outcome::UNSENT_DATA => Outcome::UnsentData,
        outcome::NOT_IDLE => Outcome::NotIdle,
        outcome::SOCKET_BUSY => Outcome::SocketBusy,
        outcome::KEEPALIVE_OFF => Outcome::KeepaliveOff,
        outcome::FIN_WAIT2 => Outcome::FinWait2,
        _ => return None,
    })
}

fn comm(words: [u64; 2]) -> Comm {
    let bytes: [u8; 16] = zerocopy::transmute!(words);
    bytes.into()
}

#[cfg(test)]
mod tests;
