//! One whole history as it was told: it begins with its only `open` and ends with its only `end`.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{clock::between, event::Event};

use crate::scene::gists;

/// Two clocks and two ways of rounding may name one span of time so differently.
const SLACK: Duration = Duration::from_millis(20);

/// A history that has ended, for one end of a connection.
#[derive(Debug)]
pub struct Story {
    /// All that was told of it.
    pub events: Vec<Event>,
}

impl Story {
    /// Holds that these are one whole history.
    pub fn new(mut events: Vec<Event>) -> Result<Self> {
        // Who holds it is found out whenever somebody looks, be it after its end.
        events.retain(|event| event.kind != "owner");
        let told = gists(&events);
        let story = Self { events };
        let (first, last) = (story.open(), story.end());
        ensure!(first.kind == "open" && last.kind == "end", "not a whole story: {told:?}");
        let count = |kind| story.events.iter().filter(|event| event.kind == kind).count();
        ensure!((count("open"), count("end")) == (1, 1), "opened or ended more than once: {told:?}");
        let id = first.conn.as_ref().context("no conn")?;
        ensure!(story.events.iter().all(|event| event.conn.as_ref() == Some(id)), "more than one id: {:?}", story.events);
        let in_order = story.events.is_sorted_by_key(Event::at);
        ensure!(in_order, "not in the order in which it happened: {told:?}");
        story.age_is_right()?;
        Ok(story)
    }

    fn age_is_right(&self) -> Result<()> {
        let (open, end) = (self.open(), self.end());
        // A handshake that failed is opened and ended at once, and its age is how long it was tried.
        if end.verdict.as_deref() == Some("never-established") {
            return Ok(());
        }
        if !["connect", "accept"].contains(&open.how.as_deref().unwrap_or_default()) {
            ensure!(end.age_ms.is_none(), "nobody saw it begin: {end:?}");
            return Ok(());
        }
        let age = Duration::from_millis(end.age_ms.with_context(|| format!("no age_ms: {end:?}"))?);
        let told = between(open.at(), end.at());
        let latest = told + Duration::from_micros(open.connect_us.unwrap_or_default()) + SLACK;
        ensure!((told.saturating_sub(SLACK)..=latest).contains(&age), "aged {age:?}, told for {told:?}: {end:?}");
        Ok(())
    }

    /// Its first event.
    pub fn open(&self) -> &Event {
        &self.events[0]
    }

    /// Its last event.
    pub fn end(&self) -> &Event {
        &self.events[self.events.len() - 1]
    }

    /// Holds how it opened.
    pub fn opened(self, how: &str) -> Self {
        assert_eq!(self.open().how.as_deref(), Some(how), "{:?}", self.open());
        let timed = self.open().connect_us.is_some();
        assert!(!timed || how == "connect", "only who connects waits for the handshake: {:?}", self.open());
        self
    }

    /// Holds what ended it, and the error that the application was given.
    pub fn is(self, verdict: &str, errno: Option<&str>) -> Self {
        let end = self.end();
        assert_eq!(
            (end.verdict.as_deref(), end.errno.as_deref()),
            (Some(verdict), errno),
            "{end:?} of {:?}",
            gists(&self.events)
        );
        self
    }

    /// Holds how many probes were sent in all, and how many of them nobody answered.
    pub fn probes(self, sent: u32, unanswered: u32) -> Self {
        let end = self.end();
        assert_eq!((end.probes_sent, end.unanswered), (Some(sent), Some(unanswered)), "{end:?} of {:?}", gists(&self.events));
        self
    }

    /// Holds that the sentence names each of these facts.
    pub fn because(self, facts: &[&str]) -> Self {
        let why = self.end().why.clone().unwrap_or_default();
        assert!(!why.trim().is_empty() && !why.contains('\n'), "{:?}", self.end());
        for fact in facts {
            assert!(why.to_lowercase().contains(&fact.to_lowercase()), "`{fact}` is not in the reason: {why}");
        }
        self
    }

    /// Holds its age.
    pub fn aged(self, age: Duration) -> Self {
        let told = self.end().age_ms.map(Duration::from_millis);
        assert!(told.is_some_and(|told| told.abs_diff(age) <= SLACK), "{age:?}: {:?}", self.end());
        self
    }

    /// The same, of a connection that heard an ACK a moment after its timer was armed: by the tick, the first run finds it not idle
    /// long enough, or does not.
    pub fn tells_but_early_runs(mut self, story: &[&str]) -> Self {
        let early = self.events.iter().position(|event| event.gist() == "timer not-idle");
        early.map(|index| self.events.remove(index));
        self.tells(story)
    }

    /// Holds the whole of it, in a few words an event.
    pub fn tells(self, story: &[&str]) -> Self {
        assert_eq!(gists(&self.events), story);
        self
    }
}
