//! Quiet mode: connections from before the start are reported when something happens on them.
use super::*;

fn quiet() -> Run {
    let mut run = Run::new();
    run.tracker.keep_quiet();
    run.tracker.expect_holders(Vec::new());
    run
}

fn born_late() -> What {
    What::Connected { connect_us: Some(312), opener: Some(nginx()), late: true }
}

#[test]
fn a_connection_from_before_the_start_is_reported_with_its_first_event() {
    let mut run = quiet();
    assert!(run.see(1000, socket(1), What::Snapshot).is_empty());
    run.tracker.looked_around();
    assert_eq!(run.see(5000, socket(1), probe(1)), ["A open snapshot", "A probe 1"]);
    assert_eq!(run.told[0].mono_ns, 1000 * MS, "the opening has the time of the walk");
}

#[test]
fn one_that_ended_uneventfully_is_never_reported() {
    let mut run = quiet();
    run.see(1000, socket(1), What::Snapshot);
    run.tracker.looked_around();
    let other = Socket { remote: SocketAddr::from(([10, 0, 0, 9], 80)), ..socket(1) };
    assert_eq!(run.see(5000, other, connected()), ["A open connect"], "the same socket in memory");
    assert_eq!(run.histories().len(), 1);
}

#[test]
fn a_birth_that_the_walk_found_too_keeps_the_settings_that_the_walk_saw() {
    let mut run = quiet();
    run.see(1000, socket(1), What::Snapshot);
    run.tracker.looked_around();
    let now = || Socket { settings: Some(settings(9)), ..socket(1) };
    assert_eq!(run.see(900, now(), born_late()), ["A open connect"]);
    assert_eq!(run.told[0].body.connection().unwrap().settings, Some(settings(1)));
    assert_eq!(run.see(5000, now(), probe(1)), ["A settings", "A probe 1"]);
}

#[test]
fn a_birth_after_the_walk_is_another_connection_with_the_same_ends() {
    let mut run = quiet();
    run.see(1000, socket(1), What::Snapshot);
    run.tracker.looked_around();
    let now = || Socket { settings: Some(settings(9)), ..socket(1) };
    assert_eq!(run.see(2000, now(), born_late()), ["A open connect"]);
    assert_eq!(run.told[0].body.connection().unwrap().settings, Some(settings(9)), "not those of the one before");
    assert_eq!(run.see(5000, now(), probe(1)), ["A probe 1"]);
}

#[test]
fn with_the_full_stream_a_late_birth_of_a_connection_that_the_walk_found_is_no_other_connection() {
    let mut run = Run::new();
    assert_eq!(run.see(1000, socket(1), What::Snapshot), ["A open snapshot"]);
    assert_eq!(run.see(900, socket(1), born_late()), ["A owner nginx, 1 in all"]);
    assert_eq!(run.see(5000, socket(1), probe(1)), ["A probe 1"]);
    // One that began after the walk is another.
    assert_eq!(run.see(6000, socket(1), born_late()), ["A end unknown", "B open connect"]);
}
