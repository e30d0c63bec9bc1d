//! What tracers cost the machine that they watch: this one and its peers, in one boot.
//!
//! The first and the last measurement are without any tracer. If they differ by more than half a percent, the run is void.
mod counted;
pub mod flood;
pub mod idle;
mod load;
mod ours;
mod peers;
pub mod subject;
mod timers;

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::tracer::Attach;
use nix::sys::signal::Signal;

use crate::figure::{figure, note};
use load::{CHURN, Load};
use ours::{Records, Way};
use peers::Peer;
use subject::Running;

/// Two measurements without a tracer differ by no more than this.
const DRIFT: f64 = 0.005;
/// Likewise, of timers: these figures include all that the machine does in ten seconds, its own ticks, too.
const TIMER_DRIFT: f64 = 0.02;
/// Goal 12 of the goals table: this long nothing happens on this many connections.
const IDLE: Duration = Duration::from_secs(600);
const IDLE_CONNECTIONS: usize = 12;

/// The machine without a tracer.
struct Base {
    /// Instructions of a connection.
    connection: f64,
    /// Instructions of a `close()` that sends a reset.
    close: f64,
    /// Instructions of a timer's run, all of the machine's.
    run: f64,
}

pub fn run() -> Result<()> {
    let load = Load::new()?;
    let mut records = Vec::new();
    for attach in Attach::BOTH {
        records.push(ours::count(&load, attach)?);
    }
    // Peers hook other places of the kernel, which stay as changed. Why one does not start is reported with its row.
    for peer in peers::peers() {
        if let Ok(running) = peer.subject.start() {
            running.stop()?;
        }
    }
    let base = measure_base(&load)?;
    report_base("no tracer", &base);
    let mut starts = Vec::new();
    for (attach, records) in Attach::BOTH.into_iter().zip(&records) {
        figure(&format!("records, {attach}"), "per connection", records.per_connection);
        figure(&format!("records, {attach}"), "per reset", records.per_reset);
        figure(&format!("records, {attach}"), "ends missed", records.ends_missed);
        for way in ours::ways(attach)? {
            starts.push((way.subject.name.clone(), measure_way(&load, &base, &way, records)?));
        }
    }
    for peer in peers::peers() {
        if let Err(error) = measure_peer(&load, &base, &peer) {
            note(&peer.subject.name, &format!("not measured: {error:#}"));
        }
    }
    match peers::bpftrace().start() {
        Ok(running) => {
            let start = running.start;
            running.stop()?;
            figure("bpftrace, start", "start", millions(start));
            for (row, ours) in starts {
                figure(&row, "start ratio", nanoseconds(ours) / nanoseconds(start));
            }
        }
        Err(error) => note("bpftrace, start", &format!("not measured: {error:#}")),
    }
    let after = measure_base(&load)?;
    report_base("no tracer, again", &after);
    let between = |before: f64, after: f64| (after / before - 1.0).abs();
    let drift = between(base.connection, after.connection).max(between(base.close, after.close));
    let timer_drift = between(base.run, after.run);
    figure("no tracer, again", "drift", drift * 100.0);
    figure("no tracer, again", "timer drift", timer_drift * 100.0);
    ensure!(drift <= DRIFT, "void: the measurements without a tracer differ by {:.2} %", drift * 100.0);
    ensure!(timer_drift <= TIMER_DRIFT, "void: the timers without a tracer differ by {:.2} %", timer_drift * 100.0);
    Ok(())
}

fn measure_base(load: &Load) -> Result<Base> {
    load.settle()?;
    let connection = nanoseconds(load.churn()?) / CHURN as f64;
    let close = nanoseconds(load.resets()?);
    let run = timers::run(load, |watch| watch())?.per_run();
    Ok(Base { connection, close, run })
}

fn report_base(row: &str, base: &Base) {
    figure(row, "connection", base.connection);
    figure(row, "ratio", 1.0);
    figure(row, "close", base.close);
    figure(row, "run", base.run);
}

