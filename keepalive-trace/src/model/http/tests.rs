use super::{
    Cause::{ConnectionClose, IdleTimeout, MaxRequests, Race},
    *,
};
use crate::model::{
    settings::{Origin, Settings, Sourced},
    verdict::Verdict,
};

const SECOND: u64 = 1_000_000_000;

/// Nothing else is known.
fn ended(verdict: Verdict) -> Around {
    Around { verdict, settings: None, connect_us: None, peer_us: None, at_ns: 0 }
}

fn message(line: Line) -> Message {
    Message { line, is_1_0: false, connection: Tokens::default(), promise: Promise::default() }
}

/// As it passes on the client's host.
fn get(seq: u32) -> Passed {
    Passed { left: true, idle_ns: None, what: What::Message(message(Line::Request(Method::Get)), seq) }
}

fn response(status: u16, promise: Promise) -> Passed {
    let message = Message { promise, ..message(Line::Response(status)) };
    Passed { left: false, idle_ns: Some(1), what: What::Message(message, 0) }
}

fn promise(timeout_s: impl Into<Option<u32>>, max: impl Into<Option<u32>>) -> Promise {
    Promise { timeout_s: timeout_s.into(), max: max.into() }
}

fn fin(left: bool, ack: u32, idle_ns: u64) -> Passed {
    Passed { left, idle_ns: Some(idle_ns), what: What::Close { rst: false, ack } }
}

fn said(message: Message, left: bool) -> Passed {
    Passed { left, idle_ns: None, what: What::Message(message, 0) }
}

/// The cause, and how many requests and responses there were, seen by the client's host and, the same mirrored, by the server's.
fn told(passed: &[Passed]) -> (Option<Cause>, u32, u32) {
    let told = |mirrored: bool| {
        let mut exchange = Exchange::default();
        for passed in passed {
            exchange.note(0, &Passed { left: passed.left != mirrored, ..*passed });
        }
        let end = exchange.end(&ended(Verdict::PeerClose)).unwrap();
        (end.cause, end.requests, end.responses)
    };
    assert_eq!(told(false), told(true));
    told(false)
}

#[test]
fn an_idle_server_closes_when_it_likes_but_not_at_once_where_it_said_otherwise() {
    let idle = |ns, promised| told(&[get(0), response(200, promised), fin(false, 100, ns)]);
    assert_eq!(idle(5 * SECOND, promise(5, 100)), (Some(IdleTimeout), 1, 1));
    assert_eq!(idle(4 * SECOND, promise(5, None)), (Some(IdleTimeout), 1, 1));
    assert_eq!(idle(SECOND, promise(5, None)), (Some(IdleTimeout), 1, 1));
    assert_eq!(idle(SECOND - 1, promise(5, None)), (None, 1, 1));
    assert_eq!(idle(4 * SECOND, Promise::default()), (Some(IdleTimeout), 1, 1));
}

#[test]
fn the_client_may_close_when_it_likes() {
    assert_eq!(told(&[get(0), response(200, promise(5, None)), fin(true, 0, SECOND)]), (None, 1, 1));
    let closes = Message { connection: Tokens { close: true, ..Tokens::default() }, ..message(Line::Request(Method::Get)) };
    let passed = [said(closes, true), response(200, Promise::default()), fin(true, 0, 0)];
    assert_eq!(told(&passed).0, Some(ConnectionClose));
}

#[test]
fn a_request_that_the_server_had_not_received_when_it_closed_met_the_close() {
    // Sent before the FIN came, and not acknowledged by it; or sent when it had come.
    let before = [get(0), response(200, promise(5, None)), get(100), fin(false, 100, 5 * SECOND)];
    assert_eq!(told(&before), (Some(Race), 2, 1));
    let after = [get(0), response(200, promise(5, None)), fin(false, 100, 5 * SECOND), get(100)];
    assert_eq!(told(&after), (Some(Race), 2, 1));
}

#[test]
fn a_server_that_gives_no_answer_to_what_it_has_received_is_no_race() {
    let passed = [get(u32::MAX - 9), response(200, Promise::default()), get(90), fin(false, 200, 5 * SECOND)];
    assert_eq!(told(&passed), (None, 2, 1));
    // Sequence numbers begin again at 0.
    let wrapped = [get(u32::MAX - 109), response(200, Promise::default()), get(u32::MAX - 9), fin(false, 90, SECOND)];
    assert_eq!(told(&wrapped), (None, 2, 1));
}

