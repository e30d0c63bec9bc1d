//! Which connection a sighting belongs to.
use super::*;

#[test]
fn a_connection_keeps_its_id_from_its_opening_to_its_end() {
    let mut run = Run::new();
    assert_eq!(run.see(0, socket(1), connected()), ["A open connect"]);
    assert_eq!(run.see(1000, socket(1), probe(1)), ["A probe 1"]);
    assert_eq!(run.see(2000, dead(1), goodbye()), ["A end peer-close"]);
}

#[test]
fn the_same_socket_and_ports_after_an_end_are_another_connection() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.see(1000, dead(1), goodbye());
    assert_eq!(run.see(1001, socket(1), connected()), ["B open connect"]);
    assert_eq!(run.see(2001, socket(1), probe(1)), ["B probe 1"]);
    assert_eq!(run.histories().len(), 2);
}

#[test]
fn a_probe_after_an_end_belongs_to_a_connection_whose_opening_was_missed() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.see(1000, dead(1), goodbye());
    assert_eq!(run.see(5000, socket(1), probe(1)), ["B open first-event", "B probe 1"]);
}

#[test]
fn what_the_timer_does_while_the_first_look_around_goes_on_is_of_a_connection_that_was_there() {
    let mut run = Run::new();
    run.tracker.expect_holders(Vec::new());
    assert_eq!(run.see(0, socket(1), probe(1)), ["A open snapshot", "A probe 1"]);
    assert!(run.see(1, socket(1), What::Snapshot).is_empty());
    assert_eq!(run.see(2, socket(2), connected()), ["B open connect"], "and yet some are new");
    run.tracker.looked_around();
    assert_eq!(run.see(5, socket(3), probe(1)), ["C open first-event", "C probe 1"]);
}

#[test]
fn a_socket_used_again_whose_end_was_lost_ends_the_old_connection_as_unknown() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    let other = || Socket { remote: SocketAddr::from(([10, 0, 0, 9], 443)), ..socket(1) };
    assert_eq!(run.see(1000, other(), probe(1)), ["A end unknown", "B open first-event", "B probe 1"]);
    assert_eq!(run.told[1].body.connection().unwrap().remote.port(), 5432, "the old one's");
    assert_eq!(run.see(2000, other(), connected()), ["B end unknown", "C open connect"], "the same ports, connected anew");
    assert_eq!(run.see(3000, Socket { netns: Some(8), ..other() }, What::Acked), ["C end unknown"]);
}

#[test]
fn a_handshake_that_was_seen_before_goes_on_as_the_same_connection() {
    let mut run = Run::new();
    let trying = Socket { state: State::SYN_SENT, ..socket(1) };
    assert_eq!(run.see(0, trying.clone(), What::Snapshot), ["A open snapshot"]);
    let done = Socket { state: State::ESTABLISHED, ..trying };
    assert_eq!(run.see(100, done, connected()), ["A owner nginx, 1 in all"]);
    assert_eq!(run.see(1000, dead(1), goodbye()), ["A end peer-close"]);
}

#[test]
fn a_snapshot_and_the_stream_are_one_connection_in_either_order() {
    for stream_first in [false, true] {
        let mut run = Run::new();
        let mut seen = [(What::Snapshot, "A open snapshot"), (connected(), "A open connect")];
        if stream_first {
            seen.swap(0, 1);
        }
        let [(first, told), (second, _)] = seen;
        // The list was read before the handshake was over.
        let state = if stream_first { State::ESTABLISHED } else { State::SYN_SENT };
        assert_eq!(run.see(0, Socket { state, ..socket(1) }, first), [told]);
        let owner = if stream_first { vec![] } else { vec!["A owner nginx, 1 in all"] };
        assert_eq!(run.see(1, socket(1), second), owner);
        assert_eq!(run.see(1000, dead(1), goodbye()), ["A end peer-close"]);
        assert_eq!(run.verdicts(), [(Verdict::PeerClose, 1)]);
    }
}

#[test]
fn a_snapshot_of_a_socket_that_closed_a_moment_before_opens_nothing() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.see(1000, dead(1), goodbye());
    assert!(run.see(1005, socket(1), What::Snapshot).is_empty());
    assert_eq!(run.see(1500, socket(1), What::Snapshot), ["B open snapshot"], "the same ports again");

    let mut run = Run::new();
    run.see(0, socket(1), connected());
    assert!(run.see(1000, dead(1), What::Closed(closed(State::ESTABLISHED))).is_empty(), "its reset is awaited");
    assert!(run.see(1005, socket(1), What::Snapshot).is_empty());
    assert_eq!(run.see(1006, dead(1), reset()), ["A reset", "A end local-abort"]);
}

#[test]
fn an_unknown_namespace_is_no_difference() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    assert_eq!(run.see(1000, Socket { netns: None, ..socket(1) }, probe(1)), ["A probe 1"]);
}

#[test]
fn an_answer_on_a_socket_that_nobody_knows_opens_nothing() {
    assert!(Run::new().see(0, socket(1), What::Acked).is_empty());
}
