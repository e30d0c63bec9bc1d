use super::*;
use crate::model::http::{Line, Method};

const SK: u64 = 7;

fn segment(marks: u8, seq: u32, len: usize) -> Segment {
    Segment { sk: SK, idle_ns: 1, seq, len: len as u32, captured: len as u32, marks, ..Segment::default() }
}

/// What is read of some segments: each its marks, its sequence number and its bytes.
fn read(segments: &[(u8, u32, &str)]) -> (Vec<String>, u64) {
    let mut heads = Heads::default();
    let mut lines = Vec::new();
    for (marks, seq, text) in segments {
        for passed in heads.read(&segment(*marks, *seq, text.len()), text.as_bytes()) {
            let way = if passed.left { ">" } else { "<" };
            lines.push(match passed.what {
                What::Message(message, seq) => match message.line {
                    Line::Request(method) => format!("{way} {} at {seq}", method.name()),
                    Line::Response(status) => format!("{way} {status} at {seq}"),
                },
                What::Other(other) => format!("{way} {other:?}"),
                What::Close { rst, ack: _ } => format!("{way} {}", if rst { "RST" } else { "FIN" }),
            });
        }
    }
    (lines, heads.take_unreadable())
}

const BEGIN: u8 = mark::START;
const OUT: u8 = mark::EGRESS;

#[test]
fn a_head_may_come_in_any_number_of_pieces() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for first in 1..text.len() - 1 {
        for second in first + 1..text.len() {
            let pieces = [
                (BEGIN, 10, &text[..first]),
                (0, 10 + first as u32, &text[first..second]),
                (0, 10 + second as u32, &text[second..]),
            ];
            assert_eq!(read(&pieces), (vec!["< GET at 10".to_owned()], 0), "{pieces:?}");
            let [one, two, three] = pieces;
            assert_eq!(read(&[one, three, two]), (vec!["< GET at 10".to_owned()], 0), "out of order: {pieces:?}");
        }
    }
}

#[test]
fn sequence_numbers_begin_again_within_a_head() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let seq = u32::MAX - 5;
    let pieces = [(BEGIN, seq, &text[..9]), (0, seq.wrapping_add(9), &text[9..])];
    assert_eq!(read(&pieces).0, [format!("< GET at {seq}")]);
}

#[test]
fn requests_and_answers_in_one_segment_are_told_apart() {
    let requests = "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET HEAD / HTTP/1.1\r\n\r\n";
    assert_eq!(read(&[(BEGIN | OUT, 0, requests)]).0, ["> GET at 0", "> POST at 18", "> HEAD at 60"]);
    let answers = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/HTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(read(&[(BEGIN, 0, answers)]).0, ["< 100 at 0", "< 200 at 25", "< 204 at 68"]);
}

#[test]
fn a_body_that_looks_like_a_message_is_none() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n";
    let inside = "HTTP/1.1 500 No\r\n\r\n";
    let segments = [(BEGIN, 0, head), (BEGIN, 39, inside), (BEGIN, 99, "HTTP/1.1 204 No Content\r\n\r\n")];
    assert_eq!(read(&segments), (vec!["< 200 at 0".to_owned(), "< 204 at 99".to_owned()], 0));
}

#[test]
fn the_answer_to_head_has_no_body() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n";
    let segments =
        [(BEGIN | OUT, 0, "HEAD / HTTP/1.1\r\n\r\n"), (BEGIN, 0, answer), (BEGIN, 39, "HTTP/1.1 204 No Content\r\n\r\n")];
    assert_eq!(read(&segments).0, ["> HEAD at 0", "< 200 at 0", "< 204 at 39"]);
}

#[test]
fn what_is_no_http_is_counted_and_left() {
    assert_eq!(read(&[(BEGIN, 0, "GET \x01\x02\x03")]), (vec![], 1));
    assert_eq!(read(&[(0, 0, "in the middle of a head\r\n\r\n")]), (vec![], 0));
}

#[test]
fn a_head_of_which_something_is_missing_is_counted() {
    let mut heads = Heads::default();
    let text = b"GET / HTTP/1.1\r\n";
    assert_eq!(heads.read(&Segment { len: 9000, ..segment(BEGIN | mark::CUT, 0, text.len()) }, text), []);
    assert_eq!(heads.take_unreadable(), 1);
}

#[test]
fn a_close_is_a_close_with_payload_and_without() {
    assert_eq!(read(&[(mark::FIN, 0, ""), (mark::RST | OUT, 0, "")]).0, ["< FIN", "> RST"]);
    let segments = [(BEGIN | mark::FIN, 0, "HTTP/1.0 200 OK\r\n\r\nbody")];
    assert_eq!(read(&segments).0, ["< 200 at 0", "< FIN"]);
}

