//! Ends whose records were lost, found by a walk.
use std::collections::HashSet;

use super::*;
use crate::model::tracker::Census;

/// A walk that began so late, and has seen these sockets of namespace 7.
fn census(ms: u64, sockets: &[u16]) -> Census {
    Census {
        began_ns: ms * MS,
        namespaces: HashSet::from([7]),
        sockets: sockets.iter().map(|address| (u64::from(*address), *address, 5432)).collect(),
    }
}

fn miss(run: &mut Run, census: &Census) -> Vec<String> {
    let mut out = Vec::new();
    run.tracker.end_missing(census, &mut out);
    run.note(out)
}

fn why(run: &Run) -> &str {
    match &run.told.last().unwrap().body {
        Body::End(_, end) => &end.why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_walk_has_not_found_has_ended() {
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.see(0, socket(2), connected());
    assert_eq!(miss(&mut run, &census(1000, &[2])), ["A end unknown"]);
    assert_eq!(why(&run), "its end was lost with other events, and nothing that was seen before tells why it ended");
    // Once, and the other one lives on.
    assert!(miss(&mut run, &census(2000, &[2])).is_empty());
    assert_eq!(run.see(3000, socket(2), goodbye()), ["B end peer-close"]);
}

#[test]
fn what_was_seen_before_tells_why() {
    let mut run = Run::new();
    for address in 1..=4 {
        run.see(0, socket(address), connected());
    }
    run.see(10, socket(1), What::PeerReset);
    run.see(10, dead(2), reset());
    run.see(10, socket(3), What::Aborted { by: Some(nginx()) });
    run.see(10, socket(4), probe(1));
    run.see(20, socket(4), What::Reset(Reset { reason: None, cause: Some(Verdict::KeepaliveTimeout), task: None }));
    let ends = ["A end peer-reset", "B end local-abort", "C end admin-kill", "D end keepalive-timeout"];
    assert_eq!(miss(&mut run, &census(1000, &[])), ends);
    assert!(why(&run).ends_with("; the end itself was lost with other events"), "{}", why(&run));
}

#[test]
fn a_walk_ends_only_what_it_can_know_of() {
    let mut run = Run::new();
    // Another namespace, and one on which something happened after the walk had begun.
    run.see(0, Socket { netns: Some(8), ..socket(1) }, connected());
    run.see(0, Socket { netns: None, ..socket(2) }, connected());
    run.see(2000, socket(3), connected());
    assert!(miss(&mut run, &census(1000, &[])).is_empty());
    // The same socket, but another connection.
    let reused = Census { sockets: HashSet::from([(3, 4, 5432)]), ..census(3000, &[]) };
    assert_eq!(miss(&mut run, &reused), ["C end unknown"]);
}

#[test]
fn in_quiet_mode_an_end_that_was_only_counted_is_not_told() {
    let mut run = Run::new();
    run.tracker.keep_quiet();
    run.see(0, socket(1), What::Snapshot);
    assert!(miss(&mut run, &census(1000, &[])).is_empty());
}
