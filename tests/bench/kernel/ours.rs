//! The ways in which this tracer is measured, and how many events it makes of each load.
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::tracer::{Attach, binary};

use super::{
    counted,
    load::{CHURN, Load, RESETS},
    subject::{Ready, Subject},
};

const RECORDING: &str = "/tmp/recording.arrows";

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
    let record_all = record_has_all()?;
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

/// Whether `record` leaves uneventful connections out, unless it is asked for all.
pub fn record_has_all() -> Result<bool> {
    let output = Command::new(binary()).args(["record", "--help"]).output().context("cannot run the tracer")?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("--all"))
}

/// How many records the kernel side sends for each unit of a load, when none are held back.
pub struct Records {
    pub per_connection: f64,
    /// Of both ends, from the `close()` that resets one of them.
    pub per_reset: f64,
    /// Of [`CHURN`] connections, ends that the default `trace` has not counted.
    pub ends_missed: f64,
}

/// Counts them, which also warms the machine up: the first time a function is hooked, the kernel changes for good.
pub fn count(load: &Load, attach: Attach) -> Result<Records> {
    let attach = ["--attach", attach.name()];
    let all = ["--all", attach[0], attach[1]];
    let churn = counted::trace(&all, || load.churn().map(drop))?;
    let resets = counted::trace(&all, || load.resets().map(drop))?;
    let quiet = counted::trace(&attach, || load.churn().map(drop))?;
    ensure!(churn.lost + resets.lost + quiet.lost == 0.0, "void: the tracer lost events while its records were counted");
    Ok(Records {
        per_connection: churn.seen / CHURN as f64,
        per_reset: (resets.seen - resets.opens) / RESETS as f64,
        ends_missed: 2.0 * CHURN as f64 - quiet.ended,
    })
}
