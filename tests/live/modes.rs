//! Quiet mode, the default: what is worth an event is reported as `--all` reports it, and all else is counted, exactly.
//!
//! Two tracers watch the same connections, one of them with `--all`. What neither of them knows is how many connections there
//! were: the test has made them.
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    thread,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use lab::{
    application::Reader,
    event::Event,
    netns::Netns,
    pair::{Family, Pair, Plan},
    peer,
    tracer::{Finished, Mode, Tracer},
};

use crate::bench::{Bench, LIMIT, tests};

tests![
    #[full_stream]
    what_is_worth_an_event_is_the_same_and_all_else_is_counted,
    #[full_stream]
    connections_from_before_are_reported_when_something_happens_on_them,
    #[full_stream]
    processes_that_preempt_one_another_hide_no_end,
];

/// Connections on which nothing happens.
const UNEVENTFUL: usize = 200;
const IDLE: Duration = Duration::from_millis(1600);

/// How many ended by which verdict.
type Verdicts = BTreeMap<String, u64>;

/// A tracer with `--all` and one without, of one namespace.
struct Both {
    all: Tracer,
    quiet: Tracer,
}

impl Both {
    fn start(bench: &Bench, netns: &Netns) -> Result<Self> {
        let inode = netns.inode().to_string();
        let all = bench.full_stream()?.own_tracer(&["--netns", &inode])?;
        Ok(Self { all, quiet: Tracer::start(bench.attach, Mode::Quiet, &["--netns", &inode])? })
    }

    /// Lets the last counts be read, too.
    fn stop(self) -> Result<[Finished; 2]> {
        sleep(Duration::from_secs(2));
        let finished = [self.all.stop()?, self.quiet.stop()?];
        for one in &finished {
            ensure!(one.status.success() && one.lost() == 0, "{}: {} lost", one.errors, one.lost());
        }
        Ok(finished)
    }
}

fn ends(finished: &Finished) -> impl Iterator<Item = &Event> {
    finished.events.iter().filter(|event| event.kind == "end")
}

fn verdicts<'a>(ends: impl Iterator<Item = &'a Event>) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for end in ends {
        *verdicts.entry(end.verdict.clone().unwrap_or_default()).or_default() += 1;
    }
    verdicts
}

/// What `uneventful` lines count.
fn counted(finished: &Finished) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for event in finished.events.iter().filter(|event| event.kind == "uneventful") {
        *verdicts.entry(event.verdict.clone().unwrap_or_default()).or_default() += event.count.unwrap_or(0);
    }
    verdicts
}

fn sum(one: &Verdicts, other: &Verdicts) -> Verdicts {
    let mut sum = one.clone();
    other.iter().for_each(|(verdict, count)| *sum.entry(verdict.clone()).or_default() += count);
    sum
}

/// Connects, sends a byte, and closes in order: the client first, or the server.
fn live(pair: Pair, client_first: bool, idle: Duration) -> Result<()> {
    let Pair { client, server, .. } = pair;
    (&client).write_all(b"?").context("write")?;
    (&server).read_exact(&mut [0]).context("read")?;
    sleep(idle);
    let (first, second) = if client_first { (client, server) } else { (server, client) };
    drop(first);
    drop(second);
    Ok(())
}

/// How many ended in order, whichever side was first: where softirqs are put off, both close before either has heard of it.
fn orderly(verdicts: &Verdicts) -> u64 {
    ["local-close", "peer-close"].iter().filter_map(|verdict| verdicts.get(*verdict)).sum()
}

/// Of each connection all that happened to it, as one tracer says it. Each tracer reads its own clock in its own program, some
/// microseconds after the other: so ids, and times below a second, are left out.
fn stories(finished: &Finished) -> BTreeMap<String, Vec<String>> {
    let mut stories: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in &finished.events {
        let (Some(lport), Some(rport)) = (event.lport, event.rport) else { continue };
        let is_detail = matches!(&*event.kind, "timer" | "owner" | "settings");
        let known = (&event.how, event.connect_us.is_some(), event.pid, &event.errno, event.probes_sent);
        if !is_detail {
            let line = format!("{} {known:?}", event.gist());
            stories.entry(format!("{lport} {rport}")).or_default().push(line);
        }
    }
    stories
}

