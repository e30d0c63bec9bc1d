//! What a recording of many events costs: to write it, to make a report of it, and to export it; beside what a capture of the same
//! connections costs. Nothing here needs a kernel that traces.
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, BufWriter},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use keepalive_trace::{
    model::event::{Body, Event},
    recording::Writer,
};
use lab::fleet::{self, Generator, Plan, pcap::Capture};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::{
    cost::{self, Cost},
    figure,
};

/// The part that writes, in a process of its own: a child's peak begins with its parent's, and this one takes much.
pub const WRITE: &str = "report-write";

const SEED: u64 = 1;
const CONNECTIONS: u32 = 100_000;
const EVENTS: u64 = 10_000_000;
/// A capture of all connections has so many packets, and the others are left out: readers of captures take their time.
const PACKETS: u64 = 1_000_000;
/// Events that are made up before the clock runs.
const BLOCK: usize = 50_000;
/// Reports, of which the middle one counts.
const RUNS: usize = 3;

const GOAL_EVENT_BYTES: f64 = 30.0;
const GOAL_SECONDS: f64 = 4.0;
const GOAL_MB: f64 = 150.0;

const ALL: &str = "all.arrows";
/// The events of the packets.
const PART: &str = "part.arrows";
const PCAP: &str = "part.pcap";
const PARQUET: &str = "all.parquet";
const SAID: &str = "said";

/// What was written.
#[derive(Serialize, Deserialize)]
struct Written {
    events: u64,
    /// Of CPU time, for all of them.
    ns: u64,
    part_events: u64,
    packets: u64,
    /// Probes among the events of the packets.
    probes: u64,
}

/// Measures and reports, with what is written going to `folder`.
pub fn run(folder: &Path, tracer: &Path, tshark: Option<&Path>) -> Result<bool> {
    let cpu = pin()?;
    let mut writer = Command::new(std::env::current_exe().context("the bench's own path")?);
    let said = cost::said(writer.arg(WRITE).arg(folder))?;
    let written: Written = serde_json::from_str(&said).context("the writer says something else than figures")?;
    let events = written.events;
    println!("{events} events of {CONNECTIONS} connections, seed {SEED}; times are of one CPU, number {cpu}");
    let all = folder.join(ALL);
    let bytes = fs::metadata(&all).with_context(|| format!("cannot read {}", all.display()))?.len() as f64;
    let mut fine = goal("bytes an event", bytes / events as f64, GOAL_EVENT_BYTES);
    figure::figure("report", "bytes an event", bytes / events as f64);
    figure("us an event to write", &format!("{:.3}", written.ns as f64 / 1e3 / events as f64));

    let report = report(tracer, &all)?;
    let rate = events as f64 / report.cpu.as_secs_f64();
    goal("report, s", report.cpu.as_secs_f64(), GOAL_SECONDS);
    figure::figure("report", "seconds", report.cpu.as_secs_f64());
    figure("until done, s", &format!("{:.2}", report.elapsed.as_secs_f64()));
    fine &= goal("report, MB", megabytes(&report), GOAL_MB);
    figure::figure("report", "MB", megabytes(&report));
    figure("report, events/s", &format!("{rate:.0}"));

    let parquet = folder.join(PARQUET);
    let mut export = Command::new(tracer);
    let export = cost::run(export.args(["export", "--events", "--force", "-o"]).arg(&parquet).arg(&all))?;
    figure("export to Parquet, s", &format!("{:.2}", export.cpu.as_secs_f64()));
    figure("peak, MB", &format!("{:.1}", megabytes(&export)));
    let size = fs::metadata(&parquet).with_context(|| format!("cannot read {}", parquet.display()))?.len();
    figure("file, MB", &format!("{:.1}", size as f64 / 1e6));

    match tshark {
        Some(tshark) => beside(&Files { folder, tracer, tshark }, &written, rate)?,
        None => println!("tshark is not there: no comparison"),
    }
    Ok(fine)
}

struct Files<'a> {
    folder: &'a Path,
    tracer: &'a Path,
    tshark: &'a Path,
}

