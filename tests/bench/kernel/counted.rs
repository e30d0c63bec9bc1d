//! What the tracer itself counts, of its records and of the connections that ended.
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::tracer::binary;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const PRINTED: &str = "/tmp/printed";
const RECORDING: &str = "/tmp/counted.arrows";
const LOG: &str = "/tmp/log";
/// For its start; and at the end, for what it has still to read.
const PAUSE: Duration = Duration::from_secs(5);

/// Counts of one run.
#[derive(Debug, Default)]
pub struct Counted {
    /// Records that it read, or events where it does not report records.
    pub seen: f64,
    /// Events that it counted as lost.
    pub lost: f64,
    /// `open` lines.
    pub opens: f64,
    /// Connections that ended, by all verdicts.
    pub ended: f64,
    /// Events in the recording, and its size.
    pub recorded: f64,
    pub bytes: f64,
}

/// Runs `trace --json` with these further arguments while the work is done.
pub fn trace(arguments: &[&str], work: impl FnOnce() -> Result<()>) -> Result<Counted> {
    let arguments = [&["trace", "--json", "-v"], arguments].concat();
    run(&arguments, work)?;
    let file = File::open(PRINTED).with_context(|| format!("cannot read {PRINTED}"))?;
    let (mut opens, mut last) = (0.0, String::new());
    for line in BufReader::new(file).lines() {
        last = line.context("cannot read what it printed")?;
        opens += f64::from(u8::from(last.contains("\"event\":\"open\"")));
    }
    Ok(Counted { opens, ..counts(&last)? })
}

/// Runs `record` with these further arguments while the work is done. What it lost is in its recording.
pub fn record(arguments: &[&str], work: impl FnOnce() -> Result<()>) -> Result<Counted> {
    let arguments = [&["record", "-o", RECORDING, "--force", "-v"], arguments].concat();
    run(&arguments, work)?;
    let output = Command::new(binary()).args(["report", "--json", "--limit", "1", RECORDING]).output();
    let output = output.context("cannot run the report")?;
    let bytes = fs::metadata(RECORDING).with_context(|| format!("cannot read {RECORDING}"))?.len();
    fs::remove_file(RECORDING).with_context(|| format!("cannot remove {RECORDING}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the report ended with {}: {}", output.status, errors.trim());
    let counted = counts(String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default())?;
    Ok(Counted { bytes: bytes as f64, ..counted })
}

fn run(arguments: &[&str], work: impl FnOnce() -> Result<()>) -> Result<()> {
    let [printed, log] = [PRINTED, LOG].map(|path| File::create(path).with_context(|| format!("cannot write {path}")));
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null()).stdout(printed?).stderr(log?);
    let mut child = command.spawn().context("cannot start the tracer")?;
    sleep(PAUSE);
    work()?;
    sleep(PAUSE);
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT).context("cannot end the tracer")?;
    let status = child.wait().context("wait")?;
    let log = fs::read_to_string(LOG).unwrap_or_default();
    ensure!(status.success(), "the tracer ended with {status}: {}", log.trim());
    Ok(())
}

/// Of the last line of `trace` or of a report, and of the log.
fn counts(last: &str) -> Result<Counted> {
    let last: Value = serde_json::from_str(last).with_context(|| format!("the last line is {last:?}"))?;
    let number = |key: &str| last[key].as_f64().with_context(|| format!("the last line has no `{key}`: {last}"));
    // Ends that are counted nowhere in there are missed.
    let ended = last["verdicts"].as_object().map_or(0.0, |verdicts| verdicts.values().filter_map(Value::as_f64).sum());
    let log = fs::read_to_string(LOG).with_context(|| format!("cannot read {LOG}"))?;
    let recorded = number("events")?;
    Ok(Counted { seen: records_read(&log).unwrap_or(recorded), lost: number("lost")?, ended, recorded, ..Counted::default() })
}

/// `[... INFO ...] 8000 records read`
fn records_read(log: &str) -> Option<f64> {
    let line = log.lines().find_map(|line| line.strip_suffix(" records read"))?;
    line.rsplit(' ').next()?.parse().ok()
}
