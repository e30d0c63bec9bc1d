//! Two CPUs at once: deaths whose timers are armed together, while other processes reset connections, open and close them.
//!
//! Each worker is a process of its own on one CPU, and both ends of its connections are its own. Time is real and the machine is
//! emulated, so only numbers are held, and no times. What the tracer says that it has lost may be missing, to the last run.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::OnceLock,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use lab::{
    event::Event,
    netns::Netns,
    role::{Actor, Keepalive},
    sockopt,
    stage::Stage,
    tracer::Finished,
    wire::Kind,
};

use crate::{
    bench::{Bench, LIMIT, tests},
    witnesses::Sent,
};

tests![workers_on_both_cpus_are_told_apart_to_the_last_connection];

/// Why this machine can't run them, if it can't.
pub fn missing() -> Option<&'static str> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    (cpus < CPUS).then_some("this machine has only one CPU")
}

const CPUS: usize = 2;
/// Connections of a worker that die.
const DEATHS: usize = 40;
const DYING: Keepalive = [1, 1, 2];
/// From before the first timer to after the last.
const NOISE: Duration = Duration::from_secs(4);

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Deaths,
    Aborts,
    Churn,
}

/// A process, and how many connections it had.
#[derive(Debug)]
struct Worker {
    work: Work,
    name: String,
    pid: u32,
    connections: u64,
}

impl Worker {
    fn run(work: Work, cpu: usize, netns: &Netns) -> Result<Self> {
        let name = format!("{work:?}-{cpu}").to_lowercase();
        let mut actor = Actor::enter(&name, netns)?;
        actor.stay_on(cpu)?;
        let connections = match work {
            Work::Deaths => actor.die_together(DEATHS, DYING),
            Work::Aborts => actor.abort_for(NOISE),
            Work::Churn => actor.churn_for(NOISE),
        };
        let connections = connections.with_context(|| format!("the worker {name}"))? as u64;
        let pid = actor.pid();
        actor.leave()?;
        Ok(Self { work, name, pid, connections })
    }

    /// How its connections end, by verdict: both ends of each.
    fn verdicts(&self) -> [&'static str; 2] {
        match self.work {
            // The server never heard of the death, and is aborted.
            Work::Deaths => ["keepalive-timeout", "local-abort"],
            Work::Aborts => ["local-abort", "peer-reset"],
            Work::Churn => ["local-close", "peer-close"],
        }
    }
}

/// Has the kernel stamp packets from now on, and to the end. It patches its code for that, on its way from one packet to the next;
/// an emulated machine of several CPUs dies of it where another CPU is just there.
fn stamp_packets() -> Result<()> {
    static STAMPS: OnceLock<UdpSocket> = OnceLock::new();
    const PATCHED: Duration = Duration::from_secs(1);
    if STAMPS.get().is_none() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a UDP socket")?;
        sockopt::set(&socket, sockopt::TIMESTAMPS, 1)?;
        thread::sleep(PATCHED);
        STAMPS.get_or_init(|| socket);
    }
    Ok(())
}

/// All of them at once, while the wire is read: its witness has room for only so much.
fn work(stage: &mut Stage) -> Result<Vec<Worker>> {
    let Stage { netns, capture, .. } = stage;
    let netns = &*netns;
    thread::scope(|scope| {
        let all = (0..CPUS).flat_map(|cpu| [Work::Deaths, Work::Aborts, Work::Churn].map(|work| (work, cpu)));
        let workers: Vec<_> = all.map(|(work, cpu)| scope.spawn(move || Worker::run(work, cpu, netns))).collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            capture.frames()?;
            thread::sleep(Duration::from_millis(20));
        }
        workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?).collect()
    })
}

fn workers_on_both_cpus_are_told_apart_to_the_last_connection(bench: &Bench) -> Result<()> {
    stamp_packets()?;
    let mut stage = Stage::open()?;
    let inode = stage.netns.inode().to_string();
    let tracer = bench.only_tracer(&["--netns", &inode])?;
    let workers = work(&mut stage)?;
    let connections: u64 = workers.iter().map(|worker| worker.connections).sum();
    // Whatever is on its way to the tracer is there when it has told of the last end or counted it.
    let ended = |events: &[Event]| -> u64 {
        let counted = |event: &Event| match event.kind.as_str() {
            "end" => 1,
            "uneventful" | "lost" => event.count.unwrap_or(0),
            _ => 0,
        };
        events.iter().map(counted).sum()
    };
    tracer.wait_for("all ends", LIMIT, |events| ended(events) >= 2 * connections)?;
    let finished = tracer.stop()?;
    ensure!(finished.status.success(), "{}", finished.errors);
    let stop = finished.stop_line()?;
    assert_eq!(stop.lost, Some(finished.lost()));

    let unseen = unseen_probes(&mut stage, &finished)?;
    assert!(unseen <= finished.lost(), "{unseen} probes were not told, and {} lost", finished.lost());
    let books = Books::of(&finished);
    assert!(books.forgotten_probes <= finished.lost(), "{books:?}");
    let unseen = books.hold(&workers);
    assert!(unseen <= finished.lost(), "{unseen} ends were not told as they were, and {} lost: {books:?}", finished.lost());
    let opened = stop.connections.context("no connections")?;
    let ended: u64 = stop.verdicts.iter().flatten().map(|(_, count)| count).sum();
    assert!((ended..=ended + finished.lost()).contains(&opened), "{opened} opened, {ended} ended: {stop:?}");
    assert!((opened..=opened + finished.lost()).contains(&(2 * connections)), "{opened} opened: {workers:?}");
    Ok(())
}

