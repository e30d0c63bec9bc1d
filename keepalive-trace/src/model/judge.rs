//! What ended a connection, judged from all that was seen of its end.
use std::sync::Arc;

use super::{
    errno::Errno,
    owner::Task,
    settings::Settings,
    sighting::{Closed, Left},
    state::State,
    verdict::Verdict,
};

mod why;

pub use why::why;

/// What was seen of an end before, or right after, the state became CLOSE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Why the keepalive timer reset it.
    pub timer: Option<Verdict>,
    /// A reset that this host sent, not the keepalive timer's.
    pub reset: Option<ResetSign>,
    pub peer_reset: Option<PeerReset>,
    /// `tcp_abort` was called, by this process where it was one.
    pub aborted: Option<Option<Task>>,
}

/// A reset that this host sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetSign {
    /// The kernel's name of the reason, where it has reasons.
    pub reason: Option<Arc<str>>,
    /// The state at that moment: CLOSE where a process closes, another where a timer or somebody else kills.
    pub state: State,
    pub orphan: bool,
    pub task: Option<Task>,
}

/// A reset that the peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerReset {
    /// The keepalive probe that it answers, by its number in its round.
    pub on_probe: Option<u32>,
    pub orphan: bool,
}

/// All that a verdict is made of.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    pub signs: &'a Signs,
    pub closed: &'a Closed,
    /// No process held the socket.
    pub orphan: bool,
    pub settings: Option<Settings>,
    pub idle_ms: Option<u64>,
    /// Probes of the last round that nobody answered, and how many of them this host dropped itself.
    pub unanswered: u32,
    pub dropped: u32,
}

/// Whether more is still to be seen before anybody can judge: a process that aborts sets the state first, and then sends its
/// reset; and a run of the keepalive timer is told when it is over.
pub fn awaits_more(signs: &Signs, closed: &Closed) -> bool {
    let Signs { timer, reset, peer_reset, aborted } = signs;
    if timer.is_some() || reset.is_some() || peer_reset.is_some() || aborted.is_some() {
        return false;
    }
    if closed.errno.is_some() {
        return false;
    }
    match closed.from {
        _ if closed.time_wait || closed.in_timer => closed.time_wait && closed.in_timer,
        State::LAST_ACK => closed.left.is_some_and(|left| left.unacked > 0 || left.unsent > 0),
        from => from != State::SYN_SENT,
    }
}

/// What ended the connection.
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let Evidence { signs, closed, orphan, .. } = evidence;
    if signs.aborted.is_some() || closed.errno == Some(Errno::CONNABORTED) {
        return Verdict::AdminKill;
    }
    if closed.from == State::SYN_SENT {
        return Verdict::NeverEstablished;
    }
    if let Some(cause) = signs.timer {
        return cause;
    }
    if closed.in_timer && closed.time_wait {
        return Verdict::FinWait2Timeout;
    }
    if let Some(reset) = signs.peer_reset {
        return by_peer_reset(reset, closed.from);
    }
    match closed.errno {
        Some(Errno::CONNRESET | Errno::PIPE) => by_peer_reset(PeerReset { on_probe: None, orphan: *orphan }, closed.from),
        Some(_) => by_timeout(closed.left, *orphan),
        None => without_error(signs.reset.as_ref(), closed, *orphan),
    }
}

/// After an orphan's FIN the peer's reset only cuts the goodbye short.
fn by_peer_reset(reset: PeerReset, from: State) -> Verdict {
    match (reset, from) {
        (_, State::LAST_ACK) => Verdict::PeerClose,
        (PeerReset { orphan: true, .. }, _) => Verdict::LocalClose,
        (PeerReset { on_probe: Some(_), .. }, _) => Verdict::PeerResetOnProbe,
        (PeerReset { on_probe: None, .. }, _) => Verdict::PeerReset,
    }
}

/// `tcp_write_err`: from the retransmission timer or the one that probes a closed window.
fn by_timeout(left: Option<Left>, orphan: bool) -> Verdict {
    let Some(left) = left else { return Verdict::Unknown };
    match left {
        Left { unacked: 0, unsent: 0, .. } => Verdict::Unknown,
        _ if orphan => Verdict::OrphanTimeout,
        Left { window: 0, .. } | Left { unacked: 0, .. } => Verdict::ZeroWindowTimeout,
        _ => Verdict::RetransmitTimeout,
    }
}

fn without_error(reset: Option<&ResetSign>, closed: &Closed, orphan: bool) -> Verdict {
    let left = closed.left.unwrap_or_default();
    let memory = |reset: &ResetSign| match reset.reason.as_deref() {
        Some(reason) => reason == "TCP_ABORT_ON_MEMORY",
        // `tcp_out_of_resources` resets an orphan as it is, a close that finds no room one that it has just let go.
        None => reset.orphan && !(closed.from == State::FIN_WAIT2 && left.no_linger2),
    };
    match closed.from {
        State::ESTABLISHED | State::CLOSE_WAIT | State::SYN_RECV => Verdict::LocalAbort,
        State::FIN_WAIT1 | State::FIN_WAIT2 | State::CLOSING => match reset {
            Some(reset) if memory(reset) => Verdict::OutOfMemory,
            Some(reset) if reset.state != State::CLOSE && !reset.orphan => Verdict::AdminKill,
            Some(_) => Verdict::LocalAbort,
            None => Verdict::LocalClose,
        },
        State::LAST_ACK if left.unacked == 0 && left.unsent == 0 && reset.is_none() => Verdict::PeerClose,
        State::LAST_ACK if reset.is_some_and(memory) || orphan => Verdict::OutOfMemory,
        State::LAST_ACK => Verdict::LocalAbort,
        // The end was not seen, but the reset of a process that closed or aborted was.
        _ if reset.is_some_and(|reset| reset.state == State::CLOSE) => Verdict::LocalAbort,
        _ => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests;
