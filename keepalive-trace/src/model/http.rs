//! HTTP Keep-Alive on one connection: what was promised, what was asked and answered, and who hung up first.
//!
//! RFC 9112, chapter 9. No byte of a message comes here: only what its head said of the connection.
use std::fmt;

/// What a message's head says, as far as it matters to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub line: Line,
    /// HTTP/1.0: connections close unless somebody asks for `keep-alive`.
    pub is_1_0: bool,
    pub connection: Tokens,
    pub promise: Promise,
}

/// A message's first line, without what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    Request(Method),
    /// The status code.
    Response(u16),
}

/// Methods of RFC 9110, and PATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl Method {
    pub const ALL: [Self; 9] =
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Delete, Self::Connect, Self::Options, Self::Trace, Self::Patch];

    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

/// What `Connection` lists, of what is known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tokens {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.close, "close"), (self.keep_alive, "keep-alive"), (self.upgrade, "upgrade")];
        for (place, (_, name)) in all.into_iter().filter(|(is, _)| *is).enumerate() {
            f.write_str(if place == 0 { "" } else { ", " })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// What `Keep-Alive` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promise {
    /// Kept open so long while idle, seconds.
    pub timeout_s: Option<u32>,
    /// So many requests more.
    pub max: Option<u32>,
}

/// A message, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    pub line: Line,
    /// Which request of this connection, or the response to which, from 1, as far as they were seen.
    pub n: u32,
    pub connection: Tokens,
    pub promise: Promise,
    /// Since whatever was sent or received before it, milliseconds: of a request how long the connection lay idle.
    pub idle_before_ms: Option<u64>,
}

/// A segment of the connection that says something about HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// It left this host; otherwise it came.
    pub left: bool,
    /// Since the payload before it, nanoseconds.
    pub idle_ns: Option<u64>,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The head of a message, whose first byte has this sequence number.
    Message(Message, u32),
    /// From now on the connection speaks another protocol.
    Other(Other),
    /// A FIN, or else a RST; and up to where its sender has received.
    Close { rst: bool, ack: u32 },
}

/// What a connection speaks that is no HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Http2,
    /// Whatever was agreed on with this response.
    After(u16),
}

/// The story of one connection, as far as HTTP goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// This host asks.
    asks: Option<bool>,
    requests: u32,
    /// Final ones: no 100 among them.
    responses: u32,
    /// The last that was given.
    promise: Promise,
    /// Requests that were answered since then.
    since_promise: u32,
    /// Somebody said that the connection closes after this exchange.
    closes: bool,
    /// The connection speaks something else now.
    other: Option<Other>,
    last_request: Option<u32>,
    close: Option<Close>,
}

/// Who hung up first, and how things were then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Close {
    by_server: bool,
    rst: bool,
    idle_ns: Option<u64>,
    /// Requests that had no answer.
    unanswered: u32,
    /// A request that the server had not received when it closed.
    crossed: bool,
}

/// What HTTP has to do with a connection's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub cause: Option<Cause>,
    pub requests: u32,
    /// Final ones.
    pub responses: u32,
    /// The time that the handshakes which reuse saved would have taken, microseconds, by that of this connection.
    pub saved_us: Option<u64>,
}

impl End {
    /// Connections that did not have to be made.
    pub fn handshakes_saved(&self) -> u32 {
        self.requests.saturating_sub(1)
    }
}

/// Why the server, or the client, hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The server closed when it had been idle for as long as it allows.
    IdleTimeout,
    /// The server had answered as many requests as it allows.
    MaxRequests,
    /// Somebody had said `Connection: close`, or spoke HTTP/1.0 without `keep-alive`.
    ConnectionClose,
    /// A request met the close.
    Race,
}

impl Cause {
    pub const ALL: [Self; 4] = [Self::IdleTimeout, Self::MaxRequests, Self::ConnectionClose, Self::Race];

    pub fn name(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle-timeout",
            Self::MaxRequests => "max-requests",
            Self::ConnectionClose => "connection-close",
            Self::Race => "race",
        }
    }
}

/// A server's clock may tick once a second, and its promise is rounded: it may close so much earlier than it said, nanoseconds.
const EARLY_NS: u64 = 1_000_000_000;

impl Exchange {
    /// Takes in what passed; gives what there is to tell.
    pub fn note(&mut self, Passed { left, idle_ns, what }: &Passed) -> Option<Http> {
        if self.other.is_some() {
            return None;
        }
        match what {
            What::Message(message, seq) => self.message(message, *seq, *left, *idle_ns),
            What::Other(other) => {
                self.other = Some(*other);
                None
            }
            What::Close { rst, ack } => {
                self.closed(*left, *rst, *ack, *idle_ns);
                None
            }
        }
    }

