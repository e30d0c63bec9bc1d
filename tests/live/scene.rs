//! One scene: a stage, a tracer that watches it, and the comparison of what it told with what was so.
use std::{sync::Arc, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    clock::{self, Moment, between, is_same_moment, jiffies_to_time},
    event::Event,
    pair::Connection,
    stage::Stage,
    timer::{self, Kind, Timer},
    tracer::Tracer,
};

use crate::{bench::LIMIT, story::Story, witnesses};

/// A stage and the tracer that watches it.
pub struct Scene {
    /// Where it plays.
    pub stage: Stage,
    tracer: Arc<Tracer>,
}

impl Scene {
    /// A fresh stage for a tracer.
    pub fn open(tracer: Arc<Tracer>) -> Result<Self> {
        Ok(Self::of(Stage::open()?, tracer))
    }

    /// A stage that was there before its tracer.
    pub fn of(stage: Stage, tracer: Arc<Tracer>) -> Self {
        Self { stage, tracer }
    }

    /// Waits for the first event of all that is told of the connection's local end.
    pub fn first(&self, connection: &Connection) -> Result<Event> {
        self.tracer.wait_for_some_of(connection, "anything", LIMIT, |_| true, 1)?;
        self.tracer.events_of(connection).into_iter().next().context("what was told is gone")
    }

    /// Waits until so many runs of the connection were told; gives all there are. The stories of runs are about what the two hooked
    /// functions did and nothing else ([`Event::is_run`]); of all that is told of a connection, [`Self::ended`] is about that.
    pub fn wait(&self, connection: &Connection, count: usize) -> Result<Vec<Event>> {
        self.tracer.wait_for_runs_of(connection, count, LIMIT)
    }

    /// Waits for the first run of the connection whose essence is another than this.
    pub fn first_other_than(&self, connection: &Connection, gist: &str) -> Result<Event> {
        let mut count = 1;
        loop {
            let events = self.wait(connection, count)?;
            if let Some(event) = events.iter().find(|event| event.gist() != gist) {
                return Ok(event.clone());
            }
            count = events.len() + 1;
        }
    }

    /// Waits for the connection's next runs and holds that they began like this; gives all there are.
    pub fn begins(&self, connection: &Connection, story: &[&str]) -> Result<Vec<Event>> {
        let events = self.wait(connection, story.len())?;
        assert_eq!(gists(&events[..story.len()]), story);
        Ok(events)
    }

    /// As [`Self::begins`], and nothing more may come in several times the timers' longest wait.
    pub fn is(&self, connection: &Connection, story: &[&str]) -> Result<Vec<Event>> {
        const SEVERAL_TIMERS: Duration = Duration::from_secs(5);
        self.begins(connection, story)?;
        sleep(SEVERAL_TIMERS);
        let events = self.tracer.runs_of(connection);
        assert_eq!(gists(&events), story);
        Ok(events)
    }

    /// Holds that the timer which an event announced is the one that the kernel shows; gives that.
    ///
    /// To be asked right after the event, while that timer still runs. The file that shows it cuts to hundredths of a second; both
    /// sides count from a "now" in whole jiffies.
    pub fn timer_is_as_announced(&self, connection: &Connection, event: &Event) -> Result<Timer> {
        let earliest = clock::now();
        let shown = self.stage.timer(connection)?.context("the kernel shows no such socket")?;
        let latest = clock::now();
        assert_eq!(shown.kind, Kind::Keepalive, "{shown:?}");
        let next = event.next_ms.with_context(|| format!("no next_ms: {event:?}"))?;
        let announced = event.at() + u64::try_from(next)? * 1_000_000;
        let left = shown.left.as_nanos() as Moment;
        let slack = (timer::RESOLUTION + jiffies_to_time(2, clock::hz()?)).as_nanos() as Moment;
        let range = earliest + left - slack..=latest + left + slack;
        assert!(range.contains(&announced), "announced {announced}, the kernel shows {range:?}: {event:?} {shown:?}");
        Ok(shown)
    }

    /// Waits until the connection's local end is told to have ended; holds that its story is whole, and gives it.
    pub fn ended(&self, connection: &Connection) -> Result<Story> {
        self.tracer.wait_for_some_of(connection, "the end", LIMIT, |event| event.kind == "end", 1)?;
        let left = self.stage.timer(connection)?;
        assert!(
            left.is_none_or(|timer| timer.kind == Kind::TimeWait),
            "told to have ended, and the kernel still has it: {left:?}"
        );
        Story::new(self.tracer.events_of(connection))
    }

    /// Waits for so many replies of the connection; gives all there are.
    pub fn replies(&self, connection: &Connection, count: usize) -> Result<Vec<Event>> {
        let is_reply = |event: &Event| event.kind == "reply";
        self.tracer.wait_for_some_of(connection, &format!("{count} replies"), LIMIT, is_reply, count)?;
        Ok(self.tracer.events_of(connection).into_iter().filter(is_reply).collect())
    }

    /// All that was told of the connection's local end so far.
    pub fn told(&self, connection: &Connection) -> Vec<Event> {
        self.tracer.events_of(connection)
    }

    /// Ends the scene, all of whose sockets must be closed or quiet, and holds all that was told of it against the witnesses.
    pub fn hold(mut self) -> Result<()> {
        witnesses::hold(&self.tracer, &mut self.stage)
    }

    /// All that was told of anybody on this stage.
    pub fn everything(&self) -> Vec<Event> {
        self.tracer.events_in(self.stage.netns.id())
    }

    /// All runs that were told of anybody on this stage.
    pub fn all_runs(&self) -> Vec<Event> {
        self.everything().into_iter().filter(Event::is_run).collect()
    }
}

/// Each event's essence.
pub fn gists(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::gist).collect()
}

/// Holds that two witnesses name the same moment.
pub fn same_moment(one: Moment, other: Moment, what: &str) {
    assert!(is_same_moment(one, other), "{what}: {:?} apart", between(one.min(other), one.max(other)));
}
