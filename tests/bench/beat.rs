//! A heart that beats over a TCP connection: a byte there and back at fixed times. What keeps the network waiting shows in it.
use std::{
    hint::spin_loop,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// The word that makes this program one that is only busy.
pub const BUSY: &str = "busy";

/// From beat to beat: a round trip takes a tenth of it, and leaves the CPU to others for the rest.
const PERIOD: Duration = Duration::from_micros(500);
/// Any real-time priority goes before everything that a listing does.
const PRIORITY: i32 = 50;

/// Who goes first on the one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The beat, as soon as the kernel can switch at all.
    First,
    /// It takes its turns with the others, as the scheduler likes.
    Fair,
}

/// How long beats took, from when each was due to when it was back.
pub struct Beats {
    pub median: Duration,
    pub largest: Duration,
    pub count: usize,
}

/// Beats while the work is done.
pub fn during(turn: Turn, work: impl FnOnce() -> Result<()>) -> Result<Beats> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let near = TcpStream::connect(listener.local_addr()?).context("cannot connect")?;
    let (far, _) = listener.accept().context("cannot accept")?;
    for end in [&near, &far] {
        end.set_nodelay(true).context("TCP_NODELAY")?;
    }
    let over = AtomicBool::new(false);
    let (took, done) = thread::scope(|scope| {
        scope.spawn(|| take(turn).and_then(|()| echo(far)));
        let beats = scope.spawn(|| take(turn).and_then(|()| beat(near, &over)));
        let done = work();
        over.store(true, Ordering::Relaxed);
        (beats.join(), done)
    });
    let mut took = took.map_err(|_| anyhow!("the beat panicked"))??;
    took.sort_unstable();
    let (Some(&largest), Some(&median)) = (took.last(), took.get(took.len() / 2)) else {
        return Err(anyhow!("void: it was over before the first beat"));
    };
    done.map(|()| Beats { median, largest, count: took.len() })
}

/// For the calling thread.
fn take(turn: Turn) -> Result<()> {
    if turn == Turn::Fair {
        // Other sleepers may be woken late to save power; the beat is not to be.
        return nix::sys::prctl::set_timerslack(1).context("PR_SET_TIMERSLACK");
    }
    let priority = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: 0 is the calling thread, and the parameters are alive.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
    ensure!(set == 0, "SCHED_FIFO: {}", std::io::Error::last_os_error());
    Ok(())
}

fn beat(mut end: TcpStream, over: &AtomicBool) -> Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(1 << 16);
    let mut due = now()? + PERIOD;
    while !over.load(Ordering::Relaxed) {
        // It returns early only for a signal, and nobody sends one.
        clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &due.into()).context("sleep")?;
        end.write_all(b"?").and_then(|()| end.read_exact(&mut [0])).context("the beat's connection")?;
        let back = now()?;
        took.push(back.saturating_sub(due));
        // What was due meanwhile is not made up for.
        due = back.max(due) + PERIOD;
    }
    Ok(took)
}

fn echo(mut end: TcpStream) -> Result<()> {
    let mut byte = [0];
    loop {
        match end.read_exact(&mut byte) {
            Ok(()) => end.write_all(&byte).context("the echo's connection")?,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).context("the echo's connection"),
        }
    }
}

fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC).context("CLOCK_MONOTONIC")?.into())
}

/// The part of one who needs the CPU so long, and nothing of the kernel.
pub fn be_busy(instructions: u64) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_nanos(instructions) {
        spin_loop();
    }
    Ok(())
}