#[test]
fn a_request_that_came_when_the_timeout_was_due_and_was_not_read_met_the_close() {
    // A server that closes with something unread sends a RST, which acknowledges it.
    let reset = Passed { left: false, idle_ns: Some(1_000_000), what: What::Close { rst: true, ack: 200 } };
    let end = |idle_ns, promised| {
        let all = [get(0), response(200, promised), after_idling(get(100), idle_ns), reset];
        let mut exchange = Exchange::default();
        all.iter().for_each(|passed| _ = exchange.note(0, passed));
        let end = exchange.end(&ended(Verdict::PeerReset)).unwrap();
        (end.cause, end.findings.to_string(), exchange.why(&ended(Verdict::PeerReset)).unwrap())
    };
    let (cause, findings, why) = end(5 * SECOND - 2_000_000, promise(5, None));
    assert_eq!((cause, findings.as_str()), (Some(Race), ""));
    assert!(why.ends_with("having said timeout=5; a request met the close"), "{why}");
    let (cause, findings, why) = end(3 * SECOND, promise(5, None));
    assert_eq!((cause, findings.as_str()), (None, ""), "it may have been read");
    assert!(why.ends_with("; 1 of 2 requests had no answer"), "{why}");
    assert_eq!(end(9 * SECOND, Promise::default()).0, None, "nobody knows what was due");
}

#[test]
fn who_aborts_a_connection_hung_up_though_its_reset_is_not_seen_any_more() {
    let end = |verdict, passed: &[(bool, Passed)]| {
        let mut exchange = Exchange::default();
        for (left, passed) in passed {
            exchange.note(0, &Passed { left: *left, ..*passed });
        }
        let around = Around { at_ns: 5 * SECOND, ..ended(verdict) };
        (exchange.end(&around).unwrap().cause, exchange.why(&around).unwrap())
    };
    let answered = response(200, promise(5, None));
    let (cause, why) = end(Verdict::LocalAbort, &[(false, get(0)), (true, answered)]);
    assert_eq!(cause, Some(IdleTimeout));
    assert_eq!(why, "HTTP: the server reset it after 5.000 s without a message, having said timeout=5");
    let unread = [(false, get(0)), (true, answered), (false, after_idling(get(100), 5 * SECOND))];
    let (cause, why) = end(Verdict::LocalAbort, &unread);
    assert_eq!(cause, Some(Race));
    assert!(why.ends_with("; a request met the close"), "{why}");
    let (cause, why) = end(Verdict::LocalAbort, &[(true, get(0)), (false, answered)]);
    assert_eq!(cause, None);
    assert_eq!(why, "HTTP: the client reset it after 5.000 s without a message, the server having said timeout=5");
    // The kernel gave up, or somebody else did.
    for verdict in [Verdict::KeepaliveTimeout, Verdict::AdminKill] {
        assert_eq!(end(verdict, &unread).0, None, "{verdict:?}");
    }
}

#[test]
fn a_reset_that_is_no_program_s_is_not_http_s() {
    let reset = |left, ack| Passed { left, idle_ns: Some(5 * SECOND), what: What::Close { rst: true, ack } };
    let end = |passed: &[Passed], verdict| {
        let mut exchange = Exchange::default();
        for passed in passed {
            exchange.note(0, passed);
        }
        (exchange.end(&ended(verdict)).unwrap().cause, exchange.why(&ended(verdict)).unwrap())
    };
    let idle = [get(0), response(200, promise(5, None)), reset(false, 100)];
    let (cause, why) = end(&idle, Verdict::PeerResetOnProbe);
    assert_eq!(cause, None);
    assert_eq!(
        why,
        "HTTP: neither the client nor the server closed it, 5.000 s without a message, the server having said timeout=5"
    );
    let (cause, why) = end(&idle, Verdict::PeerReset);
    assert_eq!(cause, Some(IdleTimeout));
    assert_eq!(why, "HTTP: the server reset it after 5.000 s without a message, having said timeout=5");
    for verdict in [Verdict::KeepaliveTimeout, Verdict::UserTimeout, Verdict::AdminKill] {
        assert_eq!(end(&idle, verdict).0, None, "{verdict:?}");
    }
    // The FIN was the program's, whatever came then.
    let closed = [get(0), response(200, promise(5, None)), fin(false, 100, 5 * SECOND)];
    assert_eq!(end(&closed, Verdict::KeepaliveTimeout).0, Some(IdleTimeout));
    // In answer to a request, whose number would be after 0 or before.
    for seq in [1, 1 << 31] {
        let asked = [get(0), response(200, promise(5, None)), get(seq), reset(false, 0)];
        assert_eq!(end(&asked, Verdict::PeerReset).0, None);
        let unread = [get(0), response(200, promise(5, None)), get(seq), reset(false, seq)];
        assert_eq!(end(&unread, Verdict::PeerReset).0, Some(Race));
    }
}

