//! What ended a connection.
use super::state::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Every probe went unanswered.
    KeepaliveTimeout,
    /// TCP_USER_TIMEOUT passed while probes were unanswered.
    UserTimeout,
    /// An orphan in FIN_WAIT2 was ended by the keepalive timer: not a keepalive.
    FinWait2Timeout,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::KeepaliveTimeout => "keepalive-timeout",
            Self::UserTimeout => "user-timeout",
            Self::FinWait2Timeout => "fin-wait2-timeout",
        }
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

    const ESTABLISHED: State = State(1);

    #[test]
    fn a_user_timeout_takes_the_blame_from_the_count() {
        assert_eq!(Verdict::of_timer(ESTABLISHED, false, 2500), Verdict::UserTimeout);
        assert_eq!(Verdict::of_timer(ESTABLISHED, false, 0), Verdict::KeepaliveTimeout);
    }

    #[test]
    fn an_orphan_in_fin_wait2_is_no_keepalive_but_one_with_an_owner_is() {
        assert_eq!(Verdict::of_timer(State::FIN_WAIT2, true, 0), Verdict::FinWait2Timeout);
        assert_eq!(Verdict::of_timer(State::FIN_WAIT2, false, 0), Verdict::KeepaliveTimeout);
    }
}
