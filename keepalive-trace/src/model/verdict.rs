//! What ended a connection.
use super::state::State;

/// In the order in which they deserve attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Every probe went unanswered.
    KeepaliveTimeout,
    /// TCP_USER_TIMEOUT passed while probes were unanswered.
    UserTimeout,
    /// The peer answered a probe with RST.
    PeerResetOnProbe,
    /// Unacknowledged data was retransmitted to the end.
    RetransmitTimeout,
    /// The peer's window stayed closed to the end.
    ZeroWindowTimeout,
    /// The kernel had no room for the orphan.
    OutOfMemory,
    /// What seen of the end fits nothing we know.
    Unknown,
    /// `tcp_abort`: `ss -K`, or BPF.
    AdminKill,
    /// RST from the peer otherwise.
    PeerReset,
    /// The handshake failed.
    NeverEstablished,
    /// An orphan's last data or FIN was retransmitted to the end.
    OrphanTimeout,
    /// An orphan in FIN_WAIT2 was ended by the keepalive timer: not a keepalive.
    FinWait2Timeout,
    /// This host reset it at close.
    LocalAbort,
    /// FIN from the peer first.
    PeerClose,
    /// FIN from this host first.
    LocalClose,
}

impl Verdict {
    /// All that there are, in their order.
    pub const ALL: [Self; 15] = [
        Self::KeepaliveTimeout,
        Self::UserTimeout,
        Self::PeerResetOnProbe,
        Self::RetransmitTimeout,
        Self::ZeroWindowTimeout,
        Self::OutOfMemory,
        Self::Unknown,
        Self::AdminKill,
        Self::PeerReset,
        Self::NeverEstablished,
        Self::OrphanTimeout,
        Self::FinWait2Timeout,
        Self::LocalAbort,
        Self::PeerClose,
        Self::LocalClose,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::KeepaliveTimeout => "keepalive-timeout",
            Self::UserTimeout => "user-timeout",
            Self::PeerResetOnProbe => "peer-reset-on-probe",
            Self::RetransmitTimeout => "retransmit-timeout",
            Self::ZeroWindowTimeout => "zero-window-timeout",
            Self::OutOfMemory => "out-of-memory",
            Self::Unknown => "unknown",
            Self::AdminKill => "admin-kill",
            Self::PeerReset => "peer-reset",
            Self::NeverEstablished => "never-established",
            Self::OrphanTimeout => "orphan-timeout",
            Self::FinWait2Timeout => "fin-wait2-timeout",
            Self::LocalAbort => "local-abort",
            Self::PeerClose => "peer-close",
            Self::LocalClose => "local-close",
        }
    }

    /// Somebody closed it and the peer agreed: nothing went wrong.
    pub fn is_orderly(self) -> bool {
        matches!(self, Self::PeerClose | Self::LocalClose)
    }

    /// The application lost a connection that it wanted to keep.
    pub fn is_death(self) -> bool {
        self <= Self::PeerReset
    }

    /// Why `tcp_keepalive_timer` called `tcp_send_active_reset`. The kernel gives the first two the same reset reason; what
    /// tells them apart is that it ignores the count wherever a user timeout is set.
    pub fn of_timer(state: State, orphan: bool, user_timeout_ms: u32) -> Self {
        if state == State::FIN_WAIT2 && orphan {
            return Self::FinWait2Timeout;
        }
        if user_timeout_ms != 0 {
            return Self::UserTimeout;
        }
        Self::KeepaliveTimeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_timeout_takes_the_blame_from_the_count() {
        assert_eq!(Verdict::of_timer(State::ESTABLISHED, false, 2500), Verdict::UserTimeout);
        assert_eq!(Verdict::of_timer(State::ESTABLISHED, false, 0), Verdict::KeepaliveTimeout);
    }

    #[test]
    fn an_orphan_in_fin_wait2_is_no_keepalive_but_one_with_an_owner_is() {
        assert_eq!(Verdict::of_timer(State::FIN_WAIT2, true, 0), Verdict::FinWait2Timeout);
        assert_eq!(Verdict::of_timer(State::FIN_WAIT2, false, 0), Verdict::KeepaliveTimeout);
    }
}