/// What reading packets costs instead. `rate`: events a second of the report.
fn beside(Files { folder, tracer, tshark }: &Files, written: &Written, rate: f64) -> Result<()> {
    let Written { events, part_events, packets, probes, .. } = *written;
    let share = events as f64 / part_events as f64;
    println!("{packets} packets, of the first {part_events} events: scaled down by {share:.1}");
    let version = cost::said(Command::new(tshark).arg("--version"))?;
    println!("{}", version.lines().next().unwrap_or_default());
    let said = folder.join(SAID);
    let into = || File::create(&said).with_context(|| format!("cannot write {}", said.display()));
    let mut command = Command::new(tshark);
    command.args(["-n", "-r"]).arg(folder.join(PCAP)).args(["-Y", "tcp.analysis.keep_alive"]);
    let read = cost::run_into(&mut command, into()?.into())?;
    let seen = lines(&said)?.count();
    let millions = packets as f64 / 1e6;
    figure("tshark, s a M packets", &format!("{:.2}", read.cpu.as_secs_f64() / millions));
    figure("peak, MB a M packets", &format!("{:.1}", megabytes(&read) / millions));
    let packet_rate = packets as f64 / read.cpu.as_secs_f64();
    figure("tshark, packets/s", &format!("{packet_rate:.0}"));
    figure("events/s to packets/s", &format!("{:.1}", rate / packet_rate));

    let mut command = Command::new(tracer);
    cost::run_into(command.args(["report", "--json"]).arg(folder.join(PART)), into()?.into())?;
    let mut counted = 0;
    for line in lines(&said)? {
        let line: serde_json::Value = serde_json::from_str(&line?).context("a line of the report")?;
        counted += line["probes_sent"].as_u64().unwrap_or(0);
    }
    println!("keepalives in the capture: {probes} were written; the report counts {counted}, tshark {seen}");
    Ok(())
}

/// The middle one of some reports.
fn report(tracer: &Path, file: &Path) -> Result<Cost> {
    let mut costs = (0..RUNS).map(|_| cost::run(Command::new(tracer).arg("report").arg(file))).collect::<Result<Vec<_>>>()?;
    costs.sort_by_key(|cost| cost.cpu);
    costs.get(RUNS / 2).copied().context("nothing was measured")
}

/// Writes the recording of all events, and for some of them a recording and a capture.
pub fn write(folder: &Path) -> Result<()> {
    let plan = Plan { seed: SEED, host: "bench".to_owned(), connections: CONNECTIONS, events: EVENTS, hostile: false };
    let header = fleet::header(&plan);
    let begin = |name: &str| -> Result<_> {
        let path = folder.join(name);
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Writer::begin(BufWriter::new(file), &header)
    };
    let mut all = begin(ALL)?;
    let mut part = begin(PART)?;
    let pcap = folder.join(PCAP);
    let pcap = File::create(&pcap).with_context(|| format!("cannot write {}", pcap.display()))?;
    let mut capture = Capture::begin(BufWriter::new(pcap))?;
    let mut written = Written { events: 0, ns: 0, part_events: 0, packets: 0, probes: 0 };
    let mut generator = Generator::new(plan);
    let mut block: Vec<Event> = Vec::with_capacity(BLOCK);
    loop {
        block.extend(generator.by_ref().take(BLOCK));
        let Some(last) = block.last() else { break };
        let now = last.mono_ns;
        let began = cpu_time()?;
        for event in &block {
            written.events += u64::from(all.add(event)?);
        }
        written.ns += (cpu_time()? - began).as_nanos() as u64;
        for event in &block {
            if capture.packets >= PACKETS {
                break;
            }
            capture.show(event)?;
            written.part_events += u64::from(part.add(event)?);
            written.probes += u64::from(matches!(event.body, Body::Probe(..)));
        }
        block.clear();
        if written.events >= EVENTS {
            // All but the last batch is written.
            let began = cpu_time()?;
            all.finish(Some((now, written.events))).map_err(|(_, error)| error)?;
            written.ns += (cpu_time()? - began).as_nanos() as u64;
            part.finish(None).map_err(|(_, error)| error)?;
            written.packets = capture.packets;
            capture.finish()?;
            println!("{}", serde_json::to_string(&written).context("cannot tell the figures")?);
            return Ok(());
        }
    }
    bail!("there were only {} events", written.events)
}

/// Stays on one CPU, and so does whatever is started.
fn pin() -> Result<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("which CPUs are there?")?;
    let cpu = (0..CpuSet::count()).rfind(|cpu| allowed.is_set(*cpu).unwrap_or(false)).context("there is no CPU")?;
    let mut one = CpuSet::new();
    one.set(cpu).context("a CPU's number")?;
    sched_setaffinity(Pid::from_raw(0), &one).context("cannot stay on one CPU")?;
    Ok(cpu)
}

fn cpu_time() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).context("which CPU time?")
}

fn lines(path: &Path) -> Result<impl Iterator<Item = Result<String>>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::new(file).lines().map(|line| line.context("cannot read what was said")))
}

fn megabytes(cost: &Cost) -> f64 {
    cost.peak as f64 / 1e6
}

fn figure(what: &str, figure: &str) {
    println!("{what:>24} {figure:>8}");
}

/// Whether it was reached.
fn goal(what: &str, figure: f64, goal: f64) -> bool {
    let reached = figure <= goal;
    let outcome = if reached { "" } else { ": missed" };
    println!("{what:>24} {figure:>8.2}, goal {goal}, ratio {:.2}{outcome}", figure / goal);
    reached
}
