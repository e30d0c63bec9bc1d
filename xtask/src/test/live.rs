//! The live tests: two machines for each kernel, and a third for some, two at a time, each in its own virtual time. What
//! wants several CPUs has a machine alone, in real time.
use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{LineWriter, Write as _},
    ops::Add as _,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use super::libtest::{Counts, Suite};
use crate::{
    guest::{self, Guest},
    kernels::{self, Kernel},
    progress::{Board, Task},
    setup::{self, Machine},
    vm::{Clock, Initramfs, Line, MEMORY, MORE_MEMORY, Vm},
    workspace,
};

/// A run takes a few minutes; this much says that it hangs.
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// No test works for so long without a word, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(4 * 60);
/// QEMU's emulation takes one core.
const MOST_AT_ONCE: usize = 2;

/// The two ways to attach, "once" for what doesn't depend on it, and [`SERVERS`]: as the tests' names begin.
pub const ATTACH: [&str; 6] = ["kprobe", "fentry", "quiet", "once", SMP, SERVERS];

/// Tests that want a machine with more than one CPU, which has no virtual time.
pub const SMP: &str = "smp";
const CPUS: u32 = 2;

/// Tests of real servers and clients of HTTP, for which a machine has more than its few files.
pub const SERVERS: &str = "servers";
/// Where these are tried: the servers are the same everywhere.
const SERVERS_ON: [&str; 2] = ["6.1", kernels::NEWEST];

/// What became of one kernel.
pub struct Run {
    pub series: String,
    pub kernel: Result<Kernel>,
    boots: Vec<Boot>,
}

/// What became of one machine.
struct Boot {
    suite: Suite,
    /// The real time that each way to attach took.
    times: BTreeMap<String, Duration>,
    /// The guest's exit code, or why there is none.
    ended: Result<i32>,
}

/// What a machine runs of the tests where nobody chooses: each kernel boots twice, so that two CPUs are busy to the end, and once more
/// with servers. Those that want several CPUs run where they are chosen.
const PARTS: [&[&str]; 3] = [&["once::"], &[SKIP, "once::", SKIP, "servers::", SKIP, "smp::"], &["servers::"]];
const SKIP: &str = "--skip";

/// One machine's part of the tests.
struct Part {
    initramfs: Initramfs,
    /// MiB.
    memory: u32,
    clock: Clock,
    /// Only some kernels run it.
    has_servers: bool,
}

impl Part {
    /// `archive`: the servers and their clients, which the machine has none of where they aren't wanted or can't be had.
    fn new(machine: &Machine, guest: &Guest, arguments: &[&str], archive: Option<&Path>) -> Result<Self> {
        let command: Vec<String> = ["/bin/live", "--color=never"].iter().chain(arguments).map(ToString::to_string).collect();
        let initramfs = Initramfs::build(&machine.busybox, &guest.files(), &command)?;
        let clock = if wants(arguments, SMP) { Clock::Real { cpus: CPUS } } else { Clock::Virtual };
        Ok(match archive {
            Some(archive) => Self { initramfs: initramfs.with_packed(archive)?, memory: MORE_MEMORY, clock, has_servers: true },
            None => Self { initramfs, memory: MEMORY, clock, has_servers: wants(arguments, SERVERS) },
        })
    }

    /// Whether a kernel of the series runs it, where it wasn't chosen.
    fn is_for(&self, series: &str) -> bool {
        !self.has_servers || SERVERS_ON.contains(&series)
    }
}

/// Whether they choose the tests whose names begin so, rather than skip them.
fn wants(arguments: &[&str], prefix: &str) -> bool {
    let before = [""].iter().chain(arguments);
    before.zip(arguments).any(|(before, argument)| *before != SKIP && argument.starts_with(prefix))
}