#[test]
fn as_many_requests_as_were_promised_are_answered() {
    let passed = [get(0), response(200, promise(5, 2)), get(10), response(200, promise(None, None)), get(20)];
    let whole = [&passed[..], &[response(200, Promise::default()), fin(false, 30, 0)]].concat();
    assert_eq!(told(&whole), (Some(MaxRequests), 3, 3));
    let short = [&passed[..4], &[fin(false, 30, 6 * SECOND)]].concat();
    assert_eq!(told(&short).0, Some(IdleTimeout));

    // Node.js names the same number each time, and says `close` with the last.
    let last = Message { connection: Tokens { close: true, ..Tokens::default() }, ..message(Line::Response(200)) };
    let two = [get(0), response(200, promise(5, 3)), get(10), response(200, promise(5, 3))];
    for by_client in [false, true] {
        let whole = [&two[..], &[get(20), said(last, false), fin(by_client, 30, 0)]].concat();
        assert_eq!(told(&whole), (Some(MaxRequests), 3, 3));
    }
    assert_eq!(told(&[&two[..], &[fin(false, 30, 5 * SECOND)]].concat()).0, Some(IdleTimeout));
    assert_eq!(told(&[&two[..], &[fin(true, 30, SECOND)]].concat()).0, None);
}

#[test]
fn http_1_0_closes_unless_it_says_keep_alive() {
    let old = |line, connection| Message { is_1_0: true, connection, ..message(line) };
    let server = |connection| told(&[get(0), said(old(Line::Response(200), connection), false), fin(false, 10, 5 * SECOND)]).0;
    // A server that knows more may answer with its own version, and no word of the connection.
    let request = |connection| said(old(Line::Request(Method::Get), connection), true);
    let client = |connection| told(&[request(connection), response(200, Promise::default()), fin(false, 10, 5 * SECOND)]).0;
    for passed in [&server as &dyn Fn(Tokens) -> Option<Cause>, &client] {
        assert_eq!(passed(Tokens::default()), Some(ConnectionClose));
        assert_eq!(passed(Tokens { keep_alive: true, ..Tokens::default() }), Some(IdleTimeout));
    }
}

#[test]
fn an_interim_response_is_not_the_answer_and_an_upgrade_ends_http() {
    let mut exchange = Exchange::default();
    exchange.note(0, &get(0));
    let n = |passed| exchange.note(0, &passed).map(|http| http.n);
    let numbers = [response(100, Promise::default()), response(200, Promise::default())].map(n);
    assert_eq!(numbers, [Some(1), Some(1)]);
    exchange.note(0, &get(10));
    exchange.note(0, &response(101, Promise::default()));
    assert_eq!(exchange.note(0, &get(20)), None);
    exchange.note(0, &fin(false, 100, 9 * SECOND));
    let end = exchange.end(&Around { connect_us: Some(300), ..ended(Verdict::PeerClose) }).unwrap();
    let saved = Some(Saved { us: 300, from: SavedFrom::Connection });
    assert_eq!((end.cause, end.requests, end.handshakes_saved(), end.saved), (None, 2, 1, saved));
}

#[test]
fn without_a_message_nothing_is_said() {
    let mut exchange = Exchange::default();
    exchange.note(0, &fin(true, 0, 0));
    assert_eq!((exchange.end(&ended(Verdict::LocalClose)), exchange.why(&ended(Verdict::LocalClose))), (None, None));
}

