//! One event of each kind, for the formats' tests.
use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    errno::Errno,
    event::{
        Attach, Body, Changed, ConnId, Connection, End, Event, Family, How, Lost, Namespace, Open, Outcome, Place, Precision,
        Probe, ProbeResult, Reply, ReplyKind, Reset, Start, Stop, Timer, Uneventful, Via,
    },
    finding::Finding,
    history::History,
    http::{self, Cause, Findings, Http, Line, Method, Promise, Saved, SavedFrom, Tokens},
    ledger::Ledger,
    owner::{Comm, Owner, Task},
    report::{Gap, Report, Run},
    settings::{Origin, Settings, Sourced},
    state::State,
    sysctl::{Deadlines, Following, Name, Sysctls, Write},
    verdict::Verdict,
};

const SECOND: u64 = 1_000_000_000;

fn connection() -> Connection {
    Connection {
        id: ConnId(0xab),
        cookie: Some(77),
        family: Family::V4,
        local: SocketAddr::from(([10, 0, 0, 5], 51334)),
        remote: SocketAddr::from(([10, 0, 0, 9], 5432)),
        netns: Some(4_026_531_840),
        cgroup: Some("/system.slice/app.service".into()),
        owner: Some(Owner { task: Task { pid: 812, comm: Comm::from("app") }, holders: 2 }),
        state: State(1),
        settings: Some(Settings {
            keepalive: true,
            time_s: Sourced { value: 1, origin: Origin::Socket },
            intvl_s: Sourced { value: 1, origin: Origin::Socket },
            probes: Sourced { value: 3, origin: Origin::Sysctl },
            user_timeout_ms: 0,
        }),
        idle_ms: Some(2008),
        probes_out: Some(1),
    }
}

pub fn start() -> Event {
    let start = Start {
        version: "0.1.0".to_owned(),
        host: "db1".to_owned(),
        kernel: "6.18.15".to_owned(),
        hz: 250,
        attach: Some(Attach::Kprobe),
        cmdline: "keepalive-trace".to_owned(),
        sysctls: Some(Sysctls { time_s: 7200, intvl_s: 75, probes: 9 }),
        wall_offset_ns: 0,
    };
    Event { mono_ns: SECOND + 7, body: Body::Start(start) }
}

fn open() -> Event {
    let open = Open { how: How::Connect, connect_us: Some(312) };
    Event { mono_ns: 2 * SECOND + 7, body: Body::Open(Connection { probes_out: Some(0), ..connection() }, open) }
}

fn changed() -> Event {
    let by = Some(Task { pid: 812, comm: Comm::from("app") });
    Event { mono_ns: 3 * SECOND + 7, body: Body::Settings(connection(), Changed { by, via: Some(Via::Setsockopt) }) }
}

fn reply() -> Event {
    let reply = Reply { n: Some(2), kind: ReplyKind::Ack, rtt_us: Some(4000), precision: Precision::Jiffy, missed: 1 };
    Event { mono_ns: 5 * SECOND + SECOND / 4 + 7, body: Body::Reply(connection(), reply) }
}

pub fn end() -> Event {
    let end = End {
        armed_before_sysctl: false,
        verdict: Verdict::KeepaliveTimeout,
        errno: Some(Errno::TIMEDOUT),
        probes_sent: 4,
        unanswered: 3,
        age_ms: Some(5080),
        why: "3 of 3 keepalive probes went unanswered, nothing heard for 4.080 s: the kernel reset the connection".to_owned(),
        http: Some(Box::new(http::End {
            cause: Some(Cause::IdleTimeout),
            requests: 3,
            responses: 3,
            saved: Some(Saved { us: 624, from: SavedFrom::Connection }),
            findings: Findings::from_iter([http::Finding::PromiseBroken, http::Finding::KeepaliveNeverActs]),
        })),
    };
    let connection = Connection { probes_out: Some(3), idle_ms: Some(4080), state: State(7), ..connection() };
    Event { mono_ns: 6 * SECOND + SECOND / 4 + 7, body: Body::End(connection, end) }
}

pub fn probe() -> Event {
    let probe = Probe { n: Some(2), result: Some(ProbeResult::Sent), next_ms: Some(1000), late_ms: Some(8), wheel_ms: Some(8) };
    Event { mono_ns: 5 * SECOND + 7, body: Body::Probe(connection(), probe) }
}

/// A request and its response.
fn http() -> [Event; 2] {
    let request = Http {
        line: Line::Request(Method::Get),
        n: 3,
        connection: Tokens::default(),
        promise: Promise::default(),
        idle_before_ms: Some(1500),
    };
    let response = Http {
        line: Line::Response(200),
        n: 3,
        connection: Tokens { keep_alive: true, ..Tokens::default() },
        promise: Promise { timeout_s: Some(5), max: Some(98) },
        idle_before_ms: Some(2),
    };
    let at = 3 * SECOND + SECOND / 2 + 7;
    [(at, request), (at + 2_000_000, response)].map(|(mono_ns, http)| Event { mono_ns, body: Body::Http(connection(), http) })
}

fn timer() -> Event {
    let timer = Timer { outcome: Outcome::DataInFlight, next_ms: Some(1000), late_ms: Some(132), wheel_ms: Some(32) };
    Event { mono_ns: 5 * SECOND + SECOND / 2 + 7, body: Body::Timer(connection(), timer) }
}