/// Runs the live tests on these kernels.
pub fn run(machine: Machine, kernels: Vec<(String, Result<Kernel>)>, arguments: &[String]) -> Result<Vec<Run>> {
    let guest = guest::build()?;
    let chosen: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let parts = if chosen.is_empty() { PARTS.to_vec() } else { vec![&chosen[..]] };
    // Where they can't be had, the tests say that they aren't there.
    let servers = parts.iter().any(|part| wants(part, SERVERS)).then(setup::servers);
    if let Some(Err(reason)) = &servers {
        println!("no servers: {reason:#}");
    }
    let servers = servers.and_then(Result::ok);
    let archive = |part: &[&str]| servers.as_deref().filter(|_| wants(part, SERVERS));
    let parts: Vec<Part> = parts.iter().map(|part| Part::new(&machine, &guest, part, archive(part))).collect::<Result<_>>()?;
    let logs = workspace::folder(workspace::vm().join("log"))?;

    let tests = Tests { qemu: machine.qemu, logs, board: Board::new() };
    let mut runs: Vec<Run> = kernels.into_iter().map(|(series, kernel)| Run::new(series, kernel)).collect();
    let jobs = |part| (0..runs.len()).map(move |place| (place, part));
    let (small, large): (Vec<_>, Vec<_>) =
        (0..parts.len()).flat_map(jobs).partition(|(_, part)| parts[*part].clock == Clock::Virtual);
    let run = |(place, part): (usize, usize)| {
        let Run { series, kernel: Ok(kernel), .. } = &runs[place] else { return None };
        if chosen.is_empty() && !parts[part].is_for(series) {
            return None;
        }
        let log = if parts.len() > 1 { format!("{series}-{}.log", part + 1) } else { format!("{series}.log") };
        Some((place, tests.run(kernel, &parts[part], &log)))
    };
    let queue = Mutex::new(VecDeque::from(small));
    let done = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
    thread::scope(|scope| {
        for worker in 0..workers {
            let (queue, done, run) = (&queue, &done, &run);
            scope.spawn(move || {
                // Only speed is lost where that fails.
                drop(stay_on_cpu(worker));
                while let Some(job) = next(queue) {
                    let booted = run(job);
                    done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).extend(booted);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Those with several CPUs have this machine to themselves.
    done.extend(large.into_iter().filter_map(run));
    for (place, booted) in done {
        runs[place].boots.push(booted);
    }
    Ok(runs)
}

/// Keeps this thread, and what it starts, on one of the CPUs: the threads of an emulator take turns, and each turn takes its time
/// where another CPU must be woken for it.
fn stay_on_cpu(worker: usize) -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).context("which CPUs are there?")?;
    let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(cpus.nth(worker).context("there are not so many CPUs")?).context("a CPU's number")?;
    sched_setaffinity(this, &one).context("cannot stay on one CPU")
}

fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front()
}

/// What all boots share.
struct Tests {
    qemu: PathBuf,
    logs: PathBuf,
    board: Board,
}

impl Tests {
    fn run(&self, kernel: &Kernel, part: &Part, log: &str) -> Boot {
        let mut boot = Boot { suite: Suite::default(), times: BTreeMap::new(), ended: Ok(0) };
        let log = self.logs.join(log);
        let task = self.board.task(format!("kernel {}", kernel.full_version()));
        let vm = Vm {
            qemu: self.qemu.clone(),
            kernel: kernel.clone(),
            initramfs: part.initramfs.clone(),
            clock: part.clock,
            memory: part.memory,
            limit: LIMIT,
            patience: PATIENCE,
        };
        boot.ended = follow(&vm, &log, &mut boot.suite, &mut boot.times, &task);
        let outcome = match boot.complaint() {
            None => told(boot.suite.counts("")),
            Some(complaint) => format!("FAILED: {complaint}; all of it: {}", log.display()),
        };
        task.done(&outcome);
        for line in &boot.suite.failures {
            self.board.line(&format!("    {line}"));
        }
        boot
    }
}

fn follow(vm: &Vm, log: &Path, suite: &mut Suite, times: &mut BTreeMap<String, Duration>, task: &Task) -> Result<i32> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    // Line by line, so that the log of a hanging machine can be read.
    let mut file = LineWriter::new(file);
    let mut last = Instant::now();
    let mut written = Ok(());
    let code = vm.run(|line| {
        if written.is_ok() {
            written = writeln!(file, "{}", line.text());
        }
        let Line::Guest(text) = line else {
            last = Instant::now();
            return;
        };
        let Some(name) = suite.line(text) else { return };
        let attach = name.split("::").next().unwrap_or_default().to_owned();
        *times.entry(attach).or_default() += last.elapsed();
        last = Instant::now();
        task.say(&told(suite.counts("")));
    });
    written.with_context(|| format!("cannot write {}", log.display()))?;
    code
}

fn told(counts: Counts) -> String {
    let Counts { passed, failed, skipped } = counts;
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

impl Run {
    fn new(series: String, kernel: Result<Kernel>) -> Self {
        Self { series, kernel, boots: Vec::new() }
    }

    /// Whether the tests came to their end.
    pub fn ran(&self) -> bool {
        !self.boots.is_empty() && self.boots.iter().all(|boot| boot.suite.result.is_some())
    }

    /// The tests whose names begin so.
    pub fn counts_of(&self, prefix: &str) -> Counts {
        self.boots.iter().map(|boot| boot.suite.counts(prefix)).fold(Counts::default(), Counts::add)
    }

    /// The real time that a way to attach took.
    pub fn time_of(&self, attach: &str) -> Duration {
        self.boots.iter().filter_map(|boot| boot.times.get(attach)).sum()
    }

    /// Each skipped test, and why.
    pub fn skips(&self) -> impl Iterator<Item = (&str, &str)> {
        self.boots.iter().flat_map(|boot| boot.suite.skips())
    }

    /// What counts for the totals: a machine that died counts as one failure more.
    pub fn counts(&self) -> Counts {
        let boots = self.boots.iter().map(|boot| {
            let counted = boot.suite.counts("");
            let failed = if boot.complaint().is_some() { counted.failed.max(1) } else { counted.failed };
            Counts { failed, ..counted }
        });
        let counted = boots.fold(Counts::default(), Counts::add);
        if self.kernel.is_err() { Counts { failed: 1, ..counted } } else { counted }
    }

    /// Why this run is not good, if it is not.
    pub fn complaint(&self) -> Option<String> {
        if let Err(reason) = &self.kernel {
            return Some(format!("cannot be had: {reason:#}"));
        }
        let complaints: Vec<String> = self.boots.iter().filter_map(Boot::complaint).collect();
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }
}

impl Boot {
    fn complaint(&self) -> Option<String> {
        let during = self.suite.running().map_or_else(String::new, |name| format!(" during {name}"));
        let error = self.suite.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        match (&self.ended, self.suite.result) {
            (Err(reason), _) => Some(format!("{reason:#}{during}")),
            (Ok(code), None) => Some(format!("exit code {code} and no result{during}{error}")),
            (Ok(_), Some(result)) if result != self.suite.counts("") => {
                Some(format!("the result is {}, but the tests' lines say {}", told(result), told(self.suite.counts(""))))
            }
            (Ok(_), Some(result)) if result.failed > 0 => {
                let failed = self.suite.failed();
                Some(failed.iter().map(|name| format!("{name} ({})", self.suite.why(name))).collect::<Vec<_>>().join(", "))
            }
            (Ok(0), Some(_)) => None,
            (Ok(code), Some(_)) => Some(format!("every test passed, yet the exit code is {code}{error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_runs_all_but_the_servers_tests() {
        let wanted = PARTS.map(|part| wants(part, SERVERS));
        assert_eq!(wanted, [false, false, true]);
        assert!(wants(&["servers::nginx"], SERVERS));
        assert_eq!(PARTS.map(|part| wants(part, SMP)), [false; 3]);
        assert!(wants(&["smp::kprobe"], SMP));
    }
}
