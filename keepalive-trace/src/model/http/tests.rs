use super::{
    Cause::{ConnectionClose, IdleTimeout, MaxRequests, Race},
    *,
};

const SECOND: u64 = 1_000_000_000;

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
            exchange.note(&Passed { left: passed.left != mirrored, ..*passed });
        }
        let end = exchange.end(None).unwrap();
        (end.cause, end.requests, end.responses)
    };
    assert_eq!(told(false), told(true));
    told(false)
}

#[test]
fn an_idle_server_closes_when_it_said_or_within_a_second_before() {
    let idle = |ns, promised| told(&[get(0), response(200, promised), fin(false, 100, ns)]);
    assert_eq!(idle(5 * SECOND, promise(5, 100)), (Some(IdleTimeout), 1, 1));
    assert_eq!(idle(4 * SECOND, promise(5, None)), (Some(IdleTimeout), 1, 1));
    assert_eq!(idle(4 * SECOND - 1, promise(5, None)), (None, 1, 1));
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
fn as_many_requests_as_were_promised_are_answered() {
    let passed = [get(0), response(200, promise(5, 2)), get(10), response(200, promise(None, None)), get(20)];
    let whole = [&passed[..], &[response(200, Promise::default()), fin(false, 30, 0)]].concat();
    assert_eq!(told(&whole), (Some(MaxRequests), 3, 3));
    let short = [&passed[..4], &[fin(false, 30, 6 * SECOND)]].concat();
    assert_eq!(told(&short).0, Some(IdleTimeout));
}

#[test]
fn http_1_0_closes_unless_it_says_keep_alive() {
    let old = |connection| Message { is_1_0: true, connection, ..message(Line::Response(200)) };
    let passed = |connection| told(&[get(0), said(old(connection), false), fin(false, 10, 5 * SECOND)]).0;
    assert_eq!(passed(Tokens::default()), Some(ConnectionClose));
    assert_eq!(passed(Tokens { keep_alive: true, ..Tokens::default() }), Some(IdleTimeout));
}

#[test]
fn an_interim_response_is_not_the_answer_and_an_upgrade_ends_http() {
    let mut exchange = Exchange::default();
    exchange.note(&get(0));
    let n = |passed| exchange.note(&passed).map(|http| http.n);
    let numbers = [response(100, Promise::default()), response(200, Promise::default())].map(n);
    assert_eq!(numbers, [Some(1), Some(1)]);
    exchange.note(&get(10));
    exchange.note(&response(101, Promise::default()));
    assert_eq!(exchange.note(&get(20)), None);
    exchange.note(&fin(false, 100, 9 * SECOND));
    let end = exchange.end(Some(300)).unwrap();
    assert_eq!((end.cause, end.requests, end.handshakes_saved(), end.saved_us), (None, 2, 1, Some(300)));
}

#[test]
fn without_a_message_nothing_is_said() {
    let mut exchange = Exchange::default();
    exchange.note(&fin(true, 0, 0));
    assert_eq!((exchange.end(Some(1)), exchange.why()), (None, None));
}

#[test]
fn what_was_said_and_what_was_done_stand_side_by_side() {
    let mut exchange = Exchange::default();
    for passed in [get(0), response(200, promise(5, 100)), get(100), fin(false, 100, 5_000_400_000)] {
        exchange.note(&passed);
    }
    let why =
        "HTTP: the server closed it after 5.000 s without a message, having said timeout=5, max=100; a request met the close";
    assert_eq!(exchange.why().as_deref(), Some(why));
}

#[test]
fn tokens_are_listed() {
    assert_eq!(Tokens { close: false, keep_alive: true, upgrade: true }.to_string(), "keep-alive, upgrade");
    assert_eq!(Tokens::default().to_string(), "");
}

#[test]
fn another_protocol_is_said_and_ends_the_story() {
    let exchange = |passed: &[Passed]| {
        let mut exchange = Exchange::default();
        passed.iter().for_each(|passed| _ = exchange.note(passed));
        (exchange.end(None).map(|end| (end.cause, end.requests)), exchange.why(), exchange.spoke())
    };
    let other = |other| Passed { left: true, idle_ns: None, what: What::Other(other) };
    let (end, why, spoke) = exchange(&[other(Other::Http2), get(0), fin(false, 0, SECOND)]);
    assert_eq!((end, why, spoke.as_deref()), (None, None, Some("HTTP: it spoke HTTP/2, which is not read")));
    let switched = Some("HTTP: from response 1 (101) on it spoke another protocol, which is not read");
    let (end, why, spoke) = exchange(&[get(0), response(101, Promise::default()), get(9), fin(false, 0, SECOND)]);
    assert_eq!((end, why, spoke.as_deref()), (Some((None, 1)), None, switched));
    let (end, why, spoke) =
        exchange(&[get(0), response(200, Promise::default()), other(Other::After(200)), fin(false, 0, SECOND)]);
    assert_eq!((end, why), (Some((None, 1)), None));
    assert!(spoke.is_some_and(|spoke| spoke.contains("response 1 (200)")));
}
