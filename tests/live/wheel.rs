//! When a keepalive timer will really fire, foretold from where it lies in the kernel's timer wheel, and held against when it does.
use std::{collections::HashMap, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    clock::{self, Moment, between, hz, is_same_moment, jiffies_to_time},
    event::Event,
    listing::{self, Socket},
    pair::{Connection, Family, Pair, Plan},
    stage::Stage,
    tracer::Tracer,
    wire::Kind,
};

use crate::bench::{Bench, tests};

tests![three_hundred_timers_from_a_second_to_four_hours_fire_when_it_was_foretold];

/// More than are held in the end: the shortest may fire before they are first listed.
const TIMERS: u64 = 340;
const AT_LEAST: usize = 300;
const LONGEST: f64 = 4.0 * 3600.0;

/// In these ranges of lengths, connections have traffic when four fifths of their time are over. Then the timer, which fires at its
/// time all the same, finds that the connection was not idle for long enough, and is armed again for the rest. By the listing
/// given here all of the range were armed again, and none has fired again: the wheel is late by an eighth at most.
const TALKATIVE: [(u64, u64, u64); 3] = [(20, 30, 35), (200, 300, 350), (2000, 3000, 3500)];

/// The widest that a window may be, in jiffies, where the timer's level in the wheel is known. The level says in which slot it lies,
/// and a slot has one jiffy in which it is turned to. One more, since whoever reads doesn't know how far the present jiffy has come;
/// and one more, since the wheel turns in the tick, where there are other things to do.
const WIDEST: u64 = 3;

/// The wheel can't foretell how long what came first in a tick takes: this much is given to it on the wire, where stamps are of
/// another clock besides.
const CLOCKS: i128 = 1_000_000;

/// One connection, of which everything is held when its timer has run as often as it was wanted to.
struct Watched {
    connection: Connection,
    length: u64,
    pair: Option<Pair>,
    runs: Vec<Event>,
}

impl Watched {
    fn talks(&self) -> bool {
        TALKATIVE.iter().any(|(from, to, _)| (from..to).contains(&&self.length))
    }

    fn runs_wanted(&self) -> usize {
        if self.talks() { 2 } else { 1 }
    }
}

/// What is to be done, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Talk(usize),
    List,
}

/// All of them, with what was foretold.
struct Trial {
    stage: Stage,
    tracer: Tracer,
    watched: Vec<Watched>,
    by_ports: HashMap<(u16, u16), usize>,
    /// So many of the tracer's events were looked at.
    seen: usize,
    foretold: Vec<(usize, Socket)>,
}

/// The lengths: as many of them between one second and two as between one hour and two. The longest come first.
fn lengths() -> Vec<u64> {
    let mut state = 0x6b65_6570_616c_6976_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15); // splitmix64
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut lengths: Vec<u64> = (0..TIMERS).map(|_| LONGEST.powf(next()).round() as u64).collect();
    lengths.sort_by_key(|&length| std::cmp::Reverse(length));
    lengths
}

impl Trial {
    fn begin(bench: &Bench) -> Result<Self> {
        let stage = Stage::open()?;
        let tracer = bench.only_tracer(&["--netns", &stage.netns.inode().to_string()])?;
        let families = [Family::V4, Family::V6, Family::Mapped];
        let watched = lengths().into_iter().zip(families.into_iter().cycle()).map(|(length, family)| {
            let pair = stage.connect(&Plan::new(family).keepalive(length, 75, 9))?;
            Ok(Watched { connection: pair.connection, length, pair: Some(pair), runs: Vec::new() })
        });
        let watched = watched.collect::<Result<Vec<_>>>()?;
        let ports = |watched: &Watched| (watched.connection.local.port(), watched.connection.remote.port());
        let by_ports: HashMap<_, _> = watched.iter().map(ports).zip(0..).collect();
        ensure!(by_ports.len() == watched.len(), "two connections have the same ports");
        Ok(Self { stage, tracer, watched, by_ports, seen: 0, foretold: Vec::new() })
    }

    /// What there is to be done, in its order.
    fn deeds(&self, start: Moment) -> Vec<(Moment, Deed)> {
        let after = |time: Duration| start + time.as_nanos() as Moment;
        let talks = self.watched.iter().enumerate().filter(|(_, watched)| watched.talks());
        let talks = talks.map(|(index, watched)| (after(Duration::from_secs(watched.length) * 4 / 5), Deed::Talk(index)));
        let lists = TALKATIVE.iter().map(|&(_, _, seconds)| (after(Duration::from_secs(seconds)), Deed::List));
        let mut deeds: Vec<_> = talks.chain(lists).chain([(start, Deed::List)]).collect();
        deeds.sort_unstable();
        deeds
    }

    fn do_it(&mut self, deed: Deed) -> Result<()> {
        match deed {
            Deed::Talk(index) => {
                let watched = &self.watched[index];
                watched.pair.as_ref().with_context(|| format!("{} s are over before it spoke", watched.length))?.send(b"x")
            }
            Deed::List => {
                let listing = listing::list(&["--netns", &self.stage.netns.inode().to_string()])?;
                for (index, watched) in self.watched.iter().enumerate().filter(|(_, watched)| watched.pair.is_some()) {
                    self.foretold.push((index, listing.of(&watched.connection)?.clone()));
                }
                Ok(())
            }
        }
    }

