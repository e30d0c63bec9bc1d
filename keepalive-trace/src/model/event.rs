//! What happens to connections, as typed events: the one vocabulary of live tracing, recordings and reports.
use std::{fmt, net::SocketAddr, sync::Arc};

use super::{
    errno::Errno,
    http::{self, Http},
    owner::{Owner, Task},
    settings::Settings,
    state::State,
    sysctl::{Following, Write},
    verdict::Verdict,
};

mod run;

pub use run::{Attach, Lost, Namespace, Place, Start, Stop, Uneventful};

/// One event, at a moment of CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub mono_ns: u64,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The run began: always the first event.
    Start(Start),
    /// A connection is known from now on.
    Open(Connection, Open),
    /// Its owner, or the number of those that hold it, came to be known, and nothing else is to be told.
    Owner(Connection),
    /// Its settings are others than before: those of the connection as it is given here.
    Settings(Connection, Changed),
    /// `tcp_keepalive_timer` called `tcp_write_wakeup`.
    Probe(Connection, Probe),
    /// `tcp_keepalive_timer` ran and sent nothing.
    Timer(Connection, Timer),
    /// The peer answered a probe.
    Reply(Connection, Reply),
    /// `tcp_send_active_reset` ran.
    Reset(Connection, Reset),
    /// The head of an HTTP message passed.
    Http(Connection, Http),
    /// The connection is over.
    End(Connection, End),
    /// A network namespace, as its sysctls are.
    Namespace(Namespace),
    /// Somebody wrote a keepalive sysctl; and what that means for the connections there, where it was counted.
    Sysctl(Write, Option<Following>),
    /// Connections on which nothing happened ended in order, and no other event tells of them.
    Uneventful(Uneventful),
    /// Events are missing.
    Lost(Lost),
    /// The run ended: always the last event.
    Stop(Stop),
}

impl Body {
    /// For those who asked for all: that a connection opens, whose it is, and that its timer ran and sent nothing.
    pub fn is_detail(&self) -> bool {
        matches!(self, Self::Open(..) | Self::Owner(_) | Self::Timer(..))
    }

    /// The connection that the event is about.
    pub fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Open(connection, _)
            | Self::Owner(connection)
            | Self::Settings(connection, _)
            | Self::Probe(connection, _)
            | Self::Timer(connection, _)
            | Self::Reply(connection, _)
            | Self::Reset(connection, _)
            | Self::Http(connection, _)
            | Self::End(connection, _) => Some(connection),
            Self::Start(_) | Self::Namespace(_) | Self::Sysctl(..) | Self::Uneventful(_) | Self::Lost(_) | Self::Stop(_) => None,
        }
    }
}

/// A connection's id: the same throughout a run, its recording and every report of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The address family of the socket: an IPv4-mapped connection has IPv4 addresses on an IPv6 socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The connection as it was at an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub id: ConnId,
    /// The kernel's socket cookie, where somebody had asked for one.
    pub cookie: Option<u64>,
    pub family: Family,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Inode of the socket's network namespace.
    pub netns: Option<u32>,
    /// The socket's cgroup v2: its path from the hierarchy's root.
    pub cgroup: Option<Arc<str>>,
    pub owner: Option<Owner>,
    pub state: State,
    /// The settings in force, and where each comes from.
    pub settings: Option<Settings>,
    /// Since the last ACK or data from the peer, milliseconds: `keepalive_time_elapsed`.
    pub idle_ms: Option<u64>,
    /// `icsk_probes_out` before the event: probes sent and not answered.
    pub probes_out: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    pub how: How,
    /// How long the handshake took, microseconds, where this host began it.
    pub connect_us: Option<u64>,
}

/// How a connection came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// It was there when the run began.
    Snapshot,
    /// A process of this host connected.
    Connect,
    /// A process of this host accepted it.
    Accept,
    /// Something happened on it: it was waiting to be accepted, or its opening was missed.
    FirstEvent,
}

impl How {
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::FirstEvent => "first-event",
        }
    }
}

/// Who changed a connection's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Who called `setsockopt`, or wrote the sysctl; none where the change was only noticed.
    pub by: Option<Task>,
    pub via: Option<Via>,
}

