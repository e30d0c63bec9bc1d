//! Words: what a column holds again and again, and how each is read back.
use std::{borrow::Cow, hash::Hash, net::IpAddr, sync::Arc};

use crate::model::{
    errno::Errno,
    event::{How, Outcome, Place, Precision, ProbeResult, ReplyKind},
    http::{Cause, Finding, Findings, Method, SavedFrom, Tokens},
    owner::Comm,
    settings::Origin,
    state::State,
    sysctl::Name,
    verdict::Verdict,
};

/// What stands in a dictionary.
pub(super) trait Word: Clone + Eq + Hash + 'static {
    /// Those that every recording begins with.
    const KNOWN: &[Self];

    fn text(&self) -> Cow<'_, str>;

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

/// Words of a closed set, by their names.
macro_rules! closed {
    ($($type:ident: $($word:ident)+;)+) => {
        $(impl Word for $type {
            const KNOWN: &[Self] = &[$(Self::$word),+];

            fn text(&self) -> Cow<'_, str> {
                Cow::Borrowed(self.name())
            }

            fn parse(text: &str) -> Option<Self> {
                Self::KNOWN.iter().copied().find(|word| word.name() == text)
            }
        })+
    };
}

closed! {
    Kind: Open Owner Settings Timer Probe Reply Reset End Sysctl Lost Stop Http;
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
}

impl Word for Verdict {
    const KNOWN: &[Self] = &Self::ALL;

    fn text(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.name())
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == text)
    }
}

impl Word for Findings {
    const KNOWN: &[Self] = &[];

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

    fn text(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_string())
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Word for Arc<str> {
    const KNOWN: &[Self] = &[];

    fn text(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

/// A task's name need not be text: bytes that are no UTF-8 are written as `\xf0`, and a backslash as `\\`, so that every name
/// comes back as it was.
impl Word for Comm {
    const KNOWN: &[Self] = &[];

    fn text(&self) -> Cow<'_, str> {
        let bytes = self.bytes();
        if let Ok(text) = str::from_utf8(bytes)
            && !text.contains('\\')
        {
            return Cow::Borrowed(text);
        }
        let mut escaped = String::with_capacity(64);
        for chunk in bytes.utf8_chunks() {
            escaped += &chunk.valid().replace('\\', "\\\\");
            chunk.invalid().iter().for_each(|byte| escaped += &format!("\\x{byte:02x}"));
        }
        Cow::Owned(escaped)
    }

    fn parse(text: &str) -> Option<Self> {
        if !text.contains('\\') {
            return Self::exactly(text.as_bytes());
        }
        let mut bytes = Vec::with_capacity(16);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            bytes.extend_from_slice(before.as_bytes());
            rest = if let Some(rest) = after.strip_prefix('\\') {
                bytes.push(b'\\');
                rest
            } else {
                bytes.push(u8::from_str_radix(after.strip_prefix('x')?.get(..2)?, 16).ok()?);
                after.get(3..)?
            };
        }
        bytes.extend_from_slice(rest.as_bytes());
        Self::exactly(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn comes_back<W: Word + std::fmt::Debug>(word: &W) {
        assert_eq!(W::parse(&word.text()).as_ref(), Some(word));
    }

    #[test]
    fn every_word_comes_back_as_it_was() {
        Kind::KNOWN.iter().for_each(comes_back);
        Verdict::KNOWN.iter().for_each(comes_back);
        Place::KNOWN.iter().for_each(comes_back);
        (0..=20).map(State).for_each(|state| comes_back(&state));
        (0..200).map(Errno).for_each(|errno| comes_back(&errno));
        assert_eq!(Verdict::parse("struck-by-lightning"), None);
    }

    #[test]
    fn a_name_that_is_no_text_is_readable_and_comes_back() {
        let cut = Comm::from(*b"\xf0\x9f\x90\xa2\xf0\x9f\x90\0\0\0\0\0\0\0\0\0");
        assert_eq!(cut.text(), "\u{1f422}\u{fffd}");
        assert_eq!(Word::text(&cut), "\u{1f422}\\xf0\\x9f\\x90");
        assert_eq!(Word::text(&Comm::from("a\\xffb")), "a\\\\xffb");
        assert_eq!(<Comm as Word>::parse("much-too-long-for-a-name"), None);
        assert_eq!(<Comm as Word>::parse("\\q"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_name_comes_back(bytes in any::<[u8; 16]>()) {
            comes_back(&Comm::from(bytes));
        }

        #[test]
        fn no_text_makes_it_fall(text in ".*") {
            let _ = <Comm as Word>::parse(&text);
        }
    }
}