/// How many probes were on the wire and not told. Of no connection more are told than were there; and the kernel counts as many.
fn unseen_probes(stage: &mut Stage, finished: &Finished) -> Result<u64> {
    let mut unseen: HashMap<(SocketAddr, SocketAddr), i64> = HashMap::new();
    let mut probes = 0;
    for frame in stage.capture.frames()?.iter().filter(|frame| frame.kind == Kind::Probe) {
        *unseen.entry((frame.segment.from, frame.segment.to)).or_default() += 1;
        probes += 1;
    }
    let deaths = (CPUS * DEATHS) as i64;
    assert_eq!((probes, stage.netns.counters()?.get("TCPKeepAlive")?), (deaths * i64::from(DYING[2]), probes));
    for event in finished.events.iter().filter(|event| event.kind == "probe") {
        let Sent { from, to, .. } = Sent::of_event(event)?;
        *unseen.entry((from, to)).or_default() -= 1;
    }
    unseen.retain(|_, count| *count != 0);
    assert!(unseen.values().all(|count| *count > 0), "told and not on the wire: {unseen:?}");
    Ok(unseen.values().map(|count| count.unsigned_abs()).sum())
}

/// How many ended, by whose they were and by verdict: each told, or only counted.
#[derive(Debug, Default)]
struct Books {
    /// Of what is told of without a process, `None`.
    told: BTreeMap<(Option<(u32, String)>, String), u64>,
    counted: BTreeMap<String, u64>,
    /// Probes of the dead that their ends do not have.
    forgotten_probes: u64,
}

impl Books {
    /// Holds that each history begins with its only opening, ends once at most, and belongs to one process.
    fn of(finished: &Finished) -> Self {
        let mut histories: HashMap<&str, Vec<&Event>> = HashMap::new();
        let mut books = Self::default();
        for event in &finished.events {
            if let Some(id) = &event.conn {
                histories.entry(id).or_default().push(event);
            }
            if event.kind == "uneventful" {
                *books.counted.entry(event.verdict.clone().unwrap_or_default()).or_default() += event.count.unwrap_or(0);
            }
        }
        for history in histories.values() {
            let count = |kind| history.iter().filter(|event| event.kind == kind).count();
            let (first, last) = (history[0], history[history.len() - 1]);
            assert!(first.kind == "open" && count("open") == 1 && count("end") <= 1, "{history:?}");
            let pids: BTreeSet<u32> = history.iter().filter_map(|event| event.pid).collect();
            assert!(pids.len() <= 1, "of two processes: {history:?}");
            if count("end") == 0 {
                continue;
            }
            assert_eq!(last.kind, "end", "{history:?}");
            let verdict = last.verdict.clone().unwrap_or_default();
            if verdict == "keepalive-timeout" {
                let numbers: Vec<_> = history.iter().filter(|event| event.kind == "probe").filter_map(|event| event.n).collect();
                assert!(numbers.is_sorted_by(|one, other| one < other), "{history:?}");
                assert_eq!(
                    (last.errno.as_deref(), last.probes_sent),
                    (Some("ETIMEDOUT"), Some(numbers.len() as u32)),
                    "{history:?}"
                );
                assert_eq!(last.unanswered, last.probes_sent, "{history:?}");
                books.forgotten_probes += u64::from(DYING[2]) - numbers.len() as u64;
            }
            *books.told.entry((last.pid.zip(last.comm.clone()), verdict)).or_default() += 1;
        }
        books
    }

    /// Holds that no end is told that was none, none as another's, and none by another verdict; gives how many ends of these workers
    /// are missing, or have no process.
    fn hold(&self, workers: &[Worker]) -> u64 {
        let mut had: BTreeMap<&str, u64> = BTreeMap::new();
        for worker in workers {
            worker.verdicts().iter().for_each(|verdict| *had.entry(verdict).or_default() += worker.connections);
        }
        let (mut left, mut nameless) = (had, 0);
        let mut take = |verdict: &str, count: u64| {
            let left = left.get_mut(verdict).unwrap_or_else(|| panic!("nothing ended as {verdict}: {self:?}"));
            *left = left.checked_sub(count).unwrap_or_else(|| panic!("too many {verdict}: {workers:?} {self:?}"));
        };
        for ((whose, verdict), count) in &self.told {
            take(verdict, *count);
            let Some((pid, name)) = whose else {
                nameless += count;
                continue;
            };
            let own = workers.iter().find(|worker| worker.pid == *pid && worker.name == *name);
            let own = own.unwrap_or_else(|| panic!("a stranger's: {whose:?} {self:?}"));
            assert!(own.verdicts().contains(&verdict.as_str()) && *count <= own.connections, "{own:?} {self:?}");
        }
        // Whose they were is not known of those that are only counted.
        self.counted.iter().for_each(|(verdict, count)| take(verdict, *count));
        left.values().sum::<u64>() + nameless
    }
}
