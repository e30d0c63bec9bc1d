//! What HTTP has to do with a connection's end, and what was wrong with how it was kept.
use std::fmt;

/// What it came to in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub cause: Option<Cause>,
    pub requests: u32,
    /// Final ones.
    pub responses: u32,
    pub saved: Option<Saved>,
    pub findings: Findings,
}

impl End {
    /// Connections that did not have to be made.
    pub fn handshakes_saved(&self) -> u32 {
        self.requests.saturating_sub(1)
    }

    /// A request met the close, or somebody kept to nothing that was said.
    pub fn is_bad(&self) -> bool {
        self.cause == Some(Cause::Race) || self.findings.iter().any(|finding| finding != Finding::KeepaliveNeverActs)
    }
}

/// The time that the handshakes which reuse saved would have taken: an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Microseconds.
    pub us: u64,
    pub from: SavedFrom,
}

/// Which handshake was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SavedFrom {
    /// This connection's.
    Connection,
    /// That of the last one to the same address.
    Peer,
}

impl SavedFrom {
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Peer => "peer",
        }
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

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// The server closed earlier than it had said, or answered more requests.
    PromiseBroken,
    /// The client went on when the server had said that it would be over: that races the close.
    ReuseBeyondPromise,
    /// HTTP's timeout is shorter than `tcp_keepalive_time`: no probe is ever sent.
    KeepaliveNeverActs,
    /// The server's close was due and did not come, and keepalive is off: if the server is gone, nobody notices.
    ZombieUncovered,
}

impl Finding {
    pub const ALL: [Self; 4] = [Self::PromiseBroken, Self::ReuseBeyondPromise, Self::KeepaliveNeverActs, Self::ZombieUncovered];

    pub fn name(self) -> &'static str {
        match self {
            Self::PromiseBroken => "promise-broken",
            Self::ReuseBeyondPromise => "reuse-beyond-promise",
            Self::KeepaliveNeverActs => "keepalive-never-acts",
            Self::ZombieUncovered => "zombie-uncovered",
        }
    }
}

/// Findings, each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Findings(u8);

impl Findings {
    pub fn add(&mut self, finding: Finding) {
        self.0 |= 1 << finding as u8;
    }

    pub fn has(self, finding: Finding) -> bool {
        self.0 & 1 << finding as u8 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Finding> {
        Finding::ALL.into_iter().filter(move |finding| self.has(*finding))
    }
}

impl FromIterator<Finding> for Findings {
    fn from_iter<I: IntoIterator<Item = Finding>>(all: I) -> Self {
        let mut findings = Self::default();
        all.into_iter().for_each(|finding| findings.add(finding));
        findings
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, finding) in self.iter().enumerate() {
            f.write_str(if place == 0 { "" } else { ", " })?;
            f.write_str(finding.name())?;
        }
        Ok(())
    }
}