#[test]
fn what_was_said_and_what_was_done_stand_side_by_side() {
    let mut exchange = Exchange::default();
    for passed in [get(0), response(200, promise(5, 100)), get(100), fin(false, 100, 5_000_400_000)] {
        exchange.note(0, &passed);
    }
    let why =
        "HTTP: the server closed it after 5.000 s without a message, having said timeout=5, max=100; a request met the close";
    assert_eq!(exchange.why(&ended(Verdict::PeerClose)).unwrap(), why);

    // The promise is the server's, whoever closes.
    let mut exchange = Exchange::default();
    for passed in [get(0), response(200, promise(5, None)), fin(true, 0, SECOND)] {
        exchange.note(0, &passed);
    }
    let why = "HTTP: the client closed it after 1.000 s without a message, the server having said timeout=5";
    assert_eq!(exchange.why(&ended(Verdict::PeerClose)).unwrap(), why);
}

#[test]
fn tokens_are_listed() {
    assert_eq!(Tokens { close: false, keep_alive: true, upgrade: true }.to_string(), "keep-alive, upgrade");
    assert_eq!(Tokens::default().to_string(), "");
}

/// What was found on the client's host, whose keepalive comes after so many seconds, or is off.
fn found(passed: &[(u64, Passed)], time_s: Option<i32>, at_ns: u64) -> (String, String) {
    let mut exchange = Exchange::default();
    for (at_ns, passed) in passed {
        exchange.note(*at_ns, passed);
    }
    let sourced = |value| Sourced { value, origin: Origin::Sysctl };
    let settings = Settings {
        keepalive: time_s.is_some(),
        time_s: sourced(time_s.unwrap_or(7200)),
        intvl_s: sourced(75),
        probes: Sourced { value: 9, origin: Origin::Sysctl },
        user_timeout_ms: 0,
    };
    let around = Around { settings: Some(settings), at_ns, ..ended(Verdict::PeerClose) };
    (exchange.end(&around).unwrap().findings.to_string(), exchange.why(&around).unwrap())
}

fn after_idling(passed: Passed, idle_ns: u64) -> Passed {
    Passed { idle_ns: Some(idle_ns), ..passed }
}

#[test]
fn a_server_that_closes_earlier_than_it_said_breaks_its_promise() {
    let closed = |idle, extra: &[Passed]| {
        let all = [&[get(0), response(200, promise(5, None))], extra, &[fin(false, 200, idle)]].concat();
        found(&all.into_iter().map(|passed| (0, passed)).collect::<Vec<_>>(), Some(1), 0)
    };
    let (findings, why) = closed(2 * SECOND, &[]);
    assert_eq!(findings, "promise-broken");
    assert!(why.ends_with("having said timeout=5; that is earlier than it had promised"), "{why}");
    assert_eq!(closed(4 * SECOND, &[]).0, "");
    // What was announced is no surprise.
    let last = Message { connection: Tokens { close: true, ..Tokens::default() }, ..message(Line::Response(200)) };
    assert_eq!(closed(0, &[get(10), said(last, false)]).0, "");
}

#[test]
fn more_answers_than_were_promised_break_the_promise_of_the_server_and_more_requests_that_of_the_client() {
    let exchanges = |count: u32, promised: fn(u32) -> Option<u32>| {
        let exchange = |n: u32| [(0, get(n)), (0, response(200, Promise { timeout_s: None, max: promised(n) }))];
        found(&(0..count).flat_map(exchange).collect::<Vec<_>>(), Some(1), 0)
    };
    assert_eq!([3, 4].map(|count| exchanges(count, |_| Some(3)).0), ["", "promise-broken, reuse-beyond-promise"]);
    assert_eq!(exchanges(4, |n| 3_u32.checked_sub(n)).0, "");
    assert_eq!(exchanges(4, |n| (n == 0).then_some(3)).0, "");
    let why = exchanges(5, |n| (n == 0).then_some(3)).1;
    let ends = "; the server answered 5 requests, more than it had promised; the client asked 5 times, more than it was allowed";
    assert!(why.ends_with(ends), "{why}");
}

