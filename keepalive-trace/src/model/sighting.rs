//! What the kernel side saw of a socket, before anybody knows which connection it belongs to and what follows from it.
use std::{net::SocketAddr, sync::Arc};

use super::{
    errno::Errno,
    event::{ConnId, Connection, Family, Probe, Reset, Timer},
    owner::{Owner, Task},
    settings::Settings,
    state::State,
};

/// Something happened to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub mono_ns: u64,
    pub socket: Socket,
    pub what: What,
}

/// A socket as it was at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The kernel's address of it: whose it is as long as the connection lives, and another's after that.
    pub address: u64,
    /// The kernel's socket cookie, where somebody had asked for one.
    pub cookie: Option<u64>,
    pub family: Family,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Inode of its network namespace.
    pub netns: Option<u32>,
    /// Its cgroup v2: the path from the hierarchy's root.
    pub cgroup: Option<Arc<str>>,
    pub state: State,
    /// SOCK_DEAD: no process holds it any more.
    pub orphan: bool,
    pub settings: Option<Settings>,
    /// Since the last ACK or data from the peer, milliseconds: `keepalive_time_elapsed`.
    pub idle_ms: Option<u64>,
    /// `icsk_probes_out`.
    pub probes_out: Option<u32>,
    pub clock: Option<Clock>,
}

/// The socket's own clock: jiffies, their low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub now: u32,
    /// `tp->rcv_tstamp`: when the last ACK came.
    pub acked: u32,
    /// Another number as soon as anything but probes and bare ACKs was sent or received.
    pub moved: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was there when the run began.
    Snapshot,
    /// `connect()` succeeded: SYN_SENT became ESTABLISHED. `late`: long before, and only now something happens on it.
    Connected { connect_us: Option<u64>, opener: Option<Task>, late: bool },
    /// `accept()` gave it to a process. `late`: likewise.
    Accepted { by: Option<Task>, late: bool },
    /// `setsockopt()` succeeded; the socket's settings are those that hold now.
    Set { by: Option<Task> },
    /// `tcp_keepalive_timer` called `tcp_write_wakeup`.
    Probe(Probe),
    /// `tcp_keepalive_timer` ran and sent nothing.
    Timer(Timer),
    /// An ACK came while a probe was unanswered, seen as it came.
    Acked,
    /// `tcp_send_active_reset` ran.
    Reset(Reset),
    /// `tcp_reset`: a RST came.
    PeerReset,
    /// `tcp_abort` was called on it.
    Aborted { by: Option<Task> },
    /// Its state became CLOSE.
    Closed(Closed),
}

/// How a socket was when its state became CLOSE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// The state before.
    pub from: State,
    /// `sk_err`, where it was not 0: what the application will be told.
    pub errno: Option<Errno>,
    /// Within a run of `tcp_keepalive_timer` on it.
    pub in_timer: bool,
    /// `tcp_time_wait` went on with a time-wait socket in its place.
    pub time_wait: bool,
    /// Who closed it, as far as that was a process.
    pub by: Option<Task>,
    /// Since `connect()` began, microseconds, where it never succeeded.
    pub trying_us: Option<u64>,
    pub left: Option<Left>,
    /// No process had accepted it.
    pub unaccepted: bool,
}

/// What was left undone on a socket that closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Sequence numbers sent and never acknowledged; a FIN is one.
    pub unacked: u32,
    /// Bytes that were never sent.
    pub unsent: u32,
    /// Bytes received that nobody read.
    pub unread: u32,
    /// `tp->snd_wnd`: the peer's window, bytes.
    pub window: u32,
    /// `tp->linger2` below 0: TCP_LINGER2 forbids to wait in FIN_WAIT2.
    pub no_linger2: bool,
    /// SO_LINGER with time 0.
    pub linger_zero: bool,
}

impl Closed {
    /// An end of which no record came: it follows from something else that was seen.
    pub fn unseen() -> Self {
        Self::default()
    }

    pub fn is_unseen(&self) -> bool {
        self.from == State::default()
    }
}

impl Socket {
    /// What everybody is told of it.
    pub fn connection(&self, id: ConnId, owner: Option<Owner>) -> Connection {
        let Self {
            address: _,
            cookie,
            family,
            local,
            remote,
            netns,
            cgroup,
            state,
            orphan: _,
            settings,
            idle_ms,
            probes_out,
            clock: _,
        } = self;
        Connection {
            id,
            cookie: *cookie,
            family: *family,
            local: *local,
            remote: *remote,
            netns: *netns,
            cgroup: cgroup.clone(),
            owner,
            state: *state,
            settings: *settings,
            idle_ms: *idle_ms,
            probes_out: *probes_out,
        }
    }
}

impl What {
    /// Whether the settings of the socket are what holds for the connection, and a difference is a change.
    pub fn shows_settings(&self) -> bool {
        match self {
            Self::Set { .. } | Self::Probe(_) | Self::Timer(_) | Self::Accepted { .. } => true,
            Self::Snapshot
            | Self::Connected { .. }
            | Self::Acked
            | Self::Reset(_)
            | Self::PeerReset
            | Self::Aborted { .. }
            | Self::Closed(_) => false,
        }
    }

    /// Whether it tells of a time long before.
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Connected { late: true, .. } | Self::Accepted { late: true, .. })
    }

    /// The process that can be taken for the socket's owner, since it did what only a holder does.
    pub fn holder(&self) -> Option<Owner> {
        match self {
            Self::Connected { opener: task, .. } | Self::Accepted { by: task, .. } => task.map(Owner::alone),
            _ => None,
        }
    }
}