#[test]
fn the_child_of_a_listener_has_no_address_before_its_second_segment() {
    let mut heads = Heads::default();
    let (one, two) = (b"HEAD / HTTP/1.1\r\n", b"\r\n");
    let listener = Segment { sk: 1, lport: 80, rport: 4711, ..segment(BEGIN | mark::LISTENER, 0, one.len()) };
    assert_eq!(heads.read(&listener, one), []);
    let other = Segment { rport: 4712, ..segment(mark::CHILD, 17, two.len()) };
    assert_eq!(heads.read(&other, two), [], "of another child's beginning nothing is known");
    let child = Segment { lport: 80, rport: 4711, ..segment(mark::CHILD, 17, two.len()) };
    assert_eq!(heads.read(&child, two).len(), 1);
    // What was asked is known of the child too: this answer has no body.
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(heads.read(&segment(BEGIN | OUT, 0, answer.len()), answer).len(), 2);
    assert_eq!((heads.unborn.len(), heads.held(), heads.take_unreadable()), (0, 0, 0));
}

#[test]
fn children_that_are_never_seen_again_are_forgotten_and_what_they_had_begun_is_counted() {
    let mut heads = Heads::default();
    for rport in 0..2 * UNBORN as u16 {
        heads.read(&Segment { rport, ..segment(BEGIN | mark::LISTENER, 0, 5) }, b"GET /");
    }
    assert_eq!((heads.unborn.len(), heads.held(), heads.take_unreadable()), (UNBORN, 5 * UNBORN, UNBORN as u64));
}

#[test]
fn heads_that_never_end_take_no_more_than_their_room() {
    let mut heads = Heads::default();
    let piece = [b'x'; 8192];
    let connections = Heads::MOST as u64 / 8192 + 10;
    for sk in 0..connections {
        heads.read(&Segment { sk, ..segment(BEGIN, 0, 5) }, b"GET /");
        heads.read(&Segment { sk, ..segment(0, 5, piece.len()) }, &piece);
        assert!(heads.held() <= Heads::MOST);
    }
    let counted = heads.take_unreadable();
    assert!(counted >= 10, "{counted}");
    (0..connections).for_each(|sk| heads.forget(sk));
    assert_eq!((heads.held(), counted + heads.take_unreadable()), (0, connections));
}

#[test]
fn what_comes_again_is_read_once() {
    let get = (BEGIN, 0, "GET / HTTP/1.1\r\n\r\n");
    let half = (BEGIN, 18, "GET / HTTP/1.1\r\n");
    let segments = [get, get, half, get, half, (0, 18, half.2), (0, 34, "\r\n"), (0, 34, "\r\n"), half];
    assert_eq!(read(&segments), (vec!["< GET at 0".to_owned(), "< GET at 18".to_owned()], 0));
    let chunked = (BEGIN, 0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n");
    assert_eq!(read(&[chunked, chunked]), (vec!["< 200 at 0".to_owned()], 0));
}

#[test]
fn where_messages_are_missing_between_two_that_is_counted() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(
        read(&[(BEGIN, 0, ok), (BEGIN, 43, ok), (BEGIN, 129, ok)]),
        (vec!["< 200 at 0".into(), "< 200 at 43".into(), "< 200 at 129".into()], 1)
    );
}

#[test]
fn a_head_of_which_no_more_is_passed_on_is_counted_at_once() {
    let get = "GET / HTTP/1.1\r\n\r\n";
    let again = [(BEGIN, 0, get), (BEGIN | mark::CUT, 18, "GET / HTTP/1.1\r\n"), (BEGIN, 9000, get), (BEGIN, 0, get)];
    assert_eq!(read(&again), (vec!["< GET at 0".into(), "< GET at 9000".into()], 1), "and not once more for what follows");
    let cut = (BEGIN | mark::CUT, 0, "GET / HTTP/1.1\r\n");
    assert_eq!(read(&[cut, (BEGIN, 9000, "GET / HTTP/1.1\r\n\r\n")]), (vec!["< GET at 9000".to_owned()], 1));
    assert_eq!(read(&[(BEGIN | mark::CUT, 0, "GET / HTTP/1.1\r\n\r\n")]), (vec!["< GET at 0".to_owned()], 0));
}

#[test]
fn a_head_that_nobody_ends_is_counted_when_its_connection_is_over() {
    let mut heads = Heads::default();
    heads.read(&segment(BEGIN, 0, 5), b"GET /");
    heads.forget(SK);
    assert_eq!((heads.held(), heads.take_unreadable()), (0, 1));
}

#[test]
fn after_a_switch_of_protocols_nothing_more_is_read() {
    let ok = "HTTP/1.1 200 OK\r\n\r\n";
    let upgrade =
        [(BEGIN | OUT, 0, "GET / HTTP/1.1\r\n\r\n"), (BEGIN, 0, "HTTP/1.1 101 Switching Protocols\r\n\r\n"), (BEGIN, 36, ok)];
    assert_eq!(read(&upgrade), (vec!["> GET at 0".into(), "< 101 at 0".into(), "< After(101)".into()], 0));
    let tunnel = [(BEGIN | OUT, 0, "CONNECT a:1 HTTP/1.1\r\n\r\n"), (BEGIN, 0, ok), (BEGIN | OUT, 24, "GET \x01")];
    assert_eq!(read(&tunnel), (vec!["> CONNECT at 0".into(), "< 200 at 0".into(), "< After(200)".into()], 0));
    let http2 = [(BEGIN | OUT, 0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"), (BEGIN, 0, ok)];
    assert_eq!(read(&http2), (vec!["> Http2".to_owned()], 0));
    assert_eq!(read(&[(BEGIN, 0, "PRI me a river\r\n\r\n")]), (vec![], 1));
}

mod properties;
