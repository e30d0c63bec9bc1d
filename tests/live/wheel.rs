//! When a keepalive timer will really fire, foretold from where it lies in the kernel's timer wheel, and held against when it does.
use std::{collections::HashMap, thread::sleep};

use anyhow::{Context, Result};
use lab::{
    clock::{self, Moment, between, hz, is_same_moment, jiffies_to_time},
    event::Event,
    listing::{self, Socket},
    pair::{Connection, Family, Pair, Plan},
    stage::Stage,
    tracer::Tracer,
    wire::Kind,
};
use nix::sys::signal::Signal;

use crate::{
    bench::{Bench, LIMIT, tests},
    scene::gists,
};

tests![three_hundred_timers_from_a_second_to_four_hours_fire_when_it_was_foretold];

/// More than are held in the end: the shortest may fire before they are first listed.
const TIMERS: u64 = 340;
const AT_LEAST: usize = 300;
const LONGEST: u64 = 4 * 3600;
/// The longest TCP_KEEPINTVL: after its first probe nothing more is heard of a connection.
const QUIET: u64 = 32_767;
const SECOND: Moment = 1_000_000_000;

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

/// One connection, whose timer has this length.
struct Watched {
    pair: Pair,
    length: u64,
}

impl Watched {
    fn talks(&self) -> bool {
        TALKATIVE.iter().any(|(from, to, _)| (from..to).contains(&&self.length))
    }

    /// What its timer does until the end.
    fn runs(&self) -> &'static [&'static str] {
        if self.talks() { &["timer not-idle", "probe 1/9 sent"] } else { &["probe 1/9 sent"] }
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
    let mut lengths: Vec<u64> = (0..TIMERS).map(|_| (LONGEST as f64).powf(next()).round() as u64).collect();
    lengths.sort_by_key(|&length| std::cmp::Reverse(length));
    lengths
}

impl Trial {
    fn begin(bench: &Bench) -> Result<Self> {
        let stage = Stage::open()?;
        let tracer = bench.only_tracer(&["--netns", &stage.netns.inode().to_string()])?;
        let families = [Family::V4, Family::V6, Family::Mapped];
        let watched = lengths().into_iter().zip(families.into_iter().cycle()).map(|(length, family)| {
            let plan = Plan::new(family).keepalive(length, QUIET, 9);
            Ok(Watched { pair: stage.connect(&plan)?, length })
        });
        Ok(Self { watched: watched.collect::<Result<_>>()?, stage, tracer, foretold: Vec::new() })
    }

    /// What there is to be done, in its order.
    fn deeds(&self, start: Moment) -> Vec<(Moment, Deed)> {
        let talks = self.watched.iter().enumerate().filter(|(_, watched)| watched.talks());
        let talks = talks.map(|(index, watched)| (start + SECOND * watched.length * 4 / 5, Deed::Talk(index)));
        let lists = TALKATIVE.iter().map(|&(_, _, seconds)| (start + SECOND * seconds, Deed::List));
        let mut deeds: Vec<_> = talks.chain(lists).chain([(start, Deed::List)]).collect();
        deeds.sort_unstable();
        deeds
    }

    fn do_it(&mut self, deed: Deed) -> Result<()> {
        match deed {
            Deed::Talk(index) => self.watched[index].pair.send(b"x"),
            Deed::List => {
                let listing = listing::list(&["--netns", &self.stage.netns.inode().to_string()])?;
                for (index, watched) in self.watched.iter().enumerate() {
                    self.foretold.push((index, listing.of(&watched.pair.connection)?.clone()));
                }
                Ok(())
            }
        }
    }

    /// The runs of each timer, which are all that they should be.
    fn runs(&self) -> Result<Vec<Vec<Event>>> {
        let wanted = self.watched.iter().map(|watched| watched.runs().len()).sum();
        let told = |events: &[Event]| events.iter().filter(|event| event.is_run()).count() >= wanted;
        self.tracer.wait_for(&format!("{wanted} runs"), LIMIT, told)?;
        let mut by_ports: HashMap<_, Vec<Event>> = HashMap::new();
        for event in self.tracer.events().into_iter().filter(Event::is_run) {
            by_ports.entry((event.lport, event.rport)).or_default().push(event);
        }
        let runs = self.watched.iter().map(|watched| {
            let Connection { local, remote, .. } = watched.pair.connection;
            let runs = by_ports.remove(&(Some(local.port()), Some(remote.port()))).unwrap_or_default();
            assert_eq!(gists(&runs), watched.runs(), "a timer of {} s: {runs:?}", watched.length);
            runs
        });
        let runs = runs.collect();
        assert!(by_ports.is_empty(), "{by_ports:?}");
        Ok(runs)
    }
}

fn three_hundred_timers_from_a_second_to_four_hours_fire_when_it_was_foretold(bench: &Bench) -> Result<()> {
    let mut trial = Trial::begin(bench)?;
    let start = clock::now();
    // What it looks after now and then costs hours of that. What is told is stamped by the kernel, and waits for it.
    trial.tracer.signal(Signal::SIGSTOP)?;
    for (moment, deed) in trial.deeds(start) {
        sleep(between(clock::now(), moment));
        trial.do_it(deed)?;
    }
    let end = start + SECOND * LONGEST * 8 / 7;
    sleep(between(clock::now(), end));
    trial.tracer.signal(Signal::SIGCONT)?;

    let runs = trial.runs()?;
    let jiffy = i128::try_from(jiffies_to_time(1, hz()?).as_nanos())?;
    runs.iter().flatten().try_for_each(|run| is_late_by_the_wheel_alone(run, jiffy))?;
    let (mut first, mut again) = (0, 0);
    for (index, socket) in &trial.foretold {
        let (earliest, latest) = socket.window().with_context(|| format!("no window: {socket:?}"))?;
        assert!(latest - earliest <= jiffy * i128::from(WIDEST), "a window of {} ns: {socket:?}", latest - earliest);
        let Some(place) = runs[*index].iter().position(|run| run.at() > socket.mono_ns) else {
            assert!(earliest > i128::from(end), "it has not fired: {socket:?}");
            continue;
        };
        let run = &runs[*index][place];
        fires_as_foretold(socket, run, jiffy)?;
        if run.kind == "probe" {
            let probes = trial.stage.capture.times(&trial.watched[*index].pair.connection, Kind::Probe)?;
            let sent = probes.iter().find(|&&at| is_same_moment(at, run.at()));
            let sent = i128::from(*sent.with_context(|| format!("no probe on the wire, {probes:?}, where {run:?}"))?);
            assert!((earliest - CLOCKS..=latest + CLOCKS).contains(&sent), "on the wire at {sent}: {socket:?}");
        }
        *(if place == 0 { &mut first } else { &mut again }) += 1;
    }
    let distinct =
        trial.foretold.iter().take(trial.watched.len()).filter(|(index, socket)| runs[*index][0].at() > socket.mono_ns);
    let distinct = distinct.count();
    assert!(distinct >= AT_LEAST && again >= 30, "{distinct} timers, {first} first runs and {again} further ones");
    assert_eq!(trial.tracer.stop()?.lost(), 0);
    Ok(())
}

/// Holds that the run came within the window, and so long after its deadline as it says.
fn fires_as_foretold(socket: &Socket, run: &Event, jiffy: i128) -> Result<()> {
    let (earliest, latest) = socket.window().context("no window")?;
    let deadline = socket.deadline().with_context(|| format!("no timer_left_ms: {socket:?}"))?;
    let at = i128::from(run.at());
    assert!((earliest..=latest).contains(&at), "it ran {} ns after the earliest moment: {socket:?} {run:?}", at - earliest);
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
