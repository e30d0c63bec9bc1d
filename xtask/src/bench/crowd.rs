//! The tracker before a crowd: memory at its peak, beside the goals, and time.
use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::figures::Figures;
use crate::{guest, shell, workspace};

const MILLION: u64 = 1_000_000;
/// The cap, and how many connections come one after the other past it.
const CAP: u64 = 100_000;
const DISTINCT: u64 = 10_000_000;

/// Bytes for a million tracked connections.
const GOAL_BYTES: u64 = 250_000_000;
/// The peak with ten million connections to the peak with as many as the cap allows.
const GOAL_RATIO: f64 = 1.05;

/// What `crowd` says of one measurement.
#[derive(Deserialize)]
struct Measured {
    connections: u64,
    kept: u64,
    ended: u64,
    forgotten: u64,
    sightings: u64,
    bytes: u64,
    user_ns: u64,
}

/// Measures and reports; false when memory goes beyond a goal.
pub fn run(figures: &mut Figures) -> Result<bool> {
    let mut cargo = guest::static_build();
    cargo.args(["--release", "--target-dir"]).arg(workspace::vm()).args(["--package", "tests", "--bin", "crowd"]);
    let crowd = guest::executables(&mut cargo)?.remove("crowd").context("cargo built no `crowd`")?;

    let all = measure(&crowd, MILLION, MILLION)?;
    println!("{} connections, {} of them ended", all.connections, all.ended);
    figures.set("crowd", "MB", all.bytes as f64 / 1e6);
    let memory = all.bytes <= GOAL_BYTES;
    goal("bytes a connection", &(all.bytes / all.kept).to_string(), &(GOAL_BYTES / MILLION).to_string(), memory);
    goal("MB", &format!("{:.1}", all.bytes as f64 / 1e6), &format!("{:.0}", GOAL_BYTES as f64 / 1e6), memory);
    println!("{:>24} {:>8}", "user ns a sighting", all.user_ns / all.sightings);

    let [exact, many] = [measure(&crowd, CAP, CAP)?, measure(&crowd, DISTINCT, CAP)?];
    let ratio = many.bytes as f64 / exact.bytes as f64;
    println!(
        "{} connections through a cap of {CAP}: {} forgotten, {:.1} MB; {CAP} connections alone: {:.1} MB",
        many.connections,
        many.forgotten,
        many.bytes as f64 / 1e6,
        exact.bytes as f64 / 1e6
    );
    figures.set("crowd", "cap", ratio);
    let cap = ratio <= GOAL_RATIO;
    goal("ratio", &format!("{ratio:.3}"), &GOAL_RATIO.to_string(), cap);
    println!("{:>24} {:>8}", "user ns a sighting", many.user_ns / many.sightings);
    Ok(memory && cap)
}

fn goal(what: &str, figure: &str, goal: &str, reached: bool) {
    let outcome = if reached { "" } else { ": missed" };
    println!("{what:>24} {figure:>8}, goal {goal}{outcome}");
}

/// In a process of its own, whose peak is its own.
fn measure(crowd: &Path, connections: u64, capacity: u64) -> Result<Measured> {
    let mut command = Command::new(crowd);
    command.args([connections, capacity].map(|number| number.to_string()));
    let output = command.output().with_context(|| format!("cannot run {}", shell::shown(&command)))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}` failed: {errors}", shell::shown(&command));
    let figures: Measured = serde_json::from_slice(&output.stdout).context("`crowd` says something else than figures")?;
    ensure!(figures.connections == connections, "{} connections were told of, not {connections}", figures.connections);
    let gone = connections.saturating_sub(capacity);
    ensure!(
        (figures.forgotten, figures.kept) == (gone, connections - gone),
        "{} forgotten, {} kept",
        figures.forgotten,
        figures.kept
    );
    Ok(figures)
}
