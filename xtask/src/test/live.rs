//! The live tests: one machine for each kernel, two at a time, each in its own virtual time.
use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{LineWriter, Write as _},
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
    guest,
    kernels::Kernel,
    progress::{Board, Task},
    setup::Machine,
    vm::{Clock, Initramfs, Line, MEMORY, Vm},
    workspace,
};

/// A run takes a few minutes; this much says that it hangs.
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// No test works for so long without a word, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(4 * 60);
/// QEMU's emulation takes one core.
const MOST_AT_ONCE: usize = 2;

/// The two ways to attach, and "once" for what doesn't depend on it: as the tests' names begin.
pub const ATTACH: [&str; 3] = ["kprobe", "fentry", "once"];

/// What became of one kernel.
pub struct Run {
    pub series: String,
    pub kernel: Result<Kernel>,
    pub suite: Suite,
    /// The real time that each way to attach took.
    pub times: BTreeMap<String, Duration>,
    /// The guest's exit code, or why there is none.
    pub ended: Result<i32>,
}

/// Runs the live tests on these kernels.
pub fn run(machine: Machine, kernels: Vec<(String, Result<Kernel>)>, arguments: &[String]) -> Result<Vec<Run>> {
    let guest = guest::build()?;
    let command = ["/bin/live", "--color=never"].iter().map(ToString::to_string).chain(arguments.iter().cloned());
    let initramfs = Initramfs::build(&machine.busybox, &guest.files(), &command.collect::<Vec<_>>())?;
    let logs = workspace::folder(workspace::vm().join("log"))?;

    let tests = Tests { qemu: machine.qemu, initramfs, logs, board: Board::new() };
    let count = kernels.len();
    let queue = Mutex::new(kernels.into_iter().enumerate().collect::<VecDeque<_>>());
    let runs = Mutex::new(Vec::with_capacity(count));
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
    thread::scope(|scope| {
        for worker in 0..workers {
            let (queue, runs, tests) = (&queue, &runs, &tests);
            scope.spawn(move || {
                // Only speed is lost where that fails.
                drop(stay_on_cpu(worker));
                while let Some((place, (series, kernel))) = next(queue) {
                    let run = tests.run(series, kernel);
                    runs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((place, run));
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    runs.sort_by_key(|(place, _)| *place);
    Ok(runs.into_iter().map(|(_, run)| run).collect())
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

/// What all runs share.
struct Tests {
    qemu: PathBuf,
    initramfs: Initramfs,
    logs: PathBuf,
    board: Board,
}

impl Tests {
    fn run(&self, series: String, kernel: Result<Kernel>) -> Run {
        let mut run = Run { series, kernel, suite: Suite::default(), times: BTreeMap::new(), ended: Ok(0) };
        let Ok(kernel) = &run.kernel else { return run };
        let log = self.logs.join(format!("{}.log", run.series));
        let task = self.board.task(format!("kernel {}", kernel.full_version()));
        let vm = Vm {
            qemu: self.qemu.clone(),
            kernel: kernel.clone(),
            initramfs: self.initramfs.clone(),
            clock: Clock::Virtual,
            memory: MEMORY,
            limit: LIMIT,
            patience: PATIENCE,
        };
        run.ended = follow(&vm, &log, &mut run.suite, &mut run.times, &task);
        let outcome = match run.complaint() {
            None => told(run.counts()),
            Some(complaint) => format!("FAILED: {complaint}; all of it: {}", log.display()),
        };
        task.done(&outcome);
        for line in &run.suite.failures {
            self.board.line(&format!("    {line}"));
        }
        run
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
    /// Whether the tests came to their end.
    pub fn ran(&self) -> bool {
        self.suite.result.is_some()
    }

    /// What counts for the totals: a machine that died counts as one failure more.
    pub fn counts(&self) -> Counts {
        let counted = self.suite.counts("");
        let failed = if self.complaint().is_some() && counted.failed == 0 { 1 } else { counted.failed };
        Counts { failed, ..counted }
    }

    /// Why this run is not good, if it is not.
    pub fn complaint(&self) -> Option<String> {
        let during = self.suite.running().map_or_else(String::new, |name| format!(" during {name}"));
        let error = self.suite.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        match (&self.kernel, &self.ended, self.suite.result) {
            (Err(reason), ..) => Some(format!("cannot be had: {reason:#}")),
            (_, Err(reason), _) => Some(format!("{reason:#}{during}")),
            (_, Ok(code), None) => Some(format!("exit code {code} and no result{during}{error}")),
            (_, Ok(_), Some(result)) if result != self.suite.counts("") => {
                Some(format!("the result is {}, but the tests' lines say {}", told(result), told(self.suite.counts(""))))
            }
            (_, Ok(_), Some(result)) if result.failed > 0 => Some(self.suite.failed().join(", ")),
            (_, Ok(0), Some(_)) => None,
            (_, Ok(code), Some(_)) => Some(format!("every test passed, yet the exit code is {code}{error}")),
        }
    }
}
