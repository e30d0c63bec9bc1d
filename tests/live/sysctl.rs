//! `sysctl`: who wrote what, whom it moves and when, and each connection as it picks the value up.
mod follow;
mod pickup;
mod writes;

use std::{sync::Arc, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    clock::{Moment, between, hz, jiffies_to_time},
    event::Event,
    pair::{Connection, Family, Pair, Plan},
    role::Actor,
    stage::Stage,
    tracer::Tracer,
};
use socket2::TcpKeepalive;

use crate::bench::{Bench, LIMIT, tests};
use follow::*;
use pickup::*;
use writes::*;

tests![
    a_write_is_told_with_who_wrote_what_and_where,
    a_write_into_another_namespace_names_that_namespace,
    a_namespace_begins_with_the_kernel_s_own_values,
    zero_and_negative_values_are_told_as_they_are,
    a_refused_write_is_told_with_its_errno,
    what_never_reaches_the_kernel_is_not_told,
    the_same_value_again_moves_nobody,
    who_follows_when_is_counted_for_each_of_the_three,
    only_those_that_are_chosen_are_counted,
    a_lowered_time_is_followed_when_the_armed_timers_fire,
    a_raised_time_is_followed_when_the_armed_timer_fires,
    who_ends_before_ends_under_the_old_value,
    an_interval_is_followed_by_the_wait_after_this_one,
    keepalive_off_and_on_again_follows_at_once,
    an_option_of_its_own_ends_the_waiting,
    of_several_writes_the_last_is_followed,
    another_option_does_not_end_the_waiting,
    a_connection_of_later_has_nothing_to_pick_up,
];

tests![TRACE:
    #[full_stream]
    trace_tells_of_writes_and_of_who_follows,
    what_was_told_of_before_tells_each_change,
];

const TIME: &str = "tcp_keepalive_time";
const INTVL: &str = "tcp_keepalive_intvl";
const PROBES: &str = "tcp_keepalive_probes";

/// Longer than the tracer keeps an event to itself.
const SETTLE: Duration = Duration::from_millis(500);

/// A stage whose sysctls somebody watches, and somebody who writes them.
struct Watch {
    stage: Stage,
    tracer: Arc<Tracer>,
    writer: Actor,
}

impl Watch {
    /// On a stage of its own, with the watcher that the tests share.
    fn new(bench: &Bench) -> Result<Self> {
        let stage = Stage::open()?;
        let writer = Actor::enter("admin", &stage.netns)?;
        Ok(Self { stage, tracer: bench.watcher()?, writer })
    }

    /// On this stage, with a watcher of its own, who has these further filters.
    fn of(bench: &Bench, stage: Stage, filters: &[&str]) -> Result<Self> {
        // A namespace is found by whoever is in it.
        let writer = Actor::enter("admin", &stage.netns)?;
        let netns = stage.netns.inode().to_string();
        let tracer = Tracer::watch_sysctls(bench.attach, &[&["--netns", &netns], filters].concat())?;
        tracer.wait_for("its namespace", LIMIT, |events| events.iter().any(|event| event.kind == "namespace"))?;
        Ok(Self { stage, tracer: Arc::new(tracer), writer })
    }

    /// The writer writes it, which is told; gives that, the latest of all writes.
    fn write(&mut self, name: &str, value: i64) -> Result<Event> {
        let so_far = self.writes().len();
        self.writer.sysctl(name, value)?;
        self.next_write(so_far)
    }

    /// The write after so many.
    fn next_write(&self, so_far: usize) -> Result<Event> {
        let netns = self.stage.netns.id();
        let is_write = |event: &&Event| event.kind == "sysctl" && event.is_in(netns);
        self.tracer.wait_for("the write", LIMIT, |events| events.iter().filter(is_write).count() > so_far)?;
        let mut writes = self.writes();
        assert_eq!(writes.len(), so_far + 1, "{writes:?}");
        writes.pop().context("no write")
    }