pub fn death() -> Event {
    let connection = Connection { probes_out: Some(3), idle_ms: Some(4080), ..connection() };
    let reset = Reset { reason: Some("TCP_KEEPALIVE_TIMEOUT".into()), cause: Some(Verdict::KeepaliveTimeout), task: None };
    Event { mono_ns: 6 * SECOND + 7, body: Body::Reset(connection, reset) }
}

fn abort() -> Event {
    let connection = Connection { state: State(7), ..connection() };
    let task = Task { pid: 42, comm: Comm::from("ev\u{1b}il") };
    let reset = Reset { reason: Some("TCP_ABORT_ON_CLOSE".into()), cause: None, task: Some(task) };
    Event { mono_ns: 6 * SECOND + SECOND / 2 + 7, body: Body::Reset(connection, reset) }
}

pub fn namespace() -> Event {
    let namespace = Namespace {
        netns: 4_026_531_840,
        host: Some(true),
        name: None,
        sysctls: Sysctls { time_s: 7200, intvl_s: 0, probes: 9 },
        sockets: 12,
        keepalive: 5,
        follow: 3,
        findings: vec![Finding::DangerousSysctl],
    };
    Event { mono_ns: SECOND + 8, body: Body::Namespace(namespace) }
}

fn writer() -> Task {
    Task { pid: 77, comm: Comm::from("sysctl") }
}

fn write() -> Write {
    Write {
        mono_ns: 4 * SECOND + SECOND / 10 + 7,
        netns: 4_026_531_840,
        name: Name::Time,
        old: 7200,
        new: 600,
        refused: None,
        by: Some(writer()),
    }
}

/// A write, and one that was refused.
pub fn writes() -> [Event; 2] {
    let at = |seconds: u64| 4 * SECOND + seconds * SECOND;
    let by = Deadlines { nearest_ns: at(9), median_ns: at(600), last_ns: at(7100) };
    let following = Following { sockets: 12, now: 1, later: 2, never_socket: 2, never_off: 7, by: Some(by) };
    let refused = Write { name: Name::Probes, old: 9, new: 9, refused: Some(Errno(22)), ..write() };
    [Body::Sysctl(write(), Some(following)), Body::Sysctl(refused, None)].map(|body| Event { mono_ns: write().mono_ns, body })
}

/// The connection follows that write.
fn followed() -> Event {
    let changed = Changed { by: Some(writer()), via: Some(Via::Sysctl { waited_ms: 100 }) };
    Event { mono_ns: 4 * SECOND + SECOND / 5 + 7, body: Body::Settings(connection(), changed) }
}

/// A whole run.
pub fn all() -> Vec<Event> {
    let lost = Event { mono_ns: 7 * SECOND + 7, body: Body::Lost(Lost { count: 7, place: Place::RingBuffer }) };
    let stop =
        Stop { events: 4, lost: 7, connections: 1, uneventful: 0, verdicts: BTreeMap::from([(Verdict::KeepaliveTimeout, 1)]) };
    let stop = Event { mono_ns: 8 * SECOND + 7, body: Body::Stop(stop) };
    let ended = Uneventful { verdict: Verdict::PeerClose, cgroup: connection().cgroup, count: 3 };
    let uneventful = Event { mono_ns: 6 * SECOND + 3 * (SECOND / 4) + 7, body: Body::Uneventful(ended) };
    let [write, refused] = writes();
    let [request, response] = http();
    vec![
        start(),
        namespace(),
        open(),
        changed(),
        request,
        response,
        write,
        refused,
        followed(),
        probe(),
        reply(),
        timer(),
        death(),
        end(),
        abort(),
        uneventful,
        lost,
        stop,
    ]
}

/// What the run's events up to the end of the connection come to.
pub fn history() -> History {
    let mut history = History::begin(&connection(), 2 * SECOND);
    let ended = end().mono_ns;
    all().iter().filter(|event| event.mono_ns <= ended).for_each(|event| history.apply(event));
    history
}

/// One that was accepted and closed, and nothing else.
pub fn healthy() -> History {
    let connection = || Connection { id: ConnId(0xcd), probes_out: Some(0), ..connection() };
    let end = End {
        armed_before_sysctl: false,
        verdict: Verdict::PeerClose,
        errno: None,
        probes_sent: 0,
        unanswered: 0,
        age_ms: Some(1000),
        why: "the peer closed first, with FIN, then app[812] closed".to_owned(),
        http: None,
    };
    let mut history = History::begin(&connection(), SECOND);
    let open = Open { how: How::Accept, connect_us: None };
    history.apply(&Event { mono_ns: SECOND, body: Body::Open(connection(), open) });
    history.apply(&Event { mono_ns: 2 * SECOND, body: Body::End(connection(), end) });
    history
}

/// Both, of a run that lost events, and whose recording ends early.
pub fn report() -> Report {
    let Event { mono_ns: started_ns, body: Body::Start(start) } = start() else { panic!("no start") };
    let mut ledger = Ledger::default();
    all().iter().for_each(|event| ledger.note(event));
    let gap = Gap::Unfinished { file: "db1.kat".to_owned(), torn_bytes: 3 };
    let run = Run { start, started_ns, ledger, gaps: vec![gap] };
    let (bad, good) = (history(), healthy());
    let cgroup = connection().cgroup;
    Report::of(run, [(&good, None), (&bad, cgroup)].into_iter(), true, usize::MAX)
}
