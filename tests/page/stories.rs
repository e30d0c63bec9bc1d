//! Reports with something of everything, made from events as the tracer makes them.
use std::{collections::BTreeMap, net::SocketAddr};

use keepalive_trace::model::{
    errno::Errno,
    event::{
        Body, Changed, ConnId, Connection, End, Event, Family, How, Open, Outcome, Place, Precision, Probe, ProbeResult, Reply,
        ReplyKind, Start, Timer, Via,
    },
    history::History,
    ledger::Ledger,
    owner::{Comm, Owner, Task},
    report::{Gap, Report, Run, Told, Totals},
    settings::{Origin, Settings, Sourced},
    state::State,
    verdict::Verdict,
    worst::{Rank, Worst},
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
/// 2026-11-28 02:40:00 UTC, when both machines had been up for an hour.
const WALL_NS: i64 = 1_795_833_600_000_000_000 + 9_600_000_000_000 - 3_600_000_000_000;

/// A connection's life, told event by event.
struct Life {
    history: History,
    connection: Connection,
    now: u64,
}

impl Life {
    fn new(number: u64, local: &str, remote: &str, owner: (u32, &str), settings: Settings) -> Self {
        let parsed = |address: &str| address.parse::<SocketAddr>().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 1)));
        let (pid, comm) = owner;
        let now = 3600 * SECOND + number * 17 * SECOND + number * 137 * MS;
        let connection = Connection {
            id: ConnId(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            cookie: None,
            family: Family::V4,
            local: parsed(local),
            remote: parsed(remote),
            netns: Some(4_026_531_840),
            cgroup: None,
            owner: Some(Owner { task: Task { pid, comm: Comm::from(comm) }, holders: 1 }),
            state: State::ESTABLISHED,
            settings: Some(settings),
            idle_ms: None,
            probes_out: Some(0),
        };
        Self { history: History::begin(&connection, now), connection, now }
    }

    fn add(mut self, body: impl FnOnce(Connection) -> Body) -> Self {
        let event = Event { mono_ns: self.now, body: body(self.connection.clone()) };
        self.history.apply(&event);
        self
    }

    fn after(mut self, ms: u64) -> Self {
        self.now += ms * MS;
        self
    }

    fn open(self, how: How, connect_us: Option<u64>) -> Self {
        self.add(|connection| Body::Open(connection, Open { how, connect_us }))
    }

    fn probe(self, n: u32, result: ProbeResult) -> Self {
        let probe = Probe { n: Some(n), result: Some(result), next_ms: None, late_ms: None, wheel_ms: None };
        self.add(|connection| Body::Probe(connection, probe))
    }

    fn reply(self, n: u32, kind: ReplyKind, rtt_us: u64) -> Self {
        let reply = Reply { n: Some(n), kind, rtt_us: Some(rtt_us), precision: Precision::Jiffy, missed: n - 1 };
        self.after(rtt_us / 1000).add(|connection| Body::Reply(connection, reply))
    }

    /// Probes that are answered at once, every so many milliseconds.
    fn calm(self, rounds: u32, every_ms: u64) -> Self {
        (0..rounds).fold(self, |life, _| life.after(every_ms).probe(1, ProbeResult::Sent).reply(1, ReplyKind::Ack, 4000))
    }

    /// A round of probes, the first after `idle_ms`.
    fn round(self, probes: u32, idle_ms: u64, intvl_ms: u64, result: ProbeResult) -> Self {
        (1..=probes).fold(self, |life, n| life.after(if n == 1 { idle_ms } else { intvl_ms }).probe(n, result))
    }

    fn silent(self, times: u32, every_ms: u64, outcome: Outcome) -> Self {
        let timer = || Timer { outcome, next_ms: None, late_ms: None, wheel_ms: None };
        (0..times).fold(self, |life, _| life.after(every_ms).add(|connection| Body::Timer(connection, timer())))
    }

    fn settings(mut self, settings: Settings, by: (u32, &str), via: Via) -> Self {
        self.connection.settings = Some(settings);
        let changed = Changed { by: Some(Task { pid: by.0, comm: Comm::from(by.1) }), via: Some(via) };
        self.add(|connection| Body::Settings(connection, changed))
    }

    fn end(self, verdict: Verdict, errno: Option<Errno>, why: &str) -> History {
        let end = End {
            verdict,
            errno,
            probes_sent: 0,
            unanswered: 0,
            age_ms: None,
            armed_before_sysctl: false,
            why: why.to_owned(),
            http: None,
        };
        self.add(|connection| Body::End(connection, end)).history
    }
}

fn sourced<T>(value: T, origin: Origin) -> Sourced<T> {
    Sourced { value, origin }
}

fn settings(time_s: i32, intvl_s: i32, probes: u32, origin: Origin) -> Settings {
    Settings {
        keepalive: true,
        time_s: sourced(time_s, origin),
        intvl_s: sourced(intvl_s, origin),
        probes: sourced(probes, origin),
        user_timeout_ms: 0,
    }
}

