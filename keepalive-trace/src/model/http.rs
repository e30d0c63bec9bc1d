//! HTTP Keep-Alive on one connection: what was promised, what was asked and answered, and who hung up first.
//!
//! RFC 9112, chapter 9. No byte of a message comes here: only what its head said of the connection.
use std::fmt;

mod end;
mod exchange;

pub use end::{Cause, End, Finding, Findings, Saved, SavedFrom};
pub use exchange::{Around, Exchange, SLACK_NS};

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

#[cfg(test)]
mod tests;
