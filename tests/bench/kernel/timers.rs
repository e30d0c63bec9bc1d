//! Keepalive timers that run, and what all of the machine does for each run.
use std::{
    hint::black_box,
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use lab::counters::Counters;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};

use super::load::Load;

/// Two sockets each, with a timer each.
const CONNECTIONS: u32 = 1000;
const PERIOD: Duration = Duration::from_secs(1);
/// How long the timers run.
const WATCHED: Duration = Duration::from_secs(10);
/// Until every timer has run for the first time.
const LEAD: Duration = Duration::from_secs(3);
/// Rounds of one batch of the idle loop, between two looks at the word that ends it.
const BATCH: u64 = 1000;

/// What [`WATCHED`] of timers took.
pub struct Timers {
    /// Runs, each of which sent a probe.
    pub runs: f64,
    /// Of everything that the machine did, in all of its processes and in the kernel.
    pub busy: Duration,
}

impl Timers {
    pub fn per_run(&self) -> f64 {
        self.busy.as_nanos() as f64 / self.runs
    }
}

/// Runs the timers of 2,000 sockets. `watch` is to call what it gets: that is the time that counts.
pub fn run(load: &Load, watch: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>) -> Result<Timers> {
    raise_limit()?;
    // Evenly over one period: how many timers a tick finds would else depend on when the first one was armed.
    let step = PERIOD / CONNECTIONS;
    let started = Instant::now();
    let spread = |number| {
        sleep((started + step * number).saturating_duration_since(Instant::now()));
        connect(load)
    };
    let pairs = (0..CONNECTIONS).map(spread).collect::<Result<Vec<_>>>()?;
    sleep(LEAD);
    let (mut runs, mut busy) = (0.0, Duration::ZERO);
    watch(&mut || {
        let before = Counters::read()?;
        busy = busy_during(|| sleep(WATCHED))?;
        runs = Counters::read()?.since(&before, "TCPKeepAlive")? as f64;
        Ok(())
    })?;
    ensure!(runs > 0.0, "no keepalive timer ran");
    // Resets: nothing of these connections is left for the next measurement.
    for (client, server) in &pairs {
        for end in [client, server] {
            SockRef::from(end).set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
        }
    }
    Ok(Timers { runs, busy })
}

fn connect(load: &Load) -> Result<(TcpStream, TcpStream)> {
    let (client, server) = load.connect()?;
    let keepalive = TcpKeepalive::new().with_time(PERIOD).with_interval(PERIOD);
    for end in [&client, &server] {
        SockRef::from(end).set_tcp_keepalive(&keepalive).context("keepalive")?;
    }
    Ok((client, server))
}

/// How long the machine's one CPU was busy meanwhile. A thread that runs only when nothing else wants to counts its own rounds: the
/// kernel's idle time is too coarse, and newer kernels do not give it in nanoseconds.
fn busy_during(work: impl FnOnce()) -> Result<Duration> {
    let over = AtomicBool::new(false);
    let batches = AtomicU64::new(0);
    let batch = cost_of_batch()?;
    let elapsed = thread::scope(|scope| {
        let idle = scope.spawn(|| {
            yield_to_all()?;
            while !over.load(Ordering::Relaxed) {
                spin();
                batches.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
        let (started, first) = (Instant::now(), batches.load(Ordering::Relaxed));
        work();
        let (elapsed, last) = (started.elapsed(), batches.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        idle.join().map_err(|_| anyhow!("the idle thread panicked"))??;
        anyhow::Ok((elapsed, last - first))
    })?;
    let (elapsed, batches) = elapsed;
    Ok(elapsed.saturating_sub(batch.mul_f64(batches as f64)))
}

/// Of one batch that nothing interrupts.
fn cost_of_batch() -> Result<Duration> {
    const TRIES: usize = 20;
    const BATCHES: u32 = 100;
    let word = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let tries = (0..TRIES).map(|_| {
        let started = Instant::now();
        for _ in 0..BATCHES {
            black_box(word.load(Ordering::Relaxed));
            spin();
            count.fetch_add(1, Ordering::Relaxed);
        }
        started.elapsed() / BATCHES
    });
    tries.min().context("nothing was measured")
}

fn spin() {
    for round in 0..BATCH {
        black_box(round);
    }
}

/// The calling thread runs only when no other thread wants to.
fn yield_to_all() -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the parameters are alive.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    ensure!(set == 0, "SCHED_IDLE: {}", std::io::Error::last_os_error());
    Ok(())
}

pub fn raise_limit() -> Result<()> {
    const FILES: u64 = 2 * CONNECTIONS as u64 + 64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("RLIMIT_NOFILE")?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(FILES), hard.max(FILES)).context("RLIMIT_NOFILE")
}