fn run(host: &str, kernel: &str, gaps: Vec<Gap>, lost: u64) -> Run {
    let start = Start {
        version: "0.1.0".to_owned(),
        host: host.to_owned(),
        kernel: kernel.to_owned(),
        hz: 250,
        attach: None,
        cmdline: "keepalive-trace record".to_owned(),
        sysctls: None,
        wall_offset_ns: WALL_NS,
    };
    let lost = if lost > 0 { BTreeMap::from([(Place::RingBuffer, lost)]) } else { BTreeMap::new() };
    let started_ns = 3600 * SECOND;
    let ledger = Ledger { events: 15_206, lost, last_ns: started_ns + 7440 * SECOND, ..Ledger::default() };
    Run { start, started_ns, ledger, gaps }
}

/// One of each kind, on two hosts.
pub fn of_everything() -> Report {
    let incomplete = Gap::Unfinished { file: "web3.kat".to_owned(), torn_bytes: 212 };
    let runs = vec![run("db1", "6.18.15", Vec::new(), 0), run("web3", "6.1.176", vec![incomplete], 38)];
    let mut verdicts = BTreeMap::new();
    let mut worst = Worst::new(true, usize::MAX);
    for (index, history) in lives().into_iter().enumerate() {
        if let Some(verdict) = history.verdict {
            *verdicts.entry(verdict).or_insert(0) += 1;
        }
        let run = usize::from(index % 3 == 1);
        let rank = Rank::of(&history, WALL_NS);
        worst.offer(rank, || Told { run, history, cgroup: Some("/system.slice/app.service".into()) });
    }
    verdicts.extend([(Verdict::PeerClose, 61), (Verdict::LocalClose, 148), (Verdict::NeverEstablished, 4)]);
    let mut report = Report::new(runs, Totals { verdicts, ..Totals::default() }, worst);
    report.connections = report.verdicts.values().sum::<u64>() + 96;
    report.fine = 301;
    report
}

/// So many, like those.
pub fn many(count: u64) -> Report {
    let mut verdicts = BTreeMap::new();
    let mut worst = Worst::new(true, usize::MAX);
    let kinds = lives();
    for number in 0..count {
        let Some(kind) = kinds.get(number as usize % kinds.len()) else { continue };
        let mut history = kind.clone();
        (history.id, history.opened_ns) = (ConnId(number), history.opened_ns - number * MS);
        if let Some(verdict) = history.verdict {
            *verdicts.entry(verdict).or_insert(0) += 1;
        }
        worst.offer(Rank::of(&history, WALL_NS), || Told { run: 0, history, cgroup: None });
    }
    Report::new(vec![run("db1", "6.18.15", Vec::new(), 0)], Totals { connections: count, verdicts, ..Totals::default() }, worst)
}

/// A task's name that would like to be more than a name.
pub const HOSTILE: [&str; 4] =
    ["<script>alert(1)</script>", "\u{1b}[31mred\u{9b}0m", "\u{1f980}\u{1f980}\u{1f980}\u{1f980}", "a\u{202e}txt.exe"];

pub fn hostile() -> Report {
    let mut worst = Worst::new(true, usize::MAX);
    for (number, name) in (1..).zip(HOSTILE) {
        let life = Life::new(number, "10.0.0.5:40000", "10.0.0.9:5432", (7, name), settings(60, 5, 3, Origin::Socket));
        let history = life.open(How::Connect, None).round(3, 60_000, 5000, ProbeResult::Sent).after(5000);
        let history = history.end(Verdict::KeepaliveTimeout, Some(Errno::TIMEDOUT), "</p><script>alert(2)</script>\u{1b}[2J");
        worst.offer(Rank::of(&history, WALL_NS), || Told { run: 0, history, cgroup: Some("/\"onload=\"alert(3)".into()) });
    }
    let gap = Gap::Damaged { file: "<img src=x>".to_owned(), at_byte: 9, why: "\u{202e}".to_owned() };
    let run = run("<b onclick=alert(4)>\u{1b}", "6.1'\"&", vec![gap], 0);
    let verdicts = BTreeMap::from([(Verdict::KeepaliveTimeout, 4)]);
    Report::new(vec![run], Totals { connections: 4, verdicts, ..Totals::default() }, worst)
}

