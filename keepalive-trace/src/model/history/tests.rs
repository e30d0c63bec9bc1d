use std::mem::offset_of;

use super::*;
use crate::model::{
    event::{Family, Precision},
    http::{Line, Method, Promise, Tokens},
    settings::{Origin, Sourced},
    state::State,
};

const SECOND: u64 = 1_000_000_000;

fn connection() -> Connection {
    Connection {
        id: ConnId(1),
        cookie: None,
        family: Family::V4,
        local: SocketAddr::from(([10, 0, 0, 5], 51334)),
        remote: SocketAddr::from(([10, 0, 0, 9], 5432)),
        netns: Some(7),
        cgroup: None,
        owner: None,
        state: State::ESTABLISHED,
        settings: None,
        idle_ms: None,
        probes_out: Some(0),
    }
}

fn probe(n: u32) -> Body {
    Body::Probe(connection(), Probe { n: Some(n), result: Some(ProbeResult::Sent), next_ms: None, late_ms: None, wheel_ms: None })
}

fn answer(n: u32, rtt_us: u64) -> Body {
    let reply = Reply { n: Some(n), kind: ReplyKind::Ack, rtt_us: Some(rtt_us), precision: Precision::Jiffy, missed: n - 1 };
    Body::Reply(connection(), reply)
}

/// One event a second.
fn history(bodies: impl IntoIterator<Item = Body>) -> History {
    let mut history = History::begin(&connection(), 0);
    for (second, body) in (1..).zip(bodies) {
        history.apply(&Event { mono_ns: second * SECOND, body });
    }
    history
}

fn whats(history: &History) -> Vec<What> {
    history.timeline().chapters.into_iter().map(|chapter| chapter.what).collect()
}

#[test]
fn healthy_rounds_are_one_chapter_with_the_slowest_answer() {
    let history = history([probe(1), answer(1, 0), probe(1), answer(1, 8000), probe(1), answer(1, 4000)]);
    assert_eq!(whats(&history), [What::Healthy { rounds: 3, slowest_us: Some(8000) }]);
    let chapter = &history.timeline().chapters[0];
    assert_eq!((chapter.from_ns, chapter.to_ns), (SECOND, 6 * SECOND));
    assert_eq!((history.tally.probes(), history.tally), (3, Tally { answered: 3, unanswered: 0, pending: 0 }));
}

#[test]
fn a_recovery_after_two_misses_is_a_chapter_of_its_own() {
    let history = history([probe(1), answer(1, 0), probe(1), probe(2), probe(3), answer(3, 0), probe(1)]);
    let [What::Healthy { rounds: 1, .. }, What::Round { probes: 3, end: Some(end), .. }, last] = &whats(&history)[..] else {
        panic!("{:?}", whats(&history))
    };
    assert_eq!((end.n, end.missed), (Some(3), 2));
    assert_eq!(*last, What::Round { probes: 1, of: None, dropped: 0, end: None });
    assert_eq!((history.tally.probes(), history.tally), (5, Tally { answered: 2, unanswered: 2, pending: 1 }));
}

#[test]
fn probes_from_before_are_counted_by_the_kernels_number() {
    let open = Body::Open(Connection { probes_out: Some(2), ..connection() }, Open { how: How::Snapshot, connect_us: None });
    let history = history([open, probe(3), answer(3, 0)]);
    assert_eq!((history.tally.probes(), history.tally), (3, Tally { answered: 1, unanswered: 2, pending: 0 }));
}

#[test]
fn a_round_that_begins_anew_without_an_answer_leaves_the_last_one_unanswered() {
    let history = history([probe(1), probe(2), probe(1)]);
    assert_eq!((history.tally.probes(), history.tally), (3, Tally { answered: 0, unanswered: 2, pending: 1 }));
    assert_eq!(whats(&history).len(), 2);
}

#[test]
fn a_long_story_keeps_its_beginning_and_its_end_and_says_what_is_missing() {
    let rounds = (0..100).flat_map(|_| [probe(1), probe(2), answer(2, 0)]);
    let history = history(rounds);
    let Timeline { chapters, omitted, gap } = history.timeline();
    assert_eq!((chapters.len(), omitted, gap), (32, 68, 8));
    assert_eq!((chapters[7].from_ns, chapters[8].from_ns), (22 * SECOND, 229 * SECOND));
}

#[test]
fn ends_are_recognised_whatever_way_an_ipv4_address_is_written() {
    let history = history([]);
    let (local, remote) = (connection().local, connection().remote);
    assert!(history.is_between(Some(7), local, remote) && history.is_between(None, local, remote));
    assert!(!history.is_between(Some(8), local, remote) && !history.is_between(Some(7), remote, local));
    assert_eq!((history.local(), history.remote()), (local, remote));
}

#[test]
fn a_history_is_small() {
    assert!(size_of::<History>() <= 168, "{}", size_of::<History>());
}

#[test]
fn what_events_change_comes_first() {
    assert!(offset_of!(History, opened_ns) <= 112, "{}", offset_of!(History, opened_ns));
}

fn http(line: Line, idle_before_ms: u64, timeout_s: Option<u32>) -> Body {
    let promise = Promise { timeout_s, max: None };
    Body::Http(connection(), Http { line, n: 1, connection: Tokens::default(), promise, idle_before_ms: Some(idle_before_ms) })
}

#[test]
fn requests_in_a_burst_are_a_chapter_and_those_after_a_pause_another_one() {
    let [get, ok] = [Line::Request(Method::Get), Line::Response(200)];
    let burst = [http(get, 0, None), http(ok, 9, Some(5)), http(get, 20, None), http(ok, 9000, Some(5))];
    let later = [http(get, 1000, None), http(Line::Response(100), 1, None), http(Line::Response(404), 1, None)];
    let history = history(burst.into_iter().chain(later));
    let promise = Promise { timeout_s: Some(5), max: None };
    let first =
        Spoken { requests: 2, responses: 2, method: Some(Method::Get), status: Some(200), promise, idle_before_ms: Some(0) };
    let second =
        Spoken { requests: 1, responses: 1, status: Some(404), promise: Promise::default(), idle_before_ms: Some(1000), ..first };
    assert_eq!(whats(&history), [What::Http(first), What::Http(second)]);
    let chapter = &history.timeline().chapters[0];
    assert_eq!((chapter.from_ns, chapter.to_ns), (SECOND, 4 * SECOND));
}

#[test]
fn an_open_connection_whose_close_is_overdue_is_found_where_keepalive_is_off() {
    let opened = |how, keepalive| {
        let sourced = |value| Sourced { value, origin: Origin::Sysctl };
        let probes = Sourced { value: 9, origin: Origin::Sysctl };
        let settings = Settings { keepalive, time_s: sourced(7200), intvl_s: sourced(75), probes, user_timeout_ms: 0 };
        let connection = Connection { settings: Some(settings), ..connection() };
        Body::Open(connection, Open { how, connect_us: None })
    };
    let found = |how, keepalive, second| {
        let told = [opened(how, keepalive), http(Line::Request(Method::Get), 0, None), http(Line::Response(200), 0, Some(5))];
        history(told).http_findings(second * SECOND).to_string()
    };
    assert_eq!(found(How::Connect, false, 10), "zombie-uncovered");
    assert_eq!([found(How::Connect, false, 9), found(How::Connect, true, 10), found(How::Accept, false, 10)], [""; 3]);
}
