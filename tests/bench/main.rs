//! What the tracer adds to a connection's life, measured from outside, in a machine whose clock counts instructions.
//!
//! One boot holds everything: without the tracer, with it attached either way, and without it again. Where the first and the last
//! differ by more than half a percent, the run is void.
#![expect(clippy::print_stdout, reason = "a benchmark reports to whoever started it")]

use std::{
    io::{Read as _, Write as _},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    mounts,
    netns::Netns,
    pair::{Family, Pair, Plan},
    tracer::{Attach, Tracer},
};

/// Connections of one measurement; some to warm up come before.
const CONNECTIONS: usize = 1000;
const WARM_UP: usize = 100;

/// Two runs without the tracer may differ by so much, and the measurement still means something.
const DRIFT: f64 = 0.005;

/// What one way of running costs: in a machine that counts instructions as nanoseconds, instructions.
struct Cost {
    /// Middle and 99th percentile of `close()` with SO_LINGER 0, which sends one reset.
    close_p50: f64,
    close_p99: f64,
    /// A whole connection: connect, a byte each way, orderly close.
    churn: f64,
}

fn main() -> ExitCode {
    match mounts::all().and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // The first one warms the machine up.
    measure()?;
    let before = measure()?;
    println!(
        "{:<8} {:>12} {:>12} {:>14} {:>12} {:>14} {:>10}",
        "", "close() p50", "added", "close() p99", "added", "connection", "ratio"
    );
    report("without", &before, &before, "");
    for attach in Attach::BOTH {
        let tracer = Tracer::start(attach, &[])?;
        let with = measure()?;
        let memory = tracer.peak_memory()?;
        let finished = tracer.stop()?;
        ensure!(finished.lost() == 0, "{} events were lost", finished.lost());
        report(attach.name(), &with, &before, &format!("  peak memory {:.1} MB", memory as f64 / 1e6));
    }
    let after = measure()?;
    report("without", &after, &before, "");
    let drift = (after.close_p50 / before.close_p50 - 1.0).abs().max((after.churn / before.churn - 1.0).abs());
    ensure!(drift <= DRIFT, "void: the runs without the tracer differ by {:.2} %", drift * 100.0);
    println!("instructions; the two runs without the tracer differ by {:.2} %", drift * 100.0);
    Ok(())
}

fn report(name: &str, cost: &Cost, base: &Cost, more: &str) {
    println!(
        "{name:<8} {:>12.0} {:>+12.0} {:>14.0} {:>+12.0} {:>14.0} {:>10.4}{more}",
        cost.close_p50,
        cost.close_p50 - base.close_p50,
        cost.close_p99,
        cost.close_p99 - base.close_p99,
        cost.churn,
        base.churn / cost.churn,
    );
}

/// Begins when what an earlier measurement left behind in TIME_WAIT is gone: it would lengthen the kernel's lists. Attaching
/// makes the kernel rewrite its code, and that is over by then, too.
fn measure() -> Result<Cost> {
    sleep(Duration::from_secs(65));
    let netns = &Netns::new()?;
    let plan = Plan::new(Family::V4);
    let mut closes = Vec::with_capacity(CONNECTIONS);
    for index in 0..WARM_UP + CONNECTIONS {
        let took = close_by_reset(plan.connect(netns)?)?;
        if index >= WARM_UP {
            closes.push(took.as_nanos() as f64);
        }
    }
    closes.sort_by(f64::total_cmp);
    let percentile = |percent: usize| closes.get(closes.len() * percent / 100).copied().context("nothing was measured");
    for _ in 0..WARM_UP {
        live(plan.connect(netns)?)?;
    }
    let started = Instant::now();
    for _ in 0..CONNECTIONS {
        live(plan.connect(netns)?)?;
    }
    let churn = started.elapsed().as_nanos() as f64 / CONNECTIONS as f64;
    Ok(Cost { close_p50: percentile(50)?, close_p99: percentile(99)?, churn })
}

/// The time of a `close()` that sends a reset.
fn close_by_reset(Pair { client, server, .. }: Pair) -> Result<Duration> {
    client.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
    let started = Instant::now();
    drop(client);
    let took = started.elapsed();
    drop(server);
    Ok(took)
}

/// A byte each way, then an orderly end.
fn live(Pair { mut client, mut server, .. }: Pair) -> Result<()> {
    let mut byte = [0];
    client.write_all(b"?").context("the client cannot write")?;
    server.read_exact(&mut byte).context("the server cannot read")?;
    server.write_all(b"!").context("the server cannot write")?;
    client.read_exact(&mut byte).context("the client cannot read")?;
    drop(client);
    drop(server);
    Ok(())
}
