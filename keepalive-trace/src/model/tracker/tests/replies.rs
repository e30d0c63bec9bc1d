//! Answers to probes, and changes of settings.
use super::*;

/// A socket whose clock shows so many jiffies, and when it last heard an ACK.
fn clocked(now: u32, acked: u32) -> Socket {
    Socket { clock: Some(Clock { now, acked, moved: 0 }), ..socket(1) }
}

fn opened() -> Run {
    let mut run = Run::new();
    run.see(0, clocked(1000, 1000), connected());
    run
}

#[test]
fn an_answer_is_recognised_at_the_next_run_of_the_timer() {
    let mut run = opened();
    run.see(1000, clocked(1250, 1000), probe(1));
    assert_eq!(run.see(2000, clocked(1500, 1252), probe(1)), ["A ack 1 in 8000 us jiffy, missed 0", "A probe 1"]);
    let told = run.see(3000, clocked(1750, 1500), timer(Outcome::NotIdle));
    assert_eq!(told, ["A ack 1 in 0 us jiffy, missed 0", "A timer not-idle"]);
    assert_eq!(run.see(4000, clocked(2000, 1500), timer(Outcome::NotIdle)), ["A timer not-idle"], "not twice");
}

#[test]
fn an_answer_is_recognised_at_the_end() {
    let mut run = opened();
    run.see(1000, clocked(1250, 1000), probe(1));
    let dead = Socket { state: State::CLOSE, ..clocked(1300, 1251) };
    assert_eq!(run.see(1200, dead, goodbye()), ["A ack 1 in 4000 us jiffy, missed 0", "A end peer-close"]);
}

#[test]
fn an_answer_says_how_many_probes_before_it_were_missed() {
    let mut run = opened();
    for n in 1..=3 {
        assert_eq!(run.see(u64::from(n) * 1000, clocked(1000 + n * 250, 1000), probe(n)), [format!("A probe {n}")]);
    }
    let told = run.see(4000, clocked(2000, 1751), timer(Outcome::NotIdle));
    assert_eq!(told, ["A ack 3 in 4000 us jiffy, missed 2", "A timer not-idle"]);
    let tally = run.histories()[0].tally;
    assert_eq!((tally.probes(), tally.answered, tally.unanswered, tally.pending), (3, 1, 2, 0));
}

#[test]
fn an_ack_from_before_the_probe_answers_nothing_even_where_the_clock_wraps() {
    let mut run = opened();
    run.see(1000, clocked(3, u32::MAX - 250), probe(1));
    assert_eq!(run.see(2000, clocked(253, u32::MAX - 250), probe(2)), ["A probe 2"]);
    let mut run = opened();
    run.see(1000, clocked(u32::MAX, u32::MAX - 250), probe(1));
    assert_eq!(run.see(2000, clocked(249, 1), probe(1)), ["A ack 1 in 8000 us jiffy, missed 0", "A probe 1"]);
}

#[test]
fn an_answer_that_was_seen_as_it_came_is_not_told_again() {
    let mut run = opened();
    run.see(1000, clocked(1250, 1000), probe(1));
    assert_eq!(run.see(1003, clocked(1250, 1250), What::Acked), ["A ack 1 in 3000 us exact, missed 0"]);
    assert!(run.see(1004, clocked(1250, 1250), What::Acked).is_empty());
    assert_eq!(run.see(2000, clocked(1500, 1250), probe(1)), ["A probe 1"]);
}

#[test]
fn a_probe_whose_result_nobody_saw_can_be_answered_and_one_that_never_left_cannot() {
    for (result, answered) in [(None, true), (Some(ProbeResult::DroppedLocally), false), (Some(ProbeResult::Congested), false)] {
        let mut run = opened();
        run.see(
            1000,
            clocked(1250, 1000),
            What::Probe(Probe { n: Some(1), result, next_ms: None, late_ms: None, wheel_ms: None }),
        );
        let told = run.see(2000, clocked(1500, 1252), timer(Outcome::NotIdle));
        assert_eq!(told.len() == 2, answered, "{result:?}: {told:?}");
    }
}

#[test]
fn a_round_that_was_under_way_at_the_snapshot_is_counted_from_there() {
    let mut run = Run::new();
    run.see(500, Socket { probes_out: Some(2), ..clocked(1000, 100) }, What::Snapshot);
    run.see(1000, clocked(1125, 100), probe(3));
    let history = run.histories()[0];
    assert_eq!((history.tally.probes(), history.tally.pending), (3, 3));
    let chapters = history.timeline().chapters;
    assert_eq!((chapters.len(), chapters[0].from_ns, chapters[0].to_ns), (1, 500 * MS, 1000 * MS));
}

#[test]
fn settings_are_told_only_when_they_change_and_with_who_changed_them() {
    let mut run = opened();
    let set = |time_s| Socket { settings: Some(settings(time_s)), ..socket(1) };
    assert!(run.see(100, set(1), What::Set { by: Some(nginx()) }).is_empty(), "the same as before");
    assert_eq!(run.see(200, set(5), What::Set { by: Some(task(7, "tuner")) }), ["A settings by tuner"]);
    assert_eq!(run.see(300, set(5), probe(1)), ["A probe 1"]);
    assert_eq!(run.see(400, set(6), timer(Outcome::NotIdle)), ["A settings", "A timer not-idle"], "a sysctl, or a missed call");
    assert_eq!(run.see(500, Socket { settings: None, ..socket(1) }, probe(1)), ["A probe 1"], "unknown is no change");
}

#[test]
fn what_accept_inherits_is_a_change_only_where_it_was_known_otherwise() {
    let mut run = Run::new();
    assert_eq!(run.see(0, socket(1), What::Accepted { by: Some(nginx()), late: false }), ["A open accept"]);
    run.see(0, socket(2), What::Snapshot);
    let other = Socket { settings: Some(settings(9)), ..socket(2) };
    assert_eq!(run.see(10, other, What::Accepted { by: Some(nginx()), late: false }), ["B owner nginx, 1 in all", "B settings"]);
}

#[test]
fn an_answer_has_no_time_where_other_traffic_came_since() {
    let mut run = opened();
    run.see(1000, clocked(1250, 1000), probe(1));
    let Socket { clock: Some(clock), .. } = clocked(1500, 1400) else { unreachable!() };
    let busy = Socket { clock: Some(Clock { moved: 14, ..clock }), ..socket(1) };
    let told = run.see(2000, busy, timer(Outcome::NotIdle));
    assert_eq!(told, ["A ack 1 in ? us jiffy, missed 0", "A timer not-idle"]);
}
