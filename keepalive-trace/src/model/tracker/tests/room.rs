//! What is forgotten when there is no room.
use super::*;

fn forgotten(run: &mut Run) -> u64 {
    run.tracker.take_lost().map(|lost| lost.count).sum::<u64>()
}

#[test]
fn what_is_forgotten_is_counted_once() {
    let mut run = Run::of(2, Owners::default());
    run.see(0, socket(1), connected());
    run.see(1, socket(2), connected());
    assert_eq!(run.tracker.take_lost().next(), None);
    run.see(2, socket(3), connected());
    run.see(3, socket(4), connected());
    assert_eq!(run.tracker.take_lost().collect::<Vec<_>>(), [Lost { count: 2, place: Place::ConnectionTable }]);
    assert_eq!(run.tracker.take_lost().next(), None);
    assert_eq!((run.ledger().connections, run.histories().len()), (4, 2));
}

#[test]
fn what_happens_on_a_forgotten_socket_begins_a_new_history() {
    let mut run = Run::of(1, Owners::default());
    run.see(0, socket(1), connected());
    run.see(1, socket(2), connected());
    assert_eq!(run.see(1000, socket(1), probe(2)), ["C open first-event", "C probe 2"]);
    assert_eq!(forgotten(&mut run), 2);
}

#[test]
fn the_one_unseen_longest_goes_unless_another_has_ended() {
    let mut run = Run::of(2, Owners::default());
    run.see(0, socket(1), connected());
    run.see(1, socket(2), connected());
    run.see(2, socket(1), probe(1));
    run.see(3, socket(3), connected());
    assert_eq!(run.see(4, socket(1), probe(2)), ["A probe 2"]);
    run.see(5, dead(3), goodbye());
    run.see(6, socket(4), connected());
    assert_eq!(run.see(7, socket(1), probe(3)), ["A probe 3"]);
}

#[test]
fn an_end_that_still_waits_is_judged_before_it_is_forgotten() {
    let mut run = Run::of(1, Owners::default());
    run.see(0, socket(1), connected());
    run.see(1000, dead(1), What::Closed(closed(State::ESTABLISHED)));
    assert_eq!(run.see(1001, socket(2), connected()), ["A end local-abort", "B open connect"]);
    assert_eq!((run.tracker.next_settling(), forgotten(&mut run)), (None, 1));
    assert_eq!(run.verdicts(), [(Verdict::LocalAbort, 1)]);
}

#[test]
fn nobody_misses_a_connection_that_was_not_asked_for() {
    let mut run = Run::of(1, Owners { pids: vec![1], comms: Vec::new() });
    run.see(0, socket(1), connected());
    run.see(1, socket(2), What::Accepted { by: Some(task(1, "init")), late: false });
    assert_eq!(forgotten(&mut run), 0);
    run.see(2, socket(3), connected());
    assert_eq!(forgotten(&mut run), 1);
}
