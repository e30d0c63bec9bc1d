//! The head of one message: what matters of it, and nothing else.
use httparse::{EMPTY_HEADER, Header, Request, Response, Status};

use crate::model::http::{Line, Message, Method, Promise, Tokens};

/// Headers that a head may have. One with more is not read.
const MOST_HEADERS: usize = 256;

/// What stands where a message should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    Whole(Head),
    /// Its end is still to come.
    Begun,
    Senseless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub message: Message,
    pub body: Body,
    /// Bytes of the head.
    pub len: usize,
}

/// What comes between a head and the next message of that direction (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks, or all until the connection closes: nobody knows from here where it ends.
    Open,
}

/// Reads the head with which these bytes begin. `to`: the method that a response answers, where it is known.
pub fn parse(bytes: &[u8], to: Option<Method>) -> Parsed {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    if bytes.starts_with(b"HTTP") {
        let mut response = Response::new(&mut headers);
        match response.parse(bytes) {
            Ok(Status::Complete(len)) => read_response(&response, len, to),
            Ok(Status::Partial) => Parsed::Begun,
            Err(_) => Parsed::Senseless,
        }
    } else {
        let mut request = Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(Status::Complete(len)) => read_request(&request, len),
            Ok(Status::Partial) => Parsed::Begun,
            Err(_) => Parsed::Senseless,
        }
    }
}

fn read_request(request: &Request<'_, '_>, len: usize) -> Parsed {
    let method = Method::ALL.into_iter().find(|method| request.method == Some(method.name()));
    let (Some(method), Some(version)) = (method, request.version) else { return Parsed::Senseless };
    let said = Said::of(request.headers);
    let body = if said.chunked { Body::Open } else { Body::Length(said.length.unwrap_or(0)) };
    Parsed::Whole(Head { message: said.message(Line::Request(method), version), body, len })
}

fn read_response(response: &Response<'_, '_>, len: usize, to: Option<Method>) -> Parsed {
    let (Some(status), Some(version)) = (response.code, response.version) else { return Parsed::Senseless };
    let said = Said::of(response.headers);
    let body = match (status, to, said.length) {
        (100..200 | 204 | 304, ..) | (_, Some(Method::Head), _) => Body::Length(0),
        (_, _, Some(length)) if !said.chunked => Body::Length(length),
        _ => Body::Open,
    };
    Parsed::Whole(Head { message: said.message(Line::Response(status), version), body, len })
}

/// What some headers say.
#[derive(Default)]
struct Said {
    connection: Tokens,
    promise: Promise,
    length: Option<u64>,
    chunked: bool,
}

impl Said {
    fn of(headers: &[Header<'_>]) -> Self {
        let mut said = Self::default();
        for header in headers {
            let name = header.name;
            if name.eq_ignore_ascii_case("connection") {
                for token in list(header.value) {
                    said.connection.close |= token.eq_ignore_ascii_case(b"close");
                    said.connection.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    said.connection.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            } else if name.eq_ignore_ascii_case("keep-alive") {
                for parameter in list(header.value) {
                    let mut halves = parameter.splitn(2, |byte| *byte == b'=');
                    let (name, value) = (halves.next().unwrap_or_default(), halves.next().and_then(number));
                    if name.trim_ascii().eq_ignore_ascii_case(b"timeout") {
                        said.promise.timeout_s = value;
                    } else if name.trim_ascii().eq_ignore_ascii_case(b"max") {
                        said.promise.max = value;
                    }
                }
            } else if name.eq_ignore_ascii_case("content-length") {
                said.length = number(header.value);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                said.chunked = true;
            }
        }
        said
    }

    fn message(&self, line: Line, version: u8) -> Message {
        Message { line, is_1_0: version == 0, connection: self.connection, promise: self.promise }
    }
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// A decimal number, in quotes or not; none where it is none, or too large.
fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    let digits = value.iter().all(u8::is_ascii_digit);
    str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Head {
        match parse(text.as_bytes(), None) {
            Parsed::Whole(head) => head,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_response_promises() {
        let head = whole(
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: Keep-Alive\r\nkeep-alive: timeout=5, max=100\r\n\r\nhello!!",
        );
        assert_eq!(head.message.line, Line::Response(200));
        assert_eq!(head.message.promise, Promise { timeout_s: Some(5), max: Some(100) });
        assert_eq!(head.message.connection.to_string(), "keep-alive");
        assert_eq!((head.body, head.len), (Body::Length(7), 94));
    }

    #[test]
    fn a_request_asks_and_has_no_body_unless_it_says_so() {
        let head = whole("GET /secret HTTP/1.0\r\nCookie: secret\r\nConnection: close, upgrade\r\n\r\n");
        assert_eq!((head.message.line, head.message.is_1_0), (Line::Request(Method::Get), true));
        assert_eq!(head.message.connection.to_string(), "close, upgrade");
        assert_eq!(head.body, Body::Length(0));
        assert_eq!(whole("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").body, Body::Open);
        assert_eq!(whole("POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n").body, Body::Length(12));
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        let Parsed::Whole(head) = parse(text, Some(Method::Head)) else { panic!() };
        assert_eq!(head.body, Body::Length(0));
        assert_eq!(whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n").body, Body::Length(0));
        assert_eq!(whole("HTTP/1.1 200 OK\r\n\r\n").body, Body::Open);
    }

    #[test]
    fn promises_that_make_no_sense_are_none() {
        let promised = |value: &str| whole(&format!("HTTP/1.1 200 OK\r\nKeep-Alive: {value}\r\n\r\n")).message.promise;
        assert_eq!(promised("timeout=\"30\" , MAX = 7"), Promise { timeout_s: Some(30), max: Some(7) });
        for senseless in ["", "timeout", "timeout=", "timeout=-1", "timeout=5s", "timeout=99999999999", "115", "max=+3", "=5"] {
            assert_eq!(promised(senseless), Promise::default(), "{senseless:?}");
        }
    }

    #[test]
    fn what_is_not_whole_is_begun_and_what_is_no_http_is_senseless() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: a\r\n", None), Parsed::Begun);
        assert_eq!(parse(b"HTTP/1.1 2", None), Parsed::Begun);
        assert_eq!(parse(b"GET \x01\x02", None), Parsed::Senseless);
        assert_eq!(parse(b"HTTPS is not it", None), Parsed::Senseless);
        assert_eq!(parse(b"BREW /pot HTTP/1.1\r\n\r\n", None), Parsed::Senseless);
    }
}
