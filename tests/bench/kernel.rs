//! What the tracer adds to a connection's life, measured from outside.
//!
//! One boot holds everything: without the tracer, with it attached either way, and without it again. Where the first and the last
//! differ by more than half a percent, the run is void.
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    netns::Netns,
    pair::{Family, Pair, Plan},
    tracer::{Attach, command},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Connections of one measurement; some to warm up come before.
const CONNECTIONS: usize = 1000;
const WARM_UP: usize = 100;

/// Two runs without the tracer may differ by so much, and the measurement still means something.
const DRIFT: f64 = 0.005;

/// Room for the records of a whole measurement, while nobody reads them.
const RING: &str = "16777216";

/// What one way of running costs: in a machine that counts instructions as nanoseconds, instructions.
struct Cost {
    /// Middle and 99th percentile of `close()` with SO_LINGER 0, which sends one reset.
    close_p50: f64,
    close_p99: f64,
    /// A whole connection: connect, a byte each way, orderly close.
    churn: f64,
}

pub fn run() -> Result<()> {
    // The first one warms the machine up; and the first time anybody hooks a function, the kernel changes for good.
    measure()?;
    for attach in Attach::BOTH {
        Tool::start(attach)?.stop()?;
    }
    let before = measure()?;
    println!(
        "{:<22} {:>12} {:>12} {:>14} {:>12} {:>14} {:>10}",
        "", "close() p50", "added", "close() p99", "added", "connection", "ratio"
    );
    report("without", &before, &before, "");
    for attach in Attach::BOTH {
        let tool = Tool::start(attach)?;
        // Its programs in the kernel alone: the tool itself is held, and reads nothing.
        tool.signal(Signal::SIGSTOP)?;
        report(&format!("{attach}, kernel side"), &measure()?, &before, "");
        tool.signal(Signal::SIGCONT)?;
        let with = measure()?;
        let memory = tool.peak_memory()?;
        tool.stop()?;
        report(&format!("{attach}, all of it"), &with, &before, &format!("  peak memory {:.1} MB", memory as f64 / 1e6));
    }
    let after = measure()?;
    report("without", &after, &before, "");
    let drift = (after.close_p50 / before.close_p50 - 1.0).abs().max((after.churn / before.churn - 1.0).abs());
    ensure!(drift <= DRIFT, "void: the runs without the tracer differ by {:.2} %", drift * 100.0);
    println!("instructions; the two runs without the tracer differ by {:.2} %", drift * 100.0);
    println!("a connection has two ends here, and both are traced; what the tool prints goes to /dev/null");
    Ok(())
}

fn report(name: &str, cost: &Cost, base: &Cost, more: &str) {
    println!(
        "{name:<22} {:>12.0} {:>+12.0} {:>14.0} {:>+12.0} {:>14.0} {:>10.4}{more}",
        cost.close_p50,
        cost.close_p50 - base.close_p50,
        cost.close_p99,
        cost.close_p99 - base.close_p99,
        cost.churn,
        base.churn / cost.churn,
    );
}

/// A `keepalive-trace trace` that writes to nobody.
struct Tool(Child);

impl Tool {
    fn start(attach: Attach) -> Result<Self> {
        let mut command = command(&["trace", "--attach", attach.name(), "--buffer", RING, "-v"]);
        let mut child = command.stdout(Stdio::null()).spawn().context("cannot start the tracer")?;
        let mut log = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            ensure!(log.read_line(&mut line).context("stderr")? > 0, "the tracer ended before it was attached");
        }
        Ok(Self(child))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.0.id().try_into()?), signal).with_context(|| format!("cannot send {signal}"))
    }

    fn peak_memory(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.0.id());
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(1024 * peak.with_context(|| format!("{file} has no VmHWM"))?)
    }

    fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGINT)?;
        let status = self.0.wait().context("wait")?;
        ensure!(status.success(), "the tracer ended with {status}");
        Ok(())
    }
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
