//! Who owns a connection, and who is told of it.
use super::*;

fn holds(address: u16, task: Task) -> Holding {
    let Socket { local, remote, netns, .. } = socket(address);
    Holding { socket: address.into(), netns, local_port: local.port(), remote_port: remote.port(), task }
}

fn by_pid(pid: u32) -> Owners {
    Owners { pids: vec![pid], comms: Vec::new() }
}

#[test]
fn whoever_connects_or_accepts_is_the_owner_from_then_on() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    assert_eq!(run.owner(), Some((812, 1)));
    run.see(0, socket(2), What::Accepted { by: Some(task(5, "worker")), late: false });
    assert_eq!(run.owner(), Some((5, 1)));
    run.see(10, socket(2), probe(1));
    assert_eq!(run.owner(), Some((5, 1)));
    run.see(0, socket(3), What::PeerReset);
    assert_eq!(run.owner(), None, "nobody has accepted it yet");
}

#[test]
fn of_several_holders_the_opener_is_the_owner_and_all_are_counted() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    let all = [holds(1, task(700, "master")), holds(1, nginx()), holds(1, task(900, "worker"))];
    assert_eq!(run.held(&all), ["A owner nginx, 3 in all"]);
    assert!(run.held(&all).is_empty(), "that is known already");
    assert_eq!(run.histories()[0].last_ns, 0, "nothing happened on it");
    run.see(10, socket(1), probe(1));
    assert_eq!(run.owner(), Some((812, 3)));
    run.held(&[holds(1, task(700, "master")), holds(1, task(900, "worker"))]);
    run.see(20, socket(1), probe(2));
    assert_eq!(run.owner(), Some((700, 2)), "the opener is gone");
    run.held(&[holds(1, task(900, "worker"))]);
    run.see(30, socket(1), probe(3));
    assert_eq!(run.owner(), Some((900, 1)));
}

#[test]
fn whoever_was_asked_for_is_preferred_to_the_opener() {
    let mut run = Run::of(100, by_pid(900));
    assert!(run.see(0, socket(1), connected()).is_empty());
    run.held(&[holds(1, nginx()), holds(1, task(900, "worker"))]);
    assert_eq!(run.see(10, socket(1), probe(1)), ["A open connect", "A probe 1"]);
    assert_eq!(run.owner(), Some((900, 2)));
}

#[test]
fn a_socket_that_is_another_connections_by_now_says_nothing_about_this_one() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    let stranger = |holding: Holding| Holding { task: task(1, "stranger"), ..holding };
    run.held(&[stranger(Holding { remote_port: 443, ..holds(1, nginx()) })]);
    run.held(&[stranger(Holding { netns: Some(8), ..holds(1, nginx()) })]);
    run.held(&[stranger(Holding { socket: 99, ..holds(1, nginx()) })]);
    run.see(10, socket(1), probe(1));
    assert_eq!(run.owner(), Some((812, 1)));
    run.held(&[stranger(Holding { netns: None, ..holds(1, nginx()) })]);
    run.see(20, socket(1), probe(2));
    assert_eq!(run.owner(), Some((1, 1)), "an unknown namespace is no difference");
}

#[test]
fn holders_that_are_known_before_the_snapshot_are_in_its_openings() {
    let mut run = Run::of(100, by_pid(812));
    run.tracker.expect_holders(vec![holds(1, task(3, "curl")), holds(2, task(3, "curl")), holds(2, nginx())]);
    assert!(run.see(0, socket(1), What::Snapshot).is_empty());
    assert_eq!(run.see(0, socket(2), What::Snapshot), ["A open snapshot"]);
    assert_eq!(run.owner(), Some((812, 2)));
    assert!(run.see(0, socket(3), What::Snapshot).is_empty(), "nobody holds it");
}

#[test]
fn whoever_closes_held_it_to_the_end() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.held(&[holds(1, nginx()), holds(1, task(900, "worker"))]);
    let close = Closed { by: Some(task(900, "worker")), ..closed(State::LAST_ACK) };
    run.see(10, dead(1), What::Closed(close));
    assert_eq!(run.owner(), Some((900, 1)));
    run.see(0, socket(2), connected());
    run.held(&[holds(2, nginx()), holds(2, task(900, "worker"))]);
    run.see(20, dead(2), goodbye());
    assert_eq!(run.owner(), Some((812, 2)), "the owner that was known");
}

#[test]
fn only_wanted_owners_are_told_of_and_counted() {
    let mut run = Run::of(100, by_pid(812));
    let other = || What::Accepted { by: Some(task(5, "worker")), late: false };
    assert_eq!(run.see(0, socket(1), connected()), ["A open connect"]);
    assert!(run.see(0, socket(2), other()).is_empty());
    assert!(run.see(10, socket(2), probe(1)).is_empty());
    let close = Closed { by: Some(task(5, "worker")), ..closed(State::LAST_ACK) };
    assert!(run.see(20, dead(2), What::Closed(close)).is_empty());
    assert_eq!(run.see(20, dead(1), goodbye()), ["A end peer-close"]);
    assert_eq!((run.ledger().connections, run.verdicts()), (1, vec![(Verdict::PeerClose, 1)]));
    assert_eq!(run.histories().len(), 1);
}

#[test]
fn a_connection_whose_owner_is_found_out_later_is_told_from_then_on_with_its_opening_first() {
    let mut run = Run::of(100, by_pid(812));
    assert!(run.see(0, socket(1), probe(1)).is_empty(), "it may be anybody's");
    run.held(&[holds(1, nginx())]);
    assert_eq!(run.see(1000, Socket { probes_out: Some(1), ..socket(1) }, probe(2)), ["A open first-event", "A probe 2"]);
    let history = run.histories()[0];
    assert_eq!((history.tally.probes(), history.tally.pending, history.opened_ns), (2, 2, 1000 * MS));
    assert!(run.see(1500, socket(2), What::Snapshot).is_empty());
    assert_eq!(run.see(2000, dead(2), goodbye()), ["B open snapshot", "B end peer-close"], "who closes it has owned it");
}

#[test]
fn a_connection_that_is_told_of_is_told_to_its_end_whoever_closes_it() {
    let mut run = Run::of(100, by_pid(812));
    run.see(0, socket(1), connected());
    let close = Closed { by: Some(task(900, "worker")), ..closed(State::LAST_ACK) };
    assert_eq!(run.see(10, dead(1), What::Closed(close)), ["A end peer-close"]);
}

#[test]
fn what_comes_late_opens_nothing_that_has_ended_untold() {
    let mut run = Run::of(100, by_pid(812));
    run.see(0, socket(1), What::PeerReset);
    run.see(0, dead(1), failed(State::ESTABLISHED, Errno::CONNRESET));
    assert!(run.see(1, dead(1), What::Accepted { by: Some(nginx()), late: false }).is_empty());
    assert!(run.see(2, dead(1), reset()).is_empty());
    assert_eq!(run.histories().len(), 0);
}
