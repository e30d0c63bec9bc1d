//! The ways in which this tracer is measured, and how many events it makes of each load.
use std::{
    fs::{self, File},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::tracer::{Attach, binary};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    load::{CHURN, Load, RESETS},
    subject::{Ready, Subject},
};

const RECORDING: &str = "/tmp/recording.arrows";
const PRINTED: &str = "/tmp/printed";
const LOG: &str = "/tmp/log";
const PAUSE: Duration = Duration::from_secs(3);

/// What is measured of one of them, beside churn.
pub struct Way {
    pub subject: Subject,
    /// Every event comes from the kernel to the tool, not only those of eventful connections.
    pub full: bool,
    /// The kernel side is also measured alone.
    pub kernel_side: bool,
    /// Timers are measured.
    pub timers: bool,
    /// The ring is filled once before the peak of memory is read.
    pub fill: bool,
    /// Ten minutes in which nothing happens are measured.
    pub idle: bool,
}

/// All of them.
pub fn ways(attach: Attach) -> Result<Vec<Way>> {
    let way = |name: &str, arguments: &[&str]| {
        let arguments = [arguments, &["--attach", attach.name(), "-v"]].concat();
        let subject = Subject::new(&format!("{name}, {attach}"), binary(), &arguments, Ready::Stderr("attached"));
        Way { subject, full: false, kernel_side: false, timers: false, fill: false, idle: false }
    };
    let record_all = help("record")?.contains("--all");
    let record = ["record", "-o", RECORDING, "--force"];
    let mut ways = vec![
        Way { kernel_side: true, fill: true, idle: true, ..way("trace", &["trace"]) },
        Way { full: true, kernel_side: true, ..way("trace --all", &["trace", "--all"]) },
        Way { full: true, timers: true, ..way("trace --all --json", &["trace", "--all", "--json"]) },
        Way { full: !record_all, timers: true, fill: true, ..way("record", &record) },
    ];
    if record_all {
        ways.push(Way { full: true, timers: true, ..way("record --all", &[&record[..], &["--all"]].concat()) });
    }
    Ok(ways)
}

fn help(command: &str) -> Result<String> {
    let output = Command::new(binary()).args([command, "--help"]).output().context("cannot run the tracer")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How many records the kernel side sends for each unit of a load, when none are held back.
pub struct Records {
    pub per_connection: f64,
    /// Of both ends, from the `close()` that resets one of them.
    pub per_reset: f64,
}

/// Counts them, which also warms the machine up: the first time a function is hooked, the kernel changes for good.
pub fn count(load: &Load, attach: Attach) -> Result<Records> {
    let churn = counted(attach, || load.churn().map(drop))?;
    let resets = counted(attach, || load.resets().map(drop))?;
    Ok(Records { per_connection: churn.records / CHURN as f64, per_reset: (resets.records - resets.opens) / RESETS as f64 })
}

struct Counted {
    records: f64,
    opens: f64,
}

fn counted(attach: Attach, work: impl FnOnce() -> Result<()>) -> Result<Counted> {
    let [printed, log] = [PRINTED, LOG].map(|path| File::create(path).with_context(|| format!("cannot write {path}")));
    let mut command = Command::new(binary());
    command.args(["trace", "--json", "--all", "-v", "--attach", attach.name()]);
    let mut child = command.stdin(Stdio::null()).stdout(printed?).stderr(log?).spawn().context("cannot start the tracer")?;
    sleep(PAUSE);
    work()?;
    sleep(PAUSE);
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT).context("cannot end the tracer")?;
    let status = child.wait().context("wait")?;
    ensure!(status.success(), "the tracer ended with {status}");
    let [text, log] = [PRINTED, LOG].map(|path| fs::read_to_string(path).with_context(|| format!("cannot read {path}")));
    let (text, log) = (text?, log?);
    fs::remove_file(PRINTED).with_context(|| format!("cannot remove {PRINTED}"))?;
    let lines = |kinds: &[&str]| {
        let marks: Vec<String> = kinds.iter().map(|kind| format!("\"event\":\"{kind}\"")).collect();
        text.lines().filter(|line| marks.iter().any(|mark| line.contains(mark))).count() as f64
    };
    ensure!(lines(&["lost"]) == 0.0, "void: the tracer lost events while its records were counted");
    let opens = lines(&["open"]);
    // Without that line, events stand for records: a few records make no event.
    let records = records_read(&log).unwrap_or_else(|| opens + lines(&["settings", "reset", "end"]));
    Ok(Counted { records, opens })
}

/// `[... INFO ...] 8000 records read`
fn records_read(log: &str) -> Option<f64> {
    let line = log.lines().find_map(|line| line.strip_suffix(" records read"))?;
    line.rsplit(' ').next()?.parse().ok()
}