    fn message(&mut self, message: &Message, seq: u32, left: bool, idle_ns: Option<u64>) -> Option<Http> {
        let Message { line, is_1_0, connection, promise } = *message;
        let n = match line {
            Line::Request(_) => {
                self.asks.get_or_insert(left);
                self.requests += 1;
                self.last_request = Some(seq);
                if let Some(close) = &mut self.close {
                    close.crossed |= close.by_server;
                }
                self.requests
            }
            Line::Response(status) => {
                self.asks.get_or_insert(!left);
                // Its request may have been before anybody looked.
                self.requests = self.requests.max(self.responses + 1);
                let n = self.responses + 1;
                if (100..200).contains(&status) && status != 101 {
                    return Some(Http { line, n, connection, promise, idle_before_ms: idle_ns.map(|ns| ns / 1_000_000) });
                }
                self.other = (status == 101).then_some(Other::After(status));
                self.responses = n;
                self.since_promise += 1;
                if promise != Promise::default() {
                    (self.promise, self.since_promise) = (promise, 0);
                }
                n
            }
        };
        // A client of HTTP/1.0 must ask for it each time, and is told each time that it has it.
        self.closes |= connection.close || is_1_0 && !connection.keep_alive && matches!(line, Line::Response(_));
        Some(Http { line, n, connection, promise, idle_before_ms: idle_ns.map(|ns| ns / 1_000_000) })
    }

    fn closed(&mut self, left: bool, rst: bool, ack: u32, idle_ns: Option<u64>) {
        let Some(asks) = self.asks else { return };
        if self.close.is_some() {
            return;
        }
        let by_server = left != asks;
        let unanswered = self.requests - self.responses;
        // The client's sequence numbers: what the server has received ends where it expects the next.
        let after = |seq: u32| seq.wrapping_sub(ack).cast_signed() >= 0;
        let crossed = by_server && unanswered > 0 && self.last_request.is_some_and(after);
        self.close = Some(Close { by_server, rst, idle_ns, unanswered, crossed });
    }

    /// What it was in the end; none where no message was seen. `connect_us`: how long this connection's handshake took.
    pub fn end(&self, connect_us: Option<u64>) -> Option<End> {
        let (requests, responses) = (self.requests, self.responses);
        let saved = requests.checked_sub(1)?;
        let saved_us = connect_us.map(|us| us * u64::from(saved)).filter(|_| saved > 0);
        Some(End { cause: self.cause(), requests, responses, saved_us })
    }

    fn cause(&self) -> Option<Cause> {
        let close = self.close.filter(|_| self.other.is_none())?;
        if close.crossed {
            return Some(Cause::Race);
        }
        if close.unanswered > 0 {
            return None;
        }
        if close.by_server && self.promise.max.is_some_and(|max| self.since_promise >= max) {
            return Some(Cause::MaxRequests);
        }
        if self.closes {
            return Some(Cause::ConnectionClose);
        }
        let lasted = |timeout: u32| close.idle_ns.is_some_and(|ns| ns + EARLY_NS >= u64::from(timeout) * 1_000_000_000);
        (close.by_server && self.promise.timeout_s.is_none_or(lasted)).then_some(Cause::IdleTimeout)
    }

    /// One part of a sentence: where something else was spoken, of which nothing is told.
    pub fn spoke(&self) -> Option<String> {
        Some(match self.other? {
            Other::Http2 => "HTTP: it spoke HTTP/2, which is not read".to_owned(),
            Other::After(status) => {
                format!("HTTP: from response {} ({status}) on it spoke another protocol, which is not read", self.responses)
            }
        })
    }

    /// One half of a sentence, for the reason of the connection's end.
    pub fn why(&self) -> Option<String> {
        let close = self.close?;
        let who = if close.by_server { "the server" } else { "the client" };
        let how = if close.rst { "reset it" } else { "closed it" };
        let idle = close.idle_ns.map_or_else(String::new, |ns| format!(" after {:.3} s without a message", ns as f64 / 1e9));
        let mut why = format!("HTTP: {who} {how}{idle}");
        match self.promise {
            Promise { timeout_s: Some(timeout), max: Some(max) } => why += &format!(", having said timeout={timeout}, max={max}"),
            Promise { timeout_s: Some(timeout), max: None } => why += &format!(", having said timeout={timeout}"),
            Promise { timeout_s: None, max: Some(max) } => why += &format!(", having said max={max}"),
            Promise { timeout_s: None, max: None } => {}
        }
        if close.crossed {
            why += "; a request met the close";
        } else if close.unanswered > 0 {
            why += &format!("; {} of {} requests had no answer", close.unanswered, self.requests);
        } else if self.closes {
            why += "; it had been announced (Connection: close, or HTTP/1.0)";
        }
        Some(why)
    }
}

#[cfg(test)]
mod tests;
