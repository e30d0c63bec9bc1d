//! How connections end: for each verdict what is seen of such an end, from which the model judges.
use keepalive_trace::model::{
    errno::Errno,
    event::Reset,
    judge::{PeerReset, ResetSign, Signs},
    owner::{Comm, Task},
    sighting::{Closed, Left},
    state::State,
    verdict::Verdict,
};

use super::dice::Dice;

/// What becomes of a connection, in a thousand. The others outlive the run.
const FATES: [(Verdict, u64); 15] = [
    (Verdict::PeerClose, 270),
    (Verdict::LocalClose, 200),
    (Verdict::PeerReset, 30),
    (Verdict::LocalAbort, 26),
    (Verdict::KeepaliveTimeout, 36),
    (Verdict::UserTimeout, 12),
    (Verdict::PeerResetOnProbe, 18),
    (Verdict::RetransmitTimeout, 16),
    (Verdict::NeverEstablished, 24),
    (Verdict::FinWait2Timeout, 9),
    (Verdict::OrphanTimeout, 9),
    (Verdict::AdminKill, 4),
    (Verdict::ZeroWindowTimeout, 3),
    (Verdict::OutOfMemory, 2),
    (Verdict::Unknown, 1),
];

pub fn fate(dice: &mut Dice) -> Option<Verdict> {
    let mut rolled = dice.below(1000);
    for (verdict, share) in FATES {
        match rolled.checked_sub(share) {
            Some(rest) => rolled = rest,
            None => return Some(verdict),
        }
    }
    None
}

/// Ends that take unanswered probes.
pub fn takes_silence(fate: Option<Verdict>) -> bool {
    matches!(fate, Some(Verdict::KeepaliveTimeout | Verdict::UserTimeout | Verdict::PeerResetOnProbe))
}

/// What is seen of an end.
pub struct Ending {
    pub signs: Signs,
    pub closed: Closed,
    pub orphan: bool,
    /// The reset that this host sends, and the state in which it does.
    pub reset: Option<(Reset, State)>,
}

/// An end of this kind, of a connection that this task holds. `on_probe`: the probe that the peer answers by RST.
pub fn ending(verdict: Verdict, task: Task, on_probe: u32, tried_us: u64, dice: &mut Dice) -> Ending {
    let window = Left { window: 64_000, ..Left::default() };
    let waiting = Left { unacked: 1 + dice.skewed(1, 9000) as u32, ..window };
    let by = |from| Closed { from, by: Some(task), left: Some(window), ..Closed::default() };
    let failed = |errno, left| Closed { errno: Some(errno), left: Some(left), ..by(State::ESTABLISHED) };
    let plain = |closed| Ending { signs: Signs::default(), closed, orphan: false, reset: None };
    let by_timer = |cause| Ending {
        signs: Signs { timer: Some(cause), ..Signs::default() },
        closed: Closed { in_timer: true, by: None, ..failed(Errno::TIMEDOUT, window) },
        orphan: false,
        reset: Some(sent("TCP_KEEPALIVE_TIMEOUT", Some(cause), None, State::ESTABLISHED)),
    };
    let by_peer = |on_probe| Ending {
        signs: Signs { peer_reset: Some(PeerReset { on_probe, orphan: false }), ..Signs::default() },
        ..plain(Closed { by: None, ..failed(Errno::CONNRESET, window) })
    };
    match verdict {
        Verdict::KeepaliveTimeout | Verdict::UserTimeout => by_timer(verdict),
        Verdict::PeerResetOnProbe => by_peer(Some(on_probe)),
        Verdict::PeerReset => by_peer(None),
        Verdict::RetransmitTimeout => plain(Closed { by: None, ..failed(Errno::TIMEDOUT, waiting) }),
        Verdict::ZeroWindowTimeout => plain(Closed { by: None, ..failed(Errno::TIMEDOUT, Left { window: 0, ..waiting }) }),
        Verdict::OrphanTimeout => {
            Ending { orphan: true, ..plain(Closed { from: State::FIN_WAIT1, ..failed(Errno::TIMEDOUT, waiting) }) }
        }
        Verdict::FinWait2Timeout => {
            Ending { orphan: true, ..plain(Closed { in_timer: true, time_wait: true, ..by(State::FIN_WAIT2) }) }
        }
        Verdict::OutOfMemory => own_reset(by(State::FIN_WAIT1), "TCP_ABORT_ON_MEMORY", State::FIN_WAIT1, task, true),
        Verdict::AdminKill => {
            let killer = Task { pid: 90_000 + dice.below(999) as u32, comm: Comm::from("ss") };
            Ending {
                signs: Signs { aborted: Some(Some(killer)), ..Signs::default() },
                reset: Some(sent("TCP_STATE", None, Some(killer), State::ESTABLISHED)),
                ..plain(Closed { by: None, ..failed(Errno::CONNABORTED, window) })
            }
        }
        Verdict::LocalAbort => {
            let closed = Closed { left: Some(Left { unread: waiting.unacked, ..window }), ..by(State::ESTABLISHED) };
            own_reset(closed, "TCP_ABORT_ON_CLOSE", State::CLOSE, task, false)
        }
        Verdict::NeverEstablished => {
            let errno = if dice.chance(700) { Errno::CONNREFUSED } else { Errno::TIMEDOUT };
            let left = Some(Left { unacked: 1, ..Left::default() });
            plain(Closed { from: State::SYN_SENT, trying_us: Some(tried_us), left, by: None, ..failed(errno, window) })
        }
        Verdict::PeerClose => plain(by(State::LAST_ACK)),
        Verdict::LocalClose => plain(Closed { time_wait: true, ..by(State::FIN_WAIT2) }),
        Verdict::Unknown => plain(Closed { left: None, by: None, ..failed(Errno(71), window) }),
    }
}

fn own_reset(closed: Closed, reason: &str, state: State, task: Task, orphan: bool) -> Ending {
    let by = (!orphan).then_some(task);
    let sign = ResetSign { reason: Some(reason.into()), state, orphan, task: by };
    let signs = Signs { reset: Some(sign), ..Signs::default() };
    Ending { signs, closed, orphan, reset: Some(sent(reason, None, by, state)) }
}

fn sent(reason: &str, cause: Option<Verdict>, task: Option<Task>, state: State) -> (Reset, State) {
    (Reset { reason: Some(reason.into()), cause, task }, state)
}