/// Gives what its start took.
fn measure_way(load: &Load, base: &Base, way: &Way, records: &Records) -> Result<Duration> {
    let row = way.subject.name.as_str();
    let running = way.subject.start()?;
    let start = running.start;
    figure(row, "start", millions(start));
    figure(row, "memory at rest", running.peak_memory()?);
    if way.idle {
        let connections = (0..IDLE_CONNECTIONS).map(|_| load.connect()).collect::<Result<Vec<_>>>()?;
        let before = running.cpu()?;
        std::thread::sleep(IDLE);
        figure(row, "idle", millions(running.cpu()? - before));
        drop(connections);
    }
    if way.kernel_side {
        kernel_side(load, base, way, records, &running)?;
    }
    let tool = churn(load, base, row, &running)?;
    if way.full {
        figure(row, "tool", tool / CHURN as f64 / records.per_connection);
    }
    if way.timers {
        timer_runs(load, base, row, &running)?;
    }
    if way.fill {
        load.fill()?;
        running.cpu_since(Duration::ZERO)?;
    }
    figure(row, "peak memory", running.peak_memory()?);
    running.stop_well()?;
    Ok(start)
}

/// The programs in the kernel alone: the tool is stopped, and reads nothing. Its ring has room for all of it.
fn kernel_side(load: &Load, base: &Base, way: &Way, records: &Records, running: &Running) -> Result<()> {
    let row = &format!("{}, kernel side", way.subject.name);
    running.signal(Signal::SIGSTOP)?;
    load.settle()?;
    report_connection(row, base, nanoseconds(load.churn()?) / CHURN as f64);
    let close = nanoseconds(load.resets()?) - base.close;
    figure(row, "close", close);
    if way.full {
        figure(row, "record", close / records.per_reset);
    }
    running.signal(Signal::SIGCONT)
}

/// Reports churn beside a tracer; gives the tracer's own CPU time, nanoseconds.
fn churn(load: &Load, base: &Base, row: &str, running: &Running) -> Result<f64> {
    load.settle()?;
    // What it has not read of the warm-up is not part of the measurement.
    running.cpu_since(Duration::ZERO)?;
    let before = running.cpu()?;
    let elapsed = load.churn()?;
    let during = running.cpu()?;
    // It pays for what it has still to read, too.
    let total = elapsed + running.cpu_since(during)?;
    report_connection(row, base, nanoseconds(total) / CHURN as f64);
    Ok(nanoseconds(running.cpu()? - before))
}

fn report_connection(row: &str, base: &Base, connection: f64) {
    figure(row, "connection", connection - base.connection);
    figure(row, "ratio", base.connection / connection);
}

fn timer_runs(load: &Load, base: &Base, row: &str, running: &Running) -> Result<()> {
    let mut tool = Duration::ZERO;
    let timers = timers::run(load, |busy| {
        let before = running.cpu()?;
        busy()?;
        tool = running.cpu()? - before;
        Ok(())
    })?;
    figure(row, "run", timers.per_run() - base.run);
    figure(row, "tool, run", nanoseconds(tool) / timers.runs);
    Ok(())
}

fn measure_peer(load: &Load, base: &Base, peer: &Peer) -> Result<()> {
    let row = peer.subject.name.as_str();
    let running = peer.subject.start()?;
    figure(row, "start", millions(running.start));
    figure(row, "memory at rest", running.peak_memory()?);
    churn(load, base, row, &running)?;
    if peer.resets {
        figure(row, "close", nanoseconds(load.resets()?) - base.close);
    }
    if peer.timers {
        timer_runs(load, base, row, &running)?;
    }
    figure(row, "peak memory", running.peak_memory()?);
    // Not every peer has a success to report when it is interrupted.
    running.stop().map(drop)
}

fn millions(time: Duration) -> f64 {
    nanoseconds(time) / 1e6
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}
