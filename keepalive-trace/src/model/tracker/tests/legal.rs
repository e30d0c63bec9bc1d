//! Whole lives as the kernel shows them, in every order in which it may do so.
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// Something seen; and whether the kernel may show it twice, or after the next one.
struct Step {
    sighting: Sighting,
    twice: bool,
    swaps: bool,
}

/// A connection's life so far.
struct Script {
    ms: u64,
    /// Jiffies at which the last ACK came.
    acked: u32,
    pending: u32,
    /// What the tally must come to.
    probes: u32,
    answered: u32,
    socket: Socket,
    steps: Vec<Step>,
}

impl Script {
    fn new(user_timeout_ms: u32) -> Self {
        let settings = Some(Settings { user_timeout_ms, ..settings(1) });
        let socket = Socket { settings, ..socket(1) };
        Self { ms: 4000, acked: 1000, pending: 0, probes: 0, answered: 0, socket, steps: Vec::new() }
    }

    fn step(&mut self, what: What) -> &mut Step {
        let clock = Some(Clock { now: u32::try_from(self.ms / 4).unwrap(), acked: self.acked, moved: 0 });
        let socket = Socket { clock, probes_out: Some(self.pending), ..self.socket.clone() };
        self.steps.push(Step { sighting: Sighting { mono_ns: self.ms * MS, socket, what }, twice: false, swaps: false });
        self.steps.last_mut().unwrap()
    }

    fn in_state(&mut self, state: State, orphan: bool) {
        (self.socket.state, self.socket.orphan) = (state, orphan);
    }

    fn probe(&mut self) {
        self.ms += 1000;
        self.step(probe(self.pending + 1));
        self.pending += 1;
        self.probes += 1;
    }

    /// A round: so many probes go unanswered, then one is answered, and the answer is seen as it comes or later.
    fn round(&mut self, (missed, exact): (u32, bool)) {
        (0..=missed).for_each(|_| self.probe());
        self.ms += 8;
        self.acked = u32::try_from(self.ms / 4).unwrap();
        if exact {
            self.step(What::Acked);
        }
        self.pending = 0;
        self.answered += 1;
    }

    fn close(&mut self, closed: Closed) -> &mut Step {
        self.in_state(State::CLOSE, self.socket.orphan);
        let step = self.step(What::Closed(closed));
        step.twice = true;
        step
    }

    fn reset(&mut self, reason: Option<&str>, cause: Option<Verdict>) -> &mut Step {
        self.step(What::Reset(Reset { reason: reason.map(Into::into), cause, task: None }))
    }

    fn end(&mut self, verdict: Verdict) {
        self.ms += 100;
        let silent = |from| Closed { by: None, ..closed(from) };
        let failed = |from, errno, left| Closed { errno: Some(errno), left: Some(left), ..silent(from) };
        let sent = Left { unacked: 9, window: 64_000, ..Left::default() };
        match verdict {
            Verdict::KeepaliveTimeout | Verdict::UserTimeout => {
                (0..3).for_each(|_| self.probe());
                self.ms += 1000;
                self.reset(Some("TCP_KEEPALIVE_TIMEOUT"), Some(verdict));
                self.close(Closed { in_timer: true, ..failed(State::ESTABLISHED, Errno::TIMEDOUT, Left::default()) });
            }
            Verdict::PeerResetOnProbe | Verdict::PeerReset => {
                if verdict == Verdict::PeerResetOnProbe {
                    self.probe();
                    self.answered += 1;
                }
                self.ms += 1;
                self.step(What::PeerReset).twice = true;
                self.close(failed(State::ESTABLISHED, Errno::CONNRESET, Left::default()));
            }
            Verdict::RetransmitTimeout => _ = self.close(failed(State::ESTABLISHED, Errno::TIMEDOUT, sent)),
            Verdict::ZeroWindowTimeout => {
                let left = Left { unsent: 9, ..Left::default() };
                self.close(failed(State::ESTABLISHED, Errno::TIMEDOUT, left));
            }
            Verdict::OrphanTimeout => {
                self.in_state(State::FIN_WAIT1, true);
                self.close(failed(State::FIN_WAIT1, Errno::TIMEDOUT, sent));
            }
            Verdict::OutOfMemory => {
                self.in_state(State::FIN_WAIT1, true);
                self.reset(Some("TCP_ABORT_ON_MEMORY"), None).swaps = true;
                self.close(silent(State::FIN_WAIT1));
            }
            Verdict::AdminKill => {
                self.step(What::Aborted { by: Some(task(99, "ss")) });
                self.reset(None, None).swaps = true;
                self.close(failed(State::ESTABLISHED, Errno::CONNABORTED, Left::default()));
            }
            Verdict::NeverEstablished => {
                self.steps.clear();
                self.close(Closed { trying_us: Some(900), ..failed(State::SYN_SENT, Errno::CONNREFUSED, Left::default()) });
            }
            Verdict::FinWait2Timeout => {
                self.in_state(State::FIN_WAIT2, true);
                self.close(Closed { in_timer: true, time_wait: true, ..silent(State::FIN_WAIT2) }).swaps = true;
                self.step(timer(Outcome::FinWait2));
            }
            Verdict::LocalAbort => {
                self.close(closed(State::ESTABLISHED)).swaps = true;
                self.reset(None, None);
            }
            Verdict::PeerClose => _ = self.close(closed(State::LAST_ACK)),
            Verdict::LocalClose => {
                self.in_state(State::FIN_WAIT2, true);
                self.close(Closed { time_wait: true, ..closed(State::FIN_WAIT2) });
            }
            Verdict::Unknown => panic!("no kernel ends a connection like this"),
        }
    }
}

