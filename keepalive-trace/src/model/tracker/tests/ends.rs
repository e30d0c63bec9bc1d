//! Ends: their order, what is awaited, and what comes late.
use super::*;

/// The last end that was told.
fn end(run: &Run) -> Event {
    run.told.iter().rfind(|event| matches!(event.body, Body::End(..))).unwrap().clone()
}

#[test]
fn a_close_and_its_reset_in_either_order_are_the_same_end() {
    let close = || What::Closed(closed(State::ESTABLISHED));
    let ends = [false, true].map(|reset_first| {
        let mut run = Run::new();
        run.see(0, socket(1), connected());
        if reset_first {
            assert_eq!(run.see(1000, dead(1), reset()), ["A reset"]);
            assert_eq!(run.see(1000, dead(1), close()), ["A end local-abort"]);
        } else {
            assert!(run.see(1000, dead(1), close()).is_empty());
            assert_eq!(run.see(1000, dead(1), reset()), ["A reset", "A end local-abort"]);
        }
        assert_eq!(run.tracker.next_settling(), None);
        end(&run)
    });
    assert_eq!(ends[0], ends[1]);
}

/// As a disconnected socket is.
fn nameless(address: u16) -> Socket {
    let nowhere = |port| SocketAddr::from(([0, 0, 0, 0], port));
    Socket { local: nowhere(address), remote: nowhere(0), ..dead(address) }
}

#[test]
fn an_end_that_is_seen_when_the_peer_is_gone_from_the_socket_is_the_end_of_what_the_socket_was() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    assert_eq!(run.see(1000, dead(1), reset()), ["A reset"]);
    assert_eq!(run.see(1000, nameless(1), What::Closed(closed(State::ESTABLISHED))), ["A end local-abort"]);
    let end = end(&run);
    let told = end.body.connection().unwrap();
    assert_eq!((told.local, told.remote), (socket(1).local, socket(1).remote));
}

#[test]
fn an_end_of_what_was_never_known_and_has_no_peer_any_more_is_counted_as_lost() {
    let mut run = Run::new();
    run.tracker.keep_quiet();
    let late = What::Connected { connect_us: Some(312), opener: Some(nginx()), late: true };
    assert!(run.see(900, nameless(1), late).is_empty());
    assert_eq!(run.tracker.take_lost().next(), None);
    assert!(run.see(1000, nameless(1), What::Closed(closed(State::ESTABLISHED))).is_empty());
    assert_eq!(run.tracker.take_lost().collect::<Vec<_>>(), [Lost { count: 1, place: Place::SkippedRun }]);
    assert!(run.settle(2000).is_empty() && run.histories().is_empty());
}

#[test]
fn an_abort_without_a_reset_is_judged_when_it_has_waited_long_enough() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.see(1000, dead(1), What::Closed(closed(State::ESTABLISHED)));
    assert_eq!(run.tracker.next_settling(), Some(1000 * MS + SETTLE_NS));
    assert!(run.settle(1249).is_empty());
    assert_eq!(run.settle(1250), ["A end local-abort"]);
    assert_eq!((end(&run).mono_ns, run.tracker.next_settling()), (1000 * MS, None));
    assert_eq!(run.see(1251, dead(1), reset()), ["A reset"], "too late to count, and told all the same");
}

#[test]
fn a_sighting_of_another_socket_settles_what_is_due() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.see(1000, dead(1), What::Closed(closed(State::ESTABLISHED)));
    assert_eq!(run.see(2000, socket(2), connected()), ["A end local-abort", "B open connect"]);
}

#[test]
fn an_end_still_waits_when_its_socket_is_used_again_at_once() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.see(1000, dead(1), What::Closed(closed(State::ESTABLISHED)));
    assert_eq!(run.see(1001, socket(1), connected()), ["B open connect"]);
    assert_eq!(run.settle(1250), ["A end local-abort"]);
    assert_eq!(run.see(2000, dead(1), goodbye()), ["B end peer-close"]);
}

