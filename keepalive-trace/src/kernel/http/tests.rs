use super::*;

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
    assert_eq!(heads.read(&Segment { len: 9000, ..segment(BEGIN, 0, text.len()) }, text), []);
    assert_eq!(heads.take_unreadable(), 1);
}

#[test]
fn a_close_is_a_close_with_payload_and_without() {
    assert_eq!(read(&[(mark::FIN, 0, ""), (mark::RST | OUT, 0, "")]).0, ["< FIN", "> RST"]);
    let segments = [(BEGIN | mark::FIN, 0, "HTTP/1.0 200 OK\r\n\r\nbody")];
    assert_eq!(read(&segments).0, ["< 200 at 0", "< FIN"]);
}

#[test]
fn the_child_of_a_listener_has_no_address_yet() {
    let mut heads = Heads::default();
    let text = b"GET / HTTP/1.1\r\n\r\n";
    let passed = heads.read(&segment(BEGIN | mark::LISTENER, 0, text.len()), text);
    assert_eq!((passed.len(), heads.flows.len()), (1, 0));
}

mod properties {
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::*;

    /// A message of the client's, and its name; with a body or without.
    fn request() -> impl Strategy<Value = (String, &'static str)> {
        let body = option::of(select(vec!["", "hello", "GET / HTTP/1.1\r\n\r\n", "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]));
        (select(Method::ALL.to_vec()), vec("[a-z]{1,9}: [ -~]{0,30}", 0..4), body).prop_map(|(method, headers, body)| {
            let mut text = format!("{} /path HTTP/1.1\r\n", method.name());
            headers.iter().for_each(|header| text += &format!("x-{header}\r\n"));
            match body {
                Some(body) => text += &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
                None => text += "\r\n",
            }
            (text, method.name())
        })
    }

    /// Segments as the kernel side passes them on: those in which a head begins or goes on, and no more of each than the head.
    fn passed_on(stream: &str, cuts: &[prop::sample::Index]) -> Vec<(u8, u32, String)> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).chain([0, stream.len()]).collect();
        at.sort_unstable();
        at.dedup();
        let pieces = at.windows(2).map(|ends| (ends[0], &stream[ends[0]..ends[1]]));
        pieces.map(|(start, piece)| (if start == 0 { BEGIN } else { 0 }, start as u32, piece.to_owned())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_heap_of_requests_is_read_whole_however_it_comes(requests in vec(request(), 1..5), cuts in vec(any::<prop::sample::Index>(), 0..4)) {
            let stream: String = requests.iter().map(|(text, _)| text.as_str()).collect();
            let names: Vec<&str> = requests.iter().map(|(_, name)| *name).collect();
            let segments = passed_on(&stream, &cuts);
            let segments: Vec<(u8, u32, &str)> = segments.iter().map(|(marks, seq, text)| (*marks, *seq, text.as_str())).collect();
            let (lines, unreadable) = read(&segments);
            // What follows a head that ends with its segment begins one of its own, which the kernel side marks.
            if segments.len() == 1 {
                let seen: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').nth(1)).collect();
                prop_assert_eq!(seen, names);
            }
            prop_assert_eq!(unreadable, 0);
        }

        #[test]
        fn no_bytes_make_it_fall(segments in vec((any::<u8>(), any::<u32>(), any::<u32>(), any::<u32>(), vec(any::<u8>(), 0..200)), 0..20)) {
            let mut heads = Heads::default();
            for (marks, seq, len, captured, bytes) in segments {
                let mut bytes = bytes;
                if marks & 0x40 != 0 {
                    bytes.splice(0..0, *b"GET / HTTP/1.1\r\n");
                }
                let segment = Segment { marks, seq, len, captured, ..segment(marks, seq, 0) };
                heads.read(&segment, &bytes);
            }
        }
    }
}
