//! What happened on a connection, in chapters: as many as a person reads, however long it lived.
use crate::model::{
    event::{Outcome, Reply, Via},
    http::{self, Http, Line, Method, Promise},
    owner::Task,
    settings::Settings,
};

/// Chapters that are kept of a long story: the first ones, and the last ones.
const FIRST: usize = 8;
const LAST: usize = 24;

/// A piece of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// When it began and when it was last added to: nanoseconds of CLOCK_MONOTONIC.
    pub from_ns: u64,
    pub to_ns: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Rounds whose first probe was answered, one after the other, and the slowest answer, microseconds.
    Healthy { rounds: u32, slowest_us: Option<u32> },
    /// A round of which probes stayed unanswered; of how many, how many this host dropped itself, and what ended it.
    Round { probes: u32, of: Option<u32>, dropped: u32, end: Option<Reply> },
    /// Probes that a full queue on this host held back.
    Congested { times: u32 },
    /// The timer sent nothing, so many times, for this reason.
    Silent { outcome: Outcome, times: u32 },
    /// The settings changed.
    Settings { to: Option<Settings>, by: Option<Task>, via: Option<Via> },
    /// HTTP was spoken.
    Http(Spoken),
}

/// Messages of HTTP, one soon after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// The connection had been idle for so long before, milliseconds.
    pub idle_before_ms: Option<u64>,
    pub requests: u32,
    /// Final ones.
    pub responses: u32,
    /// Of the first request.
    pub method: Option<Method>,
    /// Of the last response.
    pub status: Option<u16>,
    /// What was promised last.
    pub promise: Promise,
}

/// Requests that come after a longer pause begin a new chapter, milliseconds.
const PAUSE_MS: u64 = 1000;

impl Spoken {
    /// Of the first message.
    pub(super) fn begin(http: &Http) -> Self {
        let mut spoken = Self { idle_before_ms: http.idle_before_ms, ..Self::default() };
        spoken.add(http);
        spoken
    }

    /// Whether a message belongs to those before it: an answer does, however long it took.
    fn goes_on(&self, http: &Http) -> bool {
        match http.line {
            Line::Request(_) => self.requests > self.responses || http.idle_before_ms.is_some_and(|ms| ms < PAUSE_MS),
            Line::Response(_) => self.requests > self.responses,
        }
    }

    fn add(&mut self, http: &Http) {
        match http.line {
            Line::Request(method) => {
                self.requests = self.requests.saturating_add(1);
                self.method = self.method.or(Some(method));
            }
            Line::Response(status) => {
                let is_final = !(100..200).contains(&status) || status == 101;
                self.responses = self.responses.saturating_add(is_final.into());
                self.status = Some(status);
            }
        }
        if http.promise != Promise::default() {
            self.promise = http.promise;
        }
    }
}

/// The chapters that are left of a story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    pub chapters: Vec<Chapter>,
    /// How many chapters are missing, and before which of those that are left.
    pub omitted: u32,
    pub gap: usize,
}

/// What most connections have none of.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// The first ones, then the last ones.
    chapters: Vec<Chapter>,
    omitted: u32,
    why: Box<str>,
    http: Option<Box<http::End>>,
}

impl Story {
    pub(super) fn timeline(&self) -> Timeline {
        Timeline { chapters: self.chapters.clone(), omitted: self.omitted, gap: self.chapters.len().min(FIRST) }
    }

    pub(super) fn why(&self) -> &str {
        &self.why
    }

    pub(super) fn conclude(&mut self, why: &str) {
        self.why = why.into();
    }

    /// What HTTP had to do with the end.
    pub(super) fn http(&self) -> Option<&http::End> {
        self.http.as_deref()
    }

    pub(super) fn set_http(&mut self, end: &http::End) {
        self.http = Some(Box::new(end.clone()));
    }

    /// The latest messages, and when the last of them passed, nanoseconds of CLOCK_MONOTONIC.
    pub(super) fn last_spoken(&self) -> Option<(&Spoken, u64)> {
        self.chapters.iter().rev().find_map(|chapter| match &chapter.what {
            What::Http(spoken) => Some((spoken, chapter.to_ns)),
            _ => None,
        })
    }

    /// Counts a message into the last chapter, if it belongs there.
    pub(super) fn speaks_on(&mut self, at: u64, http: &Http) -> bool {
        let Some(Chapter { to_ns, what: What::Http(spoken), .. }) = self.chapters.last_mut() else { return false };
        let goes_on = spoken.goes_on(http);
        if goes_on {
            spoken.add(http);
            *to_ns = at;
        }
        goes_on
    }

    pub(super) fn add(&mut self, chapter: Chapter) {
        if self.chapters.len() == FIRST + LAST {
            self.chapters.remove(FIRST);
            self.omitted += 1;
        }
        // Most stories are short.
        if self.chapters.len() < FIRST {
            self.chapters.reserve_exact(1);
        }
        self.chapters.push(chapter);
    }

    /// Counts `what` into the last chapter, if that is of the same kind.
    pub(super) fn again(&mut self, at: u64, what: &What) -> bool {
        let Some(chapter) = self.chapters.last_mut() else { return false };
        match (&mut chapter.what, what) {
            (What::Congested { times }, What::Congested { .. }) => *times += 1,
            (What::Silent { outcome, times }, What::Silent { outcome: new, .. }) if outcome == new => *times += 1,
            _ => return false,
        }
        chapter.to_ns = at;
        true
    }
}

/// Healthy rounds, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calm {
    pub(super) rounds: u32,
    /// One more than the slowest answer, microseconds; 0: not known.
    slowest: u32,
    from_ns: u64,
    to_ns: u64,
}

impl Calm {
    pub(super) fn add(&mut self, from_ns: u64, to_ns: u64, reply: &Reply) {
        if self.rounds == 0 {
            self.from_ns = from_ns;
        }
        self.rounds += 1;
        self.to_ns = to_ns;
        let us = reply.rtt_us.map_or(0, |us| u32::try_from(us).unwrap_or(u32::MAX).saturating_add(1));
        self.slowest = self.slowest.max(us);
    }

    pub(super) fn chapter(self) -> Option<Chapter> {
        let Self { rounds, slowest, from_ns, to_ns } = self;
        let what = What::Healthy { rounds, slowest_us: slowest.checked_sub(1) };
        (rounds > 0).then_some(Chapter { from_ns, to_ns, what })
    }
}

/// The round that goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    pub(super) probes: u32,
    pub(super) dropped: u32,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

impl Round {
    pub(super) fn chapter(self, settings: Option<Settings>, end: Option<&Reply>) -> Option<Chapter> {
        let Self { probes, dropped, from_ns, to_ns } = self;
        let of = settings.map(|settings| settings.probes.value);
        let what = What::Round { probes, of, dropped, end: end.cloned() };
        (probes > 0).then_some(Chapter { from_ns, to_ns, what })
    }
}