fn what_is_worth_an_event_is_the_same_and_all_else_is_counted(bench: &Bench) -> Result<()> {
    let netns = Netns::new()?;
    let both = Both::start(bench, &netns)?;
    let plan = Plan::new(Family::V4);
    for number in 0..UNEVENTFUL {
        live(plan.connect(&netns)?, number % 2 == 0, Duration::ZERO)?;
    }
    // Without data for a second and longer before their end: two each way.
    for number in 0..4 {
        live(plan.connect(&netns)?, number % 2 == 0, IDLE)?;
    }
    // A death by keepalive, an answered probe, an abort, and a refusal.
    let dying = plan.clone().keepalive(1, 1, 2).connect(&netns)?;
    let reader = Reader::start(&dying.client, LIMIT)?;
    peer::deafen(&dying.server)?;
    let healthy = Plan::new(Family::V6).keepalive(1, 1, 3).connect(&netns)?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    healthy.abort_both()?;
    dying.abort_both()?;
    plan.connect(&netns)?.abort_both()?;
    let refused = netns.enter(|| {
        let listener = plan.listen()?;
        let there = listener.local_addr()?;
        drop(listener);
        plan.client_socket()?.connect(&there).err().context("connected without a listener")
    })?;
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));

    let [all, quiet] = both.stop()?;
    let (of_all, told, silent) = (verdicts(ends(&all)), verdicts(ends(&quiet)), counted(&quiet));
    assert_eq!(of_all, sum(&told, &silent), "told {told:?}, counted {silent:?}");
    assert_eq!(orderly(&silent), 2 * UNEVENTFUL as u64);
    let stops = [all.stop_line()?, quiet.stop_line()?];
    assert_eq!(stops.map(|stop| stop.verdicts.clone()), [Some(of_all.clone()), Some(of_all)]);
    assert_eq!(stops[0].connections, stops[1].connections);

    let (whole, quiet) = (stories(&all), stories(&quiet));
    assert!(quiet.len() > 10, "{quiet:?}");
    for (connection, story) in &quiet {
        assert_eq!(Some(story), whole.get(connection), "{connection}");
    }
    Ok(())
}

fn connections_from_before_are_reported_when_something_happens_on_them(bench: &Bench) -> Result<()> {
    let netns = Netns::new()?;
    let plan = Plan::new(Family::V4);
    let old: Vec<Pair> = (0..5).map(|_| plan.connect(&netns)).collect::<Result<_>>()?;
    let dying = plan.clone().keepalive(5, 1, 2).connect(&netns)?;
    let both = Both::start(bench, &netns)?;
    let reader = Reader::start(&dying.client, LIMIT)?;
    peer::deafen(&dying.server)?;
    // These end at once after some data, and that one after a silence.
    for (number, pair) in old.into_iter().enumerate() {
        live(pair, true, if number == 0 { IDLE } else { Duration::ZERO })?;
    }
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    let connection = dying.connection;
    dying.abort_both()?;

    let [all, quiet] = both.stop()?;
    let silent = counted(&quiet);
    assert_eq!(orderly(&silent), 8);
    assert_eq!(verdicts(ends(&all)), sum(&verdicts(ends(&quiet)), &silent));
    let story: Vec<&Event> = quiet.events.iter().filter(|event| event.is_of(&connection)).collect();
    let gists: Vec<String> = story.iter().map(|event| event.gist()).filter(|gist| !gist.starts_with("owner")).collect();
    let dies = ["open snapshot", "probe 1/2 sent", "probe 2/2 sent", "reset keepalive-timeout", "end keepalive-timeout"];
    assert_eq!(gists, dies);
    assert!(story.iter().all(|event| event.pid == Some(std::process::id())), "{story:?}");
    Ok(())
}

/// Where the kernel preempts tasks, one may lose its CPU in the middle of a program, which then is skipped for all others.
fn processes_that_preempt_one_another_hide_no_end(bench: &Bench) -> Result<()> {
    const EACH: usize = 400;
    let netns = Netns::new()?;
    let inode = netns.inode().to_string();
    let tracer = bench.full_stream()?.only_tracer_unrecorded(&["--netns", &inode])?;
    let work = |aborts: bool| -> Result<()> {
        let plan = Plan::new(Family::V4);
        for number in 0..EACH {
            let pair = plan.connect(&netns)?;
            if aborts { pair.abort_both()? } else { live(pair, number % 2 == 0, Duration::ZERO)? }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers = [true, false, true].map(|aborts| scope.spawn(move || work(aborts)));
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
    })?;
    sleep(Duration::from_secs(2));
    let finished = tracer.stop()?;
    let ended = verdicts(ends(&finished));
    // Where softirqs are put off, the other end aborts before the reset has reached it.
    let broken: u64 = ["local-abort", "peer-reset"].iter().filter_map(|verdict| ended.get(*verdict)).sum();
    assert_eq!((orderly(&ended), broken, ended.len()), (2 * EACH as u64, 4 * EACH as u64, 4), "{ended:?}");
    assert_eq!(finished.lost(), 0);
    let strangers: Vec<&Event> = ends(&finished).filter(|end| end.pid != Some(std::process::id())).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    Ok(())
}