    /// All writes told so far.
    fn writes(&self) -> Vec<Event> {
        self.tracer.events_in(self.stage.netns.id()).into_iter().filter(|event| event.kind == "sysctl").collect()
    }

    /// All that will have been told of the connection's local end by now.
    fn told(&self, connection: &Connection) -> Vec<Event> {
        sleep(SETTLE);
        self.tracer.events_of(connection)
    }

    /// What was told of the connection's settings, by sysctl or otherwise.
    fn picked_up(&self, connection: &Connection) -> Vec<Event> {
        self.told(connection).into_iter().filter(|event| event.kind == "settings").collect()
    }

    /// Waits for the connection's first pick-up, holds that there is no other, and gives it.
    fn pick_up(&self, connection: &Connection, limit: Duration) -> Result<Event> {
        let is_pick_up = |event: &Event| event.kind == "settings" && event.via.as_deref() == Some("sysctl");
        self.tracer.wait_for_some_of(connection, "the pick-up", limit, is_pick_up, 1)?;
        let mut told = self.picked_up(connection);
        assert_eq!(told.len(), 1, "{told:?}");
        told.pop().context("no pick-up")
    }

    /// Holds that the pick-up names the writer, and that it waited from the write until this moment.
    fn is_of_write(&self, pick_up: &Event, write: &Event, at: Moment) -> Result<()> {
        let by = (pick_up.by_pid, pick_up.by_comm.as_deref(), pick_up.via.as_deref());
        assert_eq!(by, (Some(self.writer.pid()), Some("admin"), Some("sysctl")), "{pick_up:?}");
        let waited = Duration::from_millis(pick_up.waited_ms.with_context(|| format!("no waited_ms: {pick_up:?}"))?);
        let slack = jiffies_to_time(5, hz()?);
        assert!(waited.abs_diff(between(write.at(), at)) <= slack, "it waited for {:?}: {pick_up:?}", between(write.at(), at));
        assert!(pick_up.at().abs_diff(at) <= slack.as_nanos() as Moment, "at {at}: {pick_up:?}");
        Ok(())
    }

    /// Ends the watch: all that was said is as published, and a watcher of its own ends well.
    fn end(self) -> Result<()> {
        self.tracer.speaks_well_of(self.stage.netns.id())?;
        let Some(tracer) = Arc::into_inner(self.tracer) else { return Ok(()) };
        let finished = tracer.stop()?;
        assert!(finished.status.success(), "{}: {}", finished.status, finished.errors);
        assert_eq!((finished.events[0].kind.as_str(), finished.stop_line()?.lost), ("start", Some(0)));
        Ok(())
    }

    /// SO_KEEPALIVE and nothing else: all of it comes from the namespace's sysctls.
    fn by_sysctl(&self, family: Family) -> Result<Pair> {
        self.stage.connect(&Plan::new(family).keepalive_with(TcpKeepalive::new()))
    }

    /// So many of them, of all families.
    fn some_by_sysctl(&self, count: usize) -> Result<Vec<Pair>> {
        let families = [Family::V4, Family::V6, Family::Mapped].into_iter().cycle();
        families.take(count).map(|family| self.by_sysctl(family)).collect()
    }
}

/// Who follows a write, and when: now, later, never because the socket has its own, never because its keepalive is off.
fn counts(write: &Event) -> [Option<u64>; 4] {
    let Event { follow_now, follow_later, follow_never, never_socket, never_off, sockets, .. } = write;
    let never = never_socket.zip(*never_off).map(|(socket, off)| socket + off);
    assert_eq!(*follow_never, never, "{write:?}");
    let all = follow_now.zip(*follow_later).zip(never).map(|((now, later), never)| now + later + never);
    assert_eq!(*sockets, all, "{write:?}");
    [*follow_now, *follow_later, *never_socket, *never_off]
}

/// Holds that of a write nobody waits.
fn nobody_waits(write: &Event) {
    let named = [&write.nearest_at, &write.median_at, &write.last_at];
    assert!(named.iter().all(|moment| moment.is_none()), "{write:?}");
}