#[test]
fn a_kill_is_known_whichever_way_its_hooks_come() {
    let ss = task(99, "ss");
    for abort_first in [true, false] {
        let mut run = Run::new();
        run.see(0, socket(1), connected());
        let close = || What::Closed(Closed { by: Some(ss), ..closed(State::ESTABLISHED) });
        let mut told = Vec::new();
        if abort_first {
            told.extend(run.see(1000, socket(1), What::Aborted { by: Some(ss) }));
            told.extend(run.see(1000, dead(1), close()));
        } else {
            told.extend(run.see(1000, dead(1), close()));
            told.extend(run.see(1000, dead(1), What::Aborted { by: Some(ss) }));
            told.extend(run.settle(2000));
        }
        assert_eq!(told, ["A end admin-kill"]);
    }
}

#[test]
fn a_connection_that_the_peer_reset_before_anybody_accepted_it_has_one_opening_and_one_end() {
    let mut run = Run::new();
    assert_eq!(run.see(0, socket(1), What::PeerReset), ["A open first-event"]);
    assert_eq!(run.see(0, dead(1), failed(State::ESTABLISHED, Errno::CONNRESET)), ["A end peer-reset"]);
    assert_eq!(
        run.see(500, dead(1), What::Accepted { by: Some(nginx()), late: false }),
        ["A owner nginx, 1 in all"],
        "a dead one"
    );
    assert_eq!(run.see(900, socket(1), What::Accepted { by: Some(nginx()), late: false }), ["B open accept"], "that one lives");
}

#[test]
fn a_rst_whose_own_record_is_missing_shows_in_the_error_that_it_leaves() {
    for (out, verdict) in [(1, "peer-reset-on-probe"), (0, "peer-reset")] {
        let mut run = Run::new();
        run.see(0, socket(1), connected());
        run.see(1000, socket(1), probe(1));
        let end = run.see(1100, Socket { probes_out: Some(out), ..dead(1) }, failed(State::ESTABLISHED, Errno::CONNRESET));
        assert_eq!(end, [format!("A end {verdict}")]);
    }
}

#[test]
fn what_is_seen_twice_is_told_once() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.see(1000, socket(1), probe(1));
    let probed = || Socket { probes_out: Some(1), ..socket(1) };
    assert_eq!(run.see(1100, probed(), What::PeerReset), ["A reset 1 in 100000 us exact, missed 0"]);
    assert!(run.see(1100, probed(), What::PeerReset).is_empty());
    assert_eq!(run.see(1100, dead(1), failed(State::ESTABLISHED, Errno::CONNRESET)), ["A end peer-reset-on-probe"]);
    assert!(run.see(1100, dead(1), failed(State::ESTABLISHED, Errno::CONNRESET)).is_empty());
    assert!(run.see(1100, dead(1), What::PeerReset).is_empty());
    assert_eq!(run.verdicts(), [(Verdict::PeerResetOnProbe, 1)]);
}

#[test]
fn the_run_of_the_timer_in_which_it_closed_is_told_before_the_end() {
    let mut run = Run::new();
    let orphan = Socket { orphan: true, state: State::FIN_WAIT2, ..socket(1) };
    run.see(0, orphan.clone(), What::Snapshot);
    let close = Closed { in_timer: true, time_wait: true, ..closed(State::FIN_WAIT2) };
    assert!(run.see(1000, Socket { state: State::CLOSE, ..orphan.clone() }, What::Closed(close)).is_empty());
    // The run is told as its entry saw the socket.
    assert_eq!(run.see(1000, orphan, timer(Outcome::FinWait2)), ["A timer fin-wait2", "A end fin-wait2-timeout"]);
}

#[test]
fn a_handshake_that_failed_is_known_from_its_end_alone() {
    let mut run = Run::new();
    let close = Closed { errno: Some(Errno::CONNREFUSED), trying_us: Some(1_500_000), ..closed(State::SYN_SENT) };
    assert_eq!(run.see(2000, dead(1), What::Closed(close)), ["A open connect", "A end never-established"]);
    assert_eq!(run.owner(), Some((812, 1)));
    let Body::End(_, end) = end(&run).body else { unreachable!() };
    assert_eq!((end.age_ms, end.probes_sent), (Some(1500), 0));
}