fn lives() -> Vec<History> {
    let (here, sysctl) = (Origin::Socket, Origin::Sysctl);
    let usual = settings(7200, 75, 9, sysctl);
    let quick = settings(60, 5, 3, here);
    let with_timeout = Settings { user_timeout_ms: 20_000, ..settings(60, 5, 6, here) };
    let off = Settings { keepalive: false, ..usual };
    let sent = ProbeResult::Sent;
    vec![
        Life::new(1, "10.4.1.17:51334", "10.4.9.20:5432", (812, "postgres"), quick)
            .open(How::Connect, Some(312))
            .calm(9, 60_004)
            .round(3, 60_000, 5000, sent)
            .after(5120)
            .end(
                Verdict::KeepaliveTimeout,
                Some(Errno::TIMEDOUT),
                "3 of 3 keepalive probes went unanswered, nothing heard for 75.120 s: the kernel reset the connection",
            ),
        Life::new(2, "10.4.1.17:44012", "10.4.9.21:6379", (2190, "redis-proxy"), usual)
            .open(How::Snapshot, None)
            .round(9, 4_310_000, 75_000, sent)
            .after(75_500)
            .end(
                Verdict::KeepaliveTimeout,
                Some(Errno::TIMEDOUT),
                "9 of 9 keepalive probes went unanswered, nothing heard for 7876.480 s: the kernel reset the connection",
            ),
        Life::new(3, "10.4.1.17:40110", "10.4.9.33:9092", (3307, "kafka-consumer"), with_timeout)
            .open(How::Connect, Some(1890))
            .calm(3, 60_004)
            .round(4, 60_000, 5000, sent)
            .after(5010)
            .end(
                Verdict::UserTimeout,
                Some(Errno::TIMEDOUT),
                "TCP_USER_TIMEOUT of 20.000 s passed with 4 keepalive probes unanswered: probe 5 and 6 were never sent",
            ),
        Life::new(4, "[2001:db8:4::17]:38822", "[2001:db8:9::5]:443", (911, "envoy"), usual)
            .open(How::Connect, Some(24_100))
            .after(1_200_000)
            .settings(settings(350, 75, 9, sysctl), (77, "sysctl"), Via::Sysctl { waited_ms: 1_100_000 })
            .round(1, 350_000, 0, sent)
            .reply(1, ReplyKind::Reset, 8000)
            .end(
                Verdict::PeerResetOnProbe,
                Some(Errno::CONNRESET),
                "probe 1 was answered by RST after 350.004 s idle: the peer, or a middlebox, had forgotten the connection",
            ),
        Life::new(5, "10.4.1.17:40200", "10.4.9.40:3306", (1402, "mysqld_exporter"), quick)
            .open(How::Connect, Some(410))
            .calm(2, 60_004)
            .silent(14, 61_000, Outcome::DataInFlight)
            .after(2000)
            .end(
                Verdict::RetransmitTimeout,
                Some(Errno::TIMEDOUT),
                "unacknowledged data was retransmitted for 924.600 s to the end: keepalive never had a say",
            ),
        Life::new(6, "10.4.1.17:22", "192.0.2.14:60122", (4410, "sshd"), quick)
            .open(How::Accept, None)
            .calm(4, 60_004)
            .after(9000)
            .end(Verdict::AdminKill, Some(Errno::CONNABORTED), "tcp_abort by ss[5120]: somebody killed it"),
        Life::new(7, "10.4.1.17:51336", "10.4.9.20:5432", (812, "postgres"), quick)
            .open(How::Connect, Some(298))
            .calm(3, 60_004)
            .round(2, 60_000, 5000, sent)
            .history,
        Life::new(8, "10.4.1.17:8080", "10.4.2.8:41822", (5001, "gunicorn"), quick)
            .open(How::Accept, None)
            .calm(2, 60_004)
            .round(2, 60_000, 5000, sent)
            .reply(2, ReplyKind::Ack, 4000)
            .calm(12, 60_004)
            .round(3, 60_000, 5000, ProbeResult::DroppedLocally)
            .reply(3, ReplyKind::Ack, 12_000)
            .calm(5, 60_004)
            .history,
        Life::new(9, "10.4.1.17:40777", "10.4.9.50:11211", (733, "memcached-agent"), usual)
            .open(How::Connect, Some(150))
            .after(30_000)
            .settings(quick, (733, "memcached-agent"), Via::Setsockopt)
            .calm(3, 60_004)
            .after(60_000)
            .probe(1, ProbeResult::Congested)
            .after(500)
            .probe(1, ProbeResult::Congested)
            .after(500)
            .round(2, 500, 5000, sent)
            .reply(2, ReplyKind::Ack, 28_000)
            .history,
        Life::new(10, "10.4.1.17:40912", "198.51.100.9:443", (2741, "curl"), off)
            .open(How::Connect, Some(18_220))
            .after(4200)
            .end(Verdict::LocalAbort, None, "closed with SO_LINGER 0: this host reset it by curl[2741]"),
        Life::new(11, "10.4.1.17:8080", "10.4.2.9:50110", (5001, "gunicorn"), quick)
            .open(How::Accept, None)
            .calm(31, 60_004)
            .after(12_000)
            .end(Verdict::PeerClose, None, ""),
        Life::new(12, "10.4.1.17:8080", "10.4.2.9:50122", (5001, "gunicorn"), off).open(How::Accept, None).after(1250).end(
            Verdict::LocalClose,
            None,
            "",
        ),
    ]
}