const VERDICTS: [Verdict; 14] = [
    Verdict::KeepaliveTimeout,
    Verdict::UserTimeout,
    Verdict::PeerResetOnProbe,
    Verdict::RetransmitTimeout,
    Verdict::ZeroWindowTimeout,
    Verdict::OutOfMemory,
    Verdict::AdminKill,
    Verdict::PeerReset,
    Verdict::NeverEstablished,
    Verdict::OrphanTimeout,
    Verdict::FinWait2Timeout,
    Verdict::LocalAbort,
    Verdict::PeerClose,
    Verdict::LocalClose,
];

/// What may differ from one showing of a life to the next.
#[derive(Clone, Debug)]
struct Showing {
    swapped: bool,
    doubled: bool,
    /// Where, in hundredths of the life, somebody accepts it, unless a process of this host connected.
    accepted: Option<u64>,
}

fn showings() -> impl Strategy<Value = Showing> {
    (any::<bool>(), any::<bool>(), proptest::option::of(0..=100_u64)).prop_map(|(swapped, doubled, accepted)| Showing {
        swapped,
        doubled,
        accepted,
    })
}

/// The sightings in the order of this showing.
fn shown(steps: Vec<Step>, showing: &Showing) -> Vec<Sighting> {
    let Showing { swapped, doubled, accepted } = showing;
    let mut seen = Vec::new();
    let mut held_back = None;
    for Step { sighting, twice, swaps } in steps {
        if swaps && *swapped {
            held_back = Some(sighting);
            continue;
        }
        // What comes after the state is CLOSE sees it so.
        let late = held_back.take().map(|late: Sighting| {
            let socket = Socket { state: sighting.socket.state, ..late.socket };
            Sighting { socket, ..late }
        });
        seen.extend((twice && *doubled).then(|| sighting.clone()));
        seen.push(sighting);
        seen.extend(late);
    }
    if let Some(hundredths) = accepted {
        let place = seen.len() * usize::try_from(*hundredths).unwrap() / 100;
        let beside = seen[place.saturating_sub(1).min(seen.len() - 1)].clone();
        let before = if place == 0 { State::ESTABLISHED } else { beside.socket.state };
        let socket = Socket { state: before, ..beside.socket };
        seen.insert(place, Sighting { socket, what: What::Accepted { by: Some(nginx()), late: false }, ..beside });
    }
    // The order is the kernel's: each a little after the one before.
    let mut last = 0;
    for sighting in &mut seen {
        sighting.mono_ns = sighting.mono_ns.max(last + 1);
        last = sighting.mono_ns;
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_life_has_its_verdict_and_its_tally_in_whatever_order_the_kernel_shows_it(
        verdict in select(VERDICTS.to_vec()),
        opening in select(vec![Some(What::Snapshot), Some(connected()), None]),
        rounds in vec((0..3_u32, any::<bool>()), 0..4),
        showing in showings(),
    ) {
        let mut script = Script::new(if verdict == Verdict::UserTimeout { 2500 } else { 0 });
        let never = verdict == Verdict::NeverEstablished;
        if !never {
            if let Some(what) = opening.clone() {
                script.step(what);
            }
            rounds.iter().for_each(|round| script.round(*round));
        }
        script.end(verdict);
        let (probes, answered) = (script.probes, script.answered);
        let accepted = showing.accepted.filter(|_| !never && opening != Some(connected()));
        let mut run = Run::new();
        let mut events = Vec::new();
        for sighting in shown(script.steps, &Showing { accepted, ..showing }) {
            run.tracker.see(&sighting, &mut events);
        }
        run.tracker.settle(u64::MAX, &mut events);
        let gists = run.note(events);
        let histories: Vec<_> = run.tracker.histories().collect();
        prop_assert_eq!(histories.len(), 1, "{:?}", gists);
        prop_assert_eq!(histories[0].0.verdict, Some(verdict), "{:?}", gists);
        let tally = histories[0].0.tally;
        let expected = (probes, answered, probes - answered, 0);
        prop_assert_eq!((tally.probes(), tally.answered, tally.unanswered, tally.pending), expected, "{:?}", gists);
        prop_assert_eq!(run.verdicts(), [(verdict, 1)]);
    }
}