/// By what way settings changed. Where it is not known, another way was taken, or the call was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Setsockopt,
    /// The timer has fired, and follows what was written so long before, milliseconds; 49 days stand for any longer time.
    Sysctl {
        waited_ms: u32,
    },
}

impl Via {
    pub fn name(self) -> &'static str {
        match self {
            Self::Setsockopt => "setsockopt",
            Self::Sysctl { .. } => "sysctl",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Which probe of its round was answered, from 1.
    pub n: Option<u32>,
    pub kind: ReplyKind,
    /// From the probe to the answer, microseconds; none where other traffic came before anybody looked.
    pub rtt_us: Option<u64>,
    pub precision: Precision,
    /// Probes of this round before it that nobody answered.
    pub missed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyKind {
    Ack,
    /// The peer, or something between, knows no such connection.
    Reset,
}

impl ReplyKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Reset => "reset",
        }
    }
}

/// How exactly the time of an answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Seen as it came.
    Exact,
    /// Read later from the socket's own clock, which ticks once a jiffy.
    Jiffy,
}

impl Precision {
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Jiffy => "jiffy",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub verdict: Verdict,
    /// What the application was told, where it was told an error.
    pub errno: Option<Errno>,
    /// Probes of the whole connection, as far as they were seen; those that this host dropped itself count as the kernel counts.
    pub probes_sent: u32,
    /// Of these, those that nobody answered.
    pub unanswered: u32,
    /// Since it was connected or accepted, milliseconds; of a handshake that failed, how long it was tried.
    pub age_ms: Option<u64>,
    /// The timer had been armed before a sysctl that it follows was written.
    pub armed_before_sysctl: bool,
    /// One sentence with the evidence.
    pub why: String,
    /// What HTTP had to do with it, where it was watched and seen.
    pub http: Option<Box<http::End>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which probe of this round, from 1: `icsk_probes_out` with this one.
    pub n: Option<u32>,
    /// Unknown where the kernel skipped our look at the result.
    pub result: Option<ProbeResult>,
    /// Until the timer's next deadline, milliseconds.
    pub next_ms: Option<i64>,
    /// Fired so long after its deadline, milliseconds.
    pub late_ms: Option<i64>,
    /// Of that, what the timer wheel's rounding explains, milliseconds.
    pub wheel_ms: Option<i64>,
}

/// What `tcp_write_wakeup` returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeResult {
    /// 0: handed to the network.
    Sent,
    /// Below 0 (netfilter, no route): the kernel counts it as a probe all the same.
    DroppedLocally,
    /// Above 0: not counted, tried again in half a second.
    Congested,
}

impl ProbeResult {
    pub fn of(returned: i32) -> Self {
        match returned {
            0 => Self::Sent,
            ..0 => Self::DroppedLocally,
            1.. => Self::Congested,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::DroppedLocally => "dropped-locally",
            Self::Congested => "congested",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    pub outcome: Outcome,
    /// Until the timer's next deadline, milliseconds; none when it was not armed again.
    pub next_ms: Option<i64>,
    /// Fired so long after its deadline, milliseconds.
    pub late_ms: Option<i64>,
    /// Of that, what the timer wheel's rounding explains, milliseconds.
    pub wheel_ms: Option<i64>,
}

/// Why a run of the timer sent nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    DataInFlight,
    UnsentData,
    NotIdle,
    SocketBusy,
    KeepaliveOff,
    /// An orphan in FIN_WAIT2 became a time-wait socket.
    FinWait2,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::DataInFlight => "data-in-flight",
            Self::UnsentData => "unsent-data",
            Self::NotIdle => "not-idle",
            Self::SocketBusy => "socket-busy",
            Self::KeepaliveOff => "keepalive-off",
            Self::FinWait2 => "fin-wait2",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The kernel's name of the reason, where it has reasons.
    pub reason: Option<Arc<str>>,
    /// Why the keepalive timer ended the connection; none where it was not the timer.
    pub cause: Option<Verdict>,
    /// Who called, where that was a process and not a timer.
    pub task: Option<Task>,
}
