//! From the wire to the model: jiffies become milliseconds, numbers become names, absent stays absent.
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use keepalive_trace_ebpf::{Record, flag, has, kind, outcome};

use crate::model::{
    event::{Body, Connection, Event, Family, Outcome, Probe, ProbeResult, Reset, Task, Timer},
    settings::{Settings, Sourced},
    state::State,
    tracker::{Identity, Tracker},
    verdict::Verdict,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Reads records of one run.
#[derive(Debug)]
pub struct Reader {
    /// Jiffies a second.
    pub hz: u32,
    /// The kernel's names of reset reasons.
    pub reasons: BTreeMap<u32, String>,
}

impl Reader {
    /// The event that a record tells; none where the record makes no sense.
    pub fn event(&self, record: &Record, tracker: &mut Tracker) -> Option<Event> {
        let family = match record.family {
            AF_INET => Family::V4,
            AF_INET6 => Family::V6,
            _ => return None,
        };
        let identity = Identity {
            sock: record.sk,
            netns: known(record, has::NETNS, record.netns),
            local: address(record.laddr, record.lport),
            remote: address(record.raddr, record.rport),
        };
        let with_settings = |value| known(record, has::SETTINGS, value);
        let connection = Connection {
            id: tracker.sighted(identity, record.mono_ns),
            cookie: (record.cookie != 0).then_some(record.cookie),
            family,
            local: identity.local,
            remote: identity.remote,
            netns: identity.netns,
            cgroup_id: known(record, has::CGROUP, record.cgroup),
            state: State(record.state),
            settings: self.settings(record),
            idle_ms: with_settings(record.ack_age.min(record.data_age)).map(|age| self.ms(age.into()).unsigned_abs()),
            probes_out: with_settings(record.probes_out.into()),
        };
        let next_ms = known(record, has::NEXT, self.ms(record.next.into()));
        let late_ms = known(record, has::LATE, self.ms(record.late.into()));
        let body = match record.kind {
            kind::PROBE => Body::Probe(
                connection,
                Probe {
                    n: with_settings(u32::from(record.probes_out) + 1),
                    result: known(record, has::RET, ProbeResult::of(record.ret)),
                    next_ms,
                    late_ms,
                },
            ),
            kind::TIMER => Body::Timer(connection, Timer { outcome: timer_outcome(record.outcome)?, next_ms, late_ms }),
            kind::RESET => {
                tracker.ended(&identity);
                Body::Reset(connection, self.reset(record))
            }
            _ => return None,
        };
        Some(Event { mono_ns: record.mono_ns, body })
    }

    fn reset(&self, record: &Record) -> Reset {
        let in_timer = record.flags & flag::IN_TIMER != 0;
        let orphan = record.flags & flag::DEAD != 0;
        let reason = |number| self.reasons.get(&number).cloned().unwrap_or_else(|| format!("reason-{number}"));
        Reset {
            reason: known(record, has::REASON, record.reason).map(reason),
            cause: in_timer.then(|| Verdict::of_timer(State(record.state), orphan, record.user_timeout_ms)),
            task: known(record, has::TASK, ()).map(|()| Task { pid: record.task_pid, comm: comm(record.task_comm) }),
        }
    }

    fn settings(&self, record: &Record) -> Option<Settings> {
        known(record, has::SETTINGS, ())?;
        known(record, has::SYSCTL, ())?;
        let seconds = |picked: Sourced<i64>| Sourced { value: picked.value / i64::from(self.hz), origin: picked.origin };
        Some(Settings {
            keepalive: record.flags & flag::KEEPOPEN != 0,
            time_s: seconds(Sourced::pick(record.sock_time.into(), record.sysctl_time.into())),
            intvl_s: seconds(Sourced::pick(record.sock_intvl.into(), record.sysctl_intvl.into())),
            probes: Sourced::pick(record.sock_probes.into(), record.sysctl_probes.into()),
            user_timeout_ms: record.user_timeout_ms,
        })
    }

    /// Jiffies in milliseconds.
    fn ms(&self, jiffies: i64) -> i64 {
        jiffies * 1000 / i64::from(self.hz)
    }
}

fn known<T>(record: &Record, bit: u32, value: T) -> Option<T> {
    (record.has & bit != 0).then_some(value)
}

/// IPv4-mapped addresses are shown as IPv4.
fn address(words: [u64; 2], port: u16) -> SocketAddr {
    let octets: [u8; 16] = zerocopy::transmute!(words);
    let address = Ipv6Addr::from(octets);
    SocketAddr::new(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4), port)
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

/// A task's name up to its NUL; bytes that are no UTF-8 are replaced.
fn comm(words: [u64; 2]) -> String {
    let bytes: [u8; 16] = zerocopy::transmute!(words);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::model::settings::Origin;

    fn reader() -> Reader {
        Reader { hz: 250, reasons: BTreeMap::from([(15, "TCP_KEEPALIVE_TIMEOUT".to_owned())]) }
    }

    fn record() -> Record {
        let mapped = |last: u8| zerocopy::transmute!([0_u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last]);
        Record {
            family: AF_INET,
            laddr: mapped(1),
            raddr: mapped(2),
            lport: 40000,
            rport: 443,
            state: 1,
            kind: kind::PROBE,
            has: has::SETTINGS | has::SYSCTL | has::RET | has::NEXT | has::LATE,
            flags: flag::KEEPOPEN,
            sock_time: 250,
            sysctl_time: 1_800_000,
            sysctl_intvl: 18_750,
            sysctl_probes: 9,
            ack_age: 251,
            data_age: 9999,
            next: 18_750,
            late: 1,
            probes_out: 1,
            ..Record::new_zeroed()
        }
    }

    #[test]
    fn jiffies_become_seconds_and_each_value_names_its_origin() {
        let event = reader().event(&record(), &mut Tracker::new(1)).unwrap();
        let Body::Probe(connection, probe) = event.body else { panic!("not a probe") };
        let settings = connection.settings.unwrap();
        assert_eq!(settings.time_s, Sourced { value: 1, origin: Origin::Socket });
        assert_eq!(settings.intvl_s, Sourced { value: 75, origin: Origin::Sysctl });
        assert_eq!(settings.probes, Sourced { value: 9, origin: Origin::Sysctl });
        assert_eq!(connection.idle_ms, Some(1004));
        assert_eq!(probe, Probe { n: Some(2), result: Some(ProbeResult::Sent), next_ms: Some(75_000), late_ms: Some(4) });
    }

    #[test]
    fn what_the_kernel_lacks_stays_unknown() {
        let record = Record { has: 0, ..record() };
        let event = reader().event(&record, &mut Tracker::new(1)).unwrap();
        let Body::Probe(connection, probe) = event.body else { panic!("not a probe") };
        assert_eq!((connection.settings, connection.idle_ms, connection.netns, connection.cookie), (None, None, None, None));
        assert_eq!(probe, Probe { n: None, result: None, next_ms: None, late_ms: None });
    }

    #[test]
    fn an_ipv4_mapped_connection_has_ipv4_addresses_on_an_ipv6_socket() {
        let event = reader().event(&Record { family: AF_INET6, ..record() }, &mut Tracker::new(1)).unwrap();
        let Body::Probe(connection, _) = event.body else { panic!("not a probe") };
        assert_eq!(connection.family, Family::V6);
        assert_eq!(connection.local.to_string(), "127.0.0.1:40000");
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused_and_unknown_reasons_keep_their_number() {
        let mut tracker = Tracker::new(8);
        assert_eq!(reader().event(&Record { family: 77, ..record() }, &mut tracker), None);
        assert_eq!(reader().event(&Record { kind: 77, ..record() }, &mut tracker), None);
        assert_eq!(reader().event(&Record { kind: kind::TIMER, outcome: 77, ..record() }, &mut tracker), None);
        let reset = reader().reset(&Record { reason: 77, has: has::REASON, ..record() });
        assert_eq!(reset.reason.as_deref(), Some("reason-77"));
        let reset = reader().reset(&Record { reason: 15, has: has::REASON, ..record() });
        assert_eq!(reset.reason.as_deref(), Some("TCP_KEEPALIVE_TIMEOUT"));
    }

    #[test]
    fn a_task_name_ends_at_its_nul_and_may_be_no_text_at_all() {
        assert_eq!(comm(zerocopy::transmute!(*b"nginx\0garbage...")), "nginx");
        assert_eq!(comm([u64::MAX; 2]).chars().count(), 16);
    }
}
