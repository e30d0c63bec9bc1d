//! What is told of what is seen. Events are compared by their gists; connections are A, B, C... as they come to be known.
use std::net::SocketAddr;

use super::*;
use crate::model::{
    errno::Errno,
    event::{Changed, Family, Outcome, Probe, ProbeResult, Reset, Timer, Via},
    history::Timeline,
    http::Line,
    ledger::Ledger,
    owner::{Comm, Task},
    settings::{Origin, Settings, Sourced},
    sighting::{Clock, Left},
    verdict::Verdict,
};

mod ends;
mod identity;
mod legal;
mod lost;
mod owners;
mod properties;
mod quiet;
mod replies;
mod room;
mod sysctls;

/// Jiffies a second.
const HZ: u32 = 250;
const MS: u64 = 1_000_000;

fn task(pid: u32, comm: &str) -> Task {
    Task { pid, comm: Comm::from(comm) }
}

fn nginx() -> Task {
    task(812, "nginx")
}

fn settings(time_s: i32) -> Settings {
    let socket = |value| Sourced { value, origin: Origin::Socket };
    Settings {
        keepalive: true,
        time_s: socket(time_s),
        intvl_s: socket(1),
        probes: Sourced { value: 3, origin: Origin::Sysctl },
        user_timeout_ms: 0,
    }
}

/// An established socket; its client's port is its address.
fn socket(address: u16) -> Socket {
    Socket {
        address: address.into(),
        cookie: None,
        family: Family::V4,
        local: SocketAddr::from(([10, 0, 0, 5], address)),
        remote: SocketAddr::from(([10, 0, 0, 9], 5432)),
        netns: Some(7),
        cgroup: None,
        state: State::ESTABLISHED,
        orphan: false,
        settings: Some(settings(1)),
        idle_ms: Some(1000),
        probes_out: Some(0),
        clock: None,
    }
}

/// As it is once its state is CLOSE.
fn dead(address: u16) -> Socket {
    Socket { state: State::CLOSE, ..socket(address) }
}

fn connected() -> What {
    What::Connected { connect_us: Some(312), opener: Some(nginx()), late: false }
}

fn probe(n: u32) -> What {
    What::Probe(Probe { n: Some(n), result: Some(ProbeResult::Sent), next_ms: None, late_ms: None, wheel_ms: None })
}

fn timer(outcome: Outcome) -> What {
    What::Timer(Timer { outcome, next_ms: None, late_ms: None, wheel_ms: None })
}

fn closed(from: State) -> Closed {
    Closed { from, left: Some(Left { window: 64_000, ..Left::default() }), by: Some(nginx()), ..Closed::default() }
}

fn failed(from: State, errno: Errno) -> What {
    What::Closed(Closed { errno: Some(errno), by: None, ..closed(from) })
}

/// An end in order, after the peer's FIN.
fn goodbye() -> What {
    What::Closed(closed(State::LAST_ACK))
}

/// A reset that is not the keepalive timer's.
fn reset() -> What {
    What::Reset(Reset { reason: None, cause: None, task: Some(nginx()) })
}

/// A tracker, and what it has told.
struct Run {
    tracker: Tracker,
    told: Vec<Event>,
    ids: Vec<ConnId>,
}

impl Run {
    fn new() -> Self {
        Self::of(100, Owners::default())
    }

    fn of(capacity: usize, wanted: Owners) -> Self {
        Self { tracker: Tracker::new(HZ, capacity, wanted), told: Vec::new(), ids: Vec::new() }
    }

    /// What is told when this is seen.
    fn see(&mut self, ms: u64, socket: Socket, what: What) -> Vec<String> {
        let mut out = Vec::new();
        self.tracker.see(&Sighting { mono_ns: ms * MS, socket, what }, &mut out);
        self.note(out)
    }

    /// What is told when somebody looks who holds what.
    fn held(&mut self, holdings: &[Holding]) -> Vec<String> {
        let mut out = Vec::new();
        self.tracker.held(holdings, MS, &mut out);
        self.note(out)
    }

    fn settle(&mut self, ms: u64) -> Vec<String> {
        let mut out = Vec::new();
        self.tracker.settle(ms * MS, &mut out);
        self.note(out)
    }

    fn note(&mut self, out: Vec<Event>) -> Vec<String> {
        let gists = out.iter().map(|event| self.gist(event)).collect();
        self.told.extend(out);
        gists
    }

    fn gist(&mut self, event: &Event) -> String {
        if let Body::Sysctl(write, _) = &event.body {
            return format!("{} {} -> {}", write.name.name(), write.old, write.new);
        }
        let id = event.body.connection().unwrap().id;
        let place = self.ids.iter().position(|known| *known == id).unwrap_or_else(|| {
            self.ids.push(id);
            self.ids.len() - 1
        });
        let name = char::from(b'A' + u8::try_from(place).unwrap());
        let what = match &event.body {
            Body::Open(_, open) => format!("open {}", open.how.name()),
            Body::Owner(connection) => {
                let owner = connection.owner.unwrap();
                format!("owner {}, {} in all", owner.task.comm, owner.holders)
            }
            Body::Settings(_, Changed { by: Some(by), via: Some(Via::Sysctl { waited_ms }) }) => {
                format!("follows {} after {waited_ms} ms", by.comm)
            }
            Body::Settings(_, changed) => changed.by.map_or("settings".to_owned(), |task| format!("settings by {}", task.comm)),
            Body::Probe(_, probe) => format!("probe {}", probe.n.unwrap()),
            Body::Timer(_, timer) => format!("timer {}", timer.outcome.name()),
            Body::Reply(_, reply) => {
                let rtt = reply.rtt_us.map_or("?".to_owned(), |us| us.to_string());
                let (n, kind, precision) = (reply.n.unwrap(), reply.kind.name(), reply.precision.name());
                format!("{kind} {n} in {rtt} us {precision}, missed {}", reply.missed)
            }
            Body::Reset(..) => "reset".to_owned(),
            Body::Http(_, http) => match http.line {
                Line::Request(method) => format!("request {} {}", http.n, method.name()),
                Line::Response(status) => format!("response {} {status}", http.n),
            },
            Body::End(_, end) => format!("end {}", end.verdict.name()),
            Body::Start(_) | Body::Namespace(_) | Body::Sysctl(..) | Body::Uneventful(_) | Body::Lost(_) | Body::Stop(_) => {
                panic!("{event:?}")
            }
        };
        format!("{name} {what}")
    }

    /// The owner in the last event.
    fn owner(&self) -> Option<(u32, u32)> {
        let owner = self.told.last().unwrap().body.connection().unwrap().owner;
        owner.map(|owner| (owner.task.pid, owner.holders))
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        self.told.iter().for_each(|event| ledger.note(event));
        ledger
    }

    fn histories(&self) -> Vec<&History> {
        self.tracker.histories().map(|(history, _)| history).collect()
    }

    fn verdicts(&self) -> Vec<(Verdict, u64)> {
        self.ledger().verdicts.into_iter().collect()
    }
}

/// All that a history says.
fn essence(history: &History) -> impl PartialEq + std::fmt::Debug + use<> {
    let ends = (history.local(), history.remote(), history.netns(), history.owner());
    let known = (history.how, history.connect_us(), history.opened_ns, history.last_ns, history.settings());
    let end = (history.verdict, history.errno, history.why().map(str::to_owned));
    let timeline: Timeline = history.timeline();
    (history.id, ends, known, history.tally, end, timeline)
}