    /// Takes in what the tracer tells until this moment, or until all is told. Connections of which enough was seen are ended.
    fn follow(&mut self, until: Moment) -> Result<()> {
        while self.watched.iter().any(|watched| watched.pair.is_some()) {
            let seen = self.seen;
            if !self.tracer.wait_until(until, |events| events.len() > seen)? {
                break;
            }
            let events = self.tracer.events();
            for event in &events[self.seen..] {
                self.take_in(event)?;
            }
            self.seen = events.len();
        }
        Ok(())
    }

    fn take_in(&mut self, event: &Event) -> Result<()> {
        let Some(ports) = event.lport.zip(event.rport).filter(|_| event.is_run()) else { return Ok(()) };
        let Some(&index) = self.by_ports.get(&ports) else { return Ok(()) };
        let watched = &mut self.watched[index];
        if watched.pair.is_none() {
            return Ok(()); // it is being ended
        }
        watched.runs.push(event.clone());
        if watched.runs.len() >= watched.runs_wanted() {
            watched.pair.take().map_or(Ok(()), Pair::abort_both)?;
        }
        Ok(())
    }
}

fn three_hundred_timers_from_a_second_to_four_hours_fire_when_it_was_foretold(bench: &Bench) -> Result<()> {
    let mut trial = Trial::begin(bench)?;
    let start = clock::now();
    for (moment, deed) in trial.deeds(start) {
        trial.follow(moment)?;
        // The tracer may have ended its wait with its last word.
        sleep(between(clock::now(), moment));
        trial.do_it(deed)?;
    }
    trial.follow(start + Duration::from_secs_f64(LONGEST * 1.2).as_nanos() as Moment)?;

    let jiffy = i128::try_from(jiffies_to_time(1, hz()?).as_nanos())?;
    let (mut first, mut again) = (0, 0);
    for (index, socket) in &trial.foretold {
        let watched = &trial.watched[*index];
        let Some(place) = watched.runs.iter().position(|run| run.at() > socket.mono_ns) else {
            ensure!(watched.pair.is_none(), "a timer of {} s has not fired: {socket:?}", watched.length);
            continue;
        };
        let run = &watched.runs[place];
        fires_as_foretold(socket, run, jiffy)?;
        if run.kind == "probe" {
            let probes = trial.stage.capture.times(&watched.connection, Kind::Probe)?;
            let sent = probes.iter().find(|&&at| is_same_moment(at, run.at()));
            let sent = i128::from(*sent.with_context(|| format!("no probe on the wire, {probes:?}, where {run:?}"))?);
            let (earliest, latest) = socket.window().context("no window")?;
            assert!((earliest - CLOCKS..=latest + CLOCKS).contains(&sent), "on the wire at {sent}: {socket:?}");
        }
        *(if place == 0 { &mut first } else { &mut again }) += 1;
    }
    for watched in &trial.watched {
        let gists: Vec<String> = watched.runs.iter().map(Event::gist).collect();
        let wanted: &[&str] = if watched.talks() { &["timer not-idle", "probe 1/9 sent"] } else { &["probe 1/9 sent"] };
        assert_eq!(gists, wanted, "a timer of {} s: {:?}", watched.length, watched.runs);
        watched.runs.iter().try_for_each(|run| is_late_by_the_wheel_alone(run, jiffy))?;
    }
    let listed = trial.foretold.len();
    assert!(first >= AT_LEAST && again >= 30, "{first} first runs and {again} further runs were foretold, in {listed} lines");
    assert_eq!(trial.tracer.stop()?.lost(), 0);
    Ok(())
}

/// Holds that the run came within the window, and that the window was as tight as it may be.
fn fires_as_foretold(socket: &Socket, run: &Event, jiffy: i128) -> Result<()> {
    let (earliest, latest) = socket.window().with_context(|| format!("no window: {socket:?}"))?;
    let deadline = socket.deadline().with_context(|| format!("no timer_left_ms: {socket:?}"))?;
    let at = i128::from(run.at());
    assert!((earliest..=latest).contains(&at), "it ran {} ns after the earliest moment: {socket:?} {run:?}", at - earliest);
    assert!(latest - earliest <= jiffy * i128::from(WIDEST), "a window of {} ns: {socket:?}", latest - earliest);
    assert!(deadline - jiffy <= earliest, "the wheel is never early: {socket:?}");
    let late = i128::from(run.late_ms.unwrap_or_default()) * 1_000_000;
    assert!((deadline + late - at).abs() <= 2 * jiffy, "late by another measure: {socket:?} {run:?}");
    Ok(())
}

/// Holds that there is nothing late about it but what the wheel makes it.
fn is_late_by_the_wheel_alone(run: &Event, jiffy: i128) -> Result<()> {
    let late = run.late_ms.unwrap_or_default();
    let wheel = run.wheel_ms.with_context(|| format!("no wheel_ms: {run:?}"))?;
    assert!(i128::from(late - wheel) * 1_000_000 <= jiffy, "{run:?}");
    Ok(())
}