#[test]
fn a_client_that_asks_when_the_timeout_is_over_races_the_close() {
    let asked = |idle| {
        let all = [get(0), response(200, promise(5, None)), after_idling(get(100), idle), response(200, promise(5, None))];
        found(&all.map(|passed| (0, passed)), Some(1), 0)
    };
    let (findings, why) = asked(5 * SECOND);
    assert_eq!(findings, "reuse-beyond-promise");
    assert!(why.ends_with("; the client asked again after 5.000 s, when timeout=5 was over"), "{why}");
    assert_eq!(asked(5 * SECOND - 1).0, "");
    // What comes late to the server may have been sent in time.
    let mut exchange = Exchange::default();
    let all = [get(0), response(200, promise(5, None)), after_idling(get(100), 6 * SECOND)];
    all.iter().for_each(|passed| _ = exchange.note(0, &Passed { left: !passed.left, ..*passed }));
    assert!(exchange.end(&ended(Verdict::PeerClose)).unwrap().findings.is_empty());
}

#[test]
fn keepalive_that_comes_after_https_timeout_never_acts() {
    let closed = |time_s| {
        let all = [get(0), response(200, Promise::default()), fin(false, 100, 60 * SECOND)];
        found(&all.map(|passed| (0, passed)), time_s, 0)
    };
    let (findings, why) = closed(Some(7200));
    assert_eq!(findings, "keepalive-never-acts");
    assert!(why.ends_with("; TCP keepalive, at 7200 s, could never act"), "{why}");
    assert_eq!([closed(Some(60)).0, closed(None).0], ["", ""]);
}

#[test]
fn a_close_that_was_due_and_did_not_come_is_a_zombie_that_nobody_watches() {
    let silent = |time_s, at_ns| {
        let all = [(0, get(0)), (SECOND, response(200, promise(5, None)))];
        found(&all, time_s, at_ns)
    };
    let (findings, why) = silent(None, 60 * SECOND);
    assert_eq!(findings, "zombie-uncovered");
    assert!(why.starts_with("HTTP: neither the client nor the server closed it, 59.000 s without a message, the server having said timeout=5; the server's close was due"), "{why}");
    assert_eq!([silent(None, 7 * SECOND).0, silent(Some(7200), 60 * SECOND).0], ["", ""]);
}

#[test]
fn what_reuse_saved_is_measured_by_its_own_handshake_or_by_that_of_another_one() {
    let mut exchange = Exchange::default();
    (0..3).for_each(|n| _ = exchange.note(0, &get(n)));
    let saved = |connect_us, peer_us| exchange.end(&Around { connect_us, peer_us, ..ended(Verdict::PeerClose) }).unwrap().saved;
    assert_eq!(saved(Some(100), Some(7)), Some(Saved { us: 200, from: SavedFrom::Connection }));
    assert_eq!(saved(None, Some(7)), Some(Saved { us: 14, from: SavedFrom::Peer }));
    assert_eq!(saved(None, None), None);
}

#[test]
fn another_protocol_is_said_and_ends_the_story() {
    let exchange = |passed: &[Passed]| {
        let mut exchange = Exchange::default();
        passed.iter().for_each(|passed| _ = exchange.note(0, passed));
        let around = ended(Verdict::PeerClose);
        (exchange.end(&around).map(|end| (end.cause, end.requests)), exchange.why(&around).unwrap())
    };
    let other = |other| Passed { left: true, idle_ns: None, what: What::Other(other) };
    let (end, why) = exchange(&[other(Other::Http2), get(0), fin(false, 0, SECOND)]);
    assert_eq!((end, why.as_str()), (None, "HTTP: it spoke HTTP/2, which is not read"));
    let (end, why) = exchange(&[get(0), response(101, Promise::default()), get(9), fin(false, 0, SECOND)]);
    assert_eq!(end, Some((None, 1)));
    assert_eq!(why, "HTTP: from response 1 (101) on it spoke another protocol, which is not read");
    let (end, why) = exchange(&[get(0), response(200, Promise::default()), other(Other::After(200)), fin(false, 0, SECOND)]);
    assert_eq!(end, Some((None, 1)));
    assert!(why.contains("response 1 (200)"), "{why}");
}
