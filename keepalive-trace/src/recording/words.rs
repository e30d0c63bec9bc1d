//! Words: what a column holds again and again, and how each is read back.
mod comm;

use std::{borrow::Cow, hash::Hash, io::Write as _, net::IpAddr, sync::Arc};

use crate::model::{
    errno::Errno,
    event::{How, Outcome, Place, Precision, ProbeResult, ReplyKind},
    http::{Cause, Finding, Findings, Method, SavedFrom, Tokens},
    settings::Origin,
    state::State,
    sysctl::Name,
    verdict::Verdict,
};

/// What stands in a dictionary.
pub(super) trait Word: Clone + Eq + 'static {
    /// Those that every recording begins with.
    const KNOWN: &[Self];

    /// The word as a row has it.
    type Given<'a>: Copy + Hash;

    fn given(&self) -> Self::Given<'_>;

    fn own(given: Self::Given<'_>) -> Self;

    fn is(&self, given: Self::Given<'_>) -> bool;

    /// Whether all words are known ones.
    const IS_CLOSED: bool = false;

    /// Its place among the known words, if that is found without a look into the table.
    fn index(_: Self::Given<'_>) -> Option<u16> {
        None
    }

    fn text(&self) -> Cow<'_, str>;

    /// Appends the text.
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text().as_bytes());
    }

    /// None for a word of a later version.
    fn parse(text: &str) -> Option<Self>;
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Open,
    Owner,
    Settings,
    Timer,
    Probe,
    Reply,
    Reset,
    End,
    Sysctl,
    Lost,
    Stop,
    Http,
    Uneventful,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Owner => "owner",
            Self::Settings => "settings",
            Self::Timer => "timer",
            Self::Probe => "probe",
            Self::Reply => "reply",
            Self::Reset => "reset",
            Self::End => "end",
            Self::Sysctl => "sysctl",
            Self::Lost => "lost",
            Self::Stop => "stop",
            Self::Http => "http",
            Self::Uneventful => "uneventful",
        }
    }
}

/// Which way an HTTP message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Dir {
    Request,
    Response,
}

impl Dir {
    fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// By what way settings changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    Setsockopt,
    Sysctl,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Setsockopt => "setsockopt",
            Self::Sysctl => "sysctl",
        }
    }
}

/// A word that a row has as it is.
macro_rules! given_as_it_is {
    () => {
        type Given<'a> = Self;

        #[inline]
        fn given(&self) -> Self {
            *self
        }

        #[inline]
        fn own(given: Self) -> Self {
            given
        }

        #[inline]
        fn is(&self, given: Self) -> bool {
            *self == given
        }
    };
}

use given_as_it_is;

/// Words of a closed set, by their names. One that is missing here would be written and not read: the build fails.
macro_rules! closed {
    ($($type:ident: $($word:ident)+;)+) => {
        $(impl Word for $type {
            const KNOWN: &[Self] = &[$(Self::$word),+];

            given_as_it_is!();

            const IS_CLOSED: bool = true;

            #[inline]
            fn index(given: Self) -> Option<u16> {
                const {
                    let known = &[$($type::$word as usize),+];
                    let mut place = 0;
                    while place < known.len() {
                        assert!(known[place] == place, "the words are in another order here");
                        place += 1;
                    }
                }
                Some(given as u16)
            }

            fn text(&self) -> Cow<'_, str> {
                match self {
                    $(Self::$word)|+ => Cow::Borrowed(self.name()),
                }
            }

            fn parse(text: &str) -> Option<Self> {
                Self::KNOWN.iter().copied().find(|word| word.name() == text)
            }
        })+
    };
}

closed! {
    Kind: Open Owner Settings Timer Probe Reply Reset End Sysctl Lost Stop Http Uneventful;
    Dir: Request Response;
    Method: Get Head Post Put Delete Connect Options Trace Patch;
    Cause: IdleTimeout MaxRequests ConnectionClose Race;
    SavedFrom: Connection Peer;
    Way: Setsockopt Sysctl;
    How: Snapshot Connect Accept FirstEvent;
    Origin: Socket Sysctl;
    ProbeResult: Sent DroppedLocally Congested;
    Outcome: DataInFlight UnsentData NotIdle SocketBusy KeepaliveOff FinWait2;
    ReplyKind: Ack Reset;
    Precision: Exact Jiffy;
    Place: RingBuffer SkippedRun ConnectionTable Reader;
    Name: Time Intvl Probes;
    Verdict: KeepaliveTimeout UserTimeout PeerResetOnProbe RetransmitTimeout ZeroWindowTimeout OutOfMemory Unknown AdminKill
        PeerReset NeverEstablished OrphanTimeout FinWait2Timeout LocalAbort PeerClose LocalClose;
}

impl Word for Findings {
    const KNOWN: &[Self] = &[];

    given_as_it_is!();

    fn text(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_string())
    }

    /// Those of a later version are left out.
    fn parse(text: &str) -> Option<Self> {
        let named = |name: &str| Finding::ALL.into_iter().find(|finding| finding.name() == name);
        Some(text.split(", ").filter_map(named).collect())
    }
}

impl Word for Tokens {
    const KNOWN: &[Self] = &[];

    given_as_it_is!();

    fn text(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_string())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut tokens = Self::default();
        for token in text.split(", ") {
            match token {
                "close" => tokens.close = true,
                "keep-alive" => tokens.keep_alive = true,
                "upgrade" => tokens.upgrade = true,
                _ => return None,
            }
        }
        Some(tokens)
    }
}

impl Word for State {
    const KNOWN: &[Self] = &Self::CONNECTIONS;

    given_as_it_is!();

    #[inline]
    fn index(given: Self) -> Option<u16> {
        Self::KNOWN.iter().position(|state| *state == given).map(|place| place as u16)
    }

    fn text(&self) -> Cow<'_, str> {
        self.name().map_or_else(|| Cow::Owned(self.to_string()), Cow::Borrowed)
    }

    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("state-") {
            Some(number) => number.parse().ok().map(Self),
            None => (0..=u8::MAX).map(Self).find(|state| state.name() == Some(text)),
        }
    }
}

impl Word for Errno {
    const KNOWN: &[Self] = &[Self::TIMEDOUT, Self::CONNRESET, Self::CONNREFUSED, Self::PIPE, Self::CONNABORTED];

    given_as_it_is!();

    fn text(&self) -> Cow<'_, str> {
        self.name().map_or_else(|| Cow::Owned(self.to_string()), Cow::Borrowed)
    }

    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("errno-") {
            Some(number) => number.parse().ok().map(Self),
            None => (0..1024).map(Self).find(|errno| errno.name() == Some(text)),
        }
    }
}

impl Word for IpAddr {
    const KNOWN: &[Self] = &[];

    given_as_it_is!();

    fn text(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_string())
    }

    fn append(&self, out: &mut Vec<u8>) {
        // A Vec takes everything.
        let _ = write!(out, "{self}");
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Word for Arc<str> {
    const KNOWN: &[Self] = &[];

    type Given<'a> = &'a str;

    fn given(&self) -> &str {
        self
    }

    fn own(given: &str) -> Self {
        given.into()
    }

    fn is(&self, given: &str) -> bool {
        **self == *given
    }

    fn text(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

#[cfg(test)]
mod tests;
