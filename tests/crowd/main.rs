//! What a crowd of connections costs the tracker: memory at its peak, and time. One measurement a process, since the kernel
//! remembers only one peak.
//!
//! `crowd CONNECTIONS CAPACITY` sends so many connections, made up and always the same, through a tracker of that capacity.
#![expect(clippy::print_stdout, reason = "a benchmark reports to whoever started it")]

mod lives;

use std::{env, fs, hint::black_box, time::Duration};

use anyhow::{Context as _, Result};
use keepalive_trace::model::{ledger::Ledger, owner::Owners, sighting::Sighting, tracker::Tracker};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::json;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1).map(|argument| argument.parse::<u32>().context("usage: crowd CONNECTIONS CAPACITY"));
    let connections = arguments.next().context("how many connections?")??;
    let capacity = arguments.next().context("which capacity?")??;

    // The crowd by itself costs something too.
    let started = user_time()?;
    lives::crowd(connections, |sighting| {
        black_box(sighting);
    });
    let alone = user_time()? - started;

    let base = peak_bytes()?;
    let started = user_time()?;
    let mut ledger = Ledger::default();
    let mut tracker = Tracker::new(lives::HZ, capacity as usize, Owners::default());
    let (mut told, mut sightings, mut events, mut forgotten) = (Vec::new(), 0_u64, 0, 0);
    lives::crowd(connections, |sighting: &Sighting| {
        tracker.see(sighting, &mut told);
        sightings += 1;
        events += told.len();
        told.drain(..).for_each(|event| ledger.note(&event));
        forgotten += tracker.take_lost().map(|lost| lost.count).sum::<u64>();
    });
    tracker.settle(u64::MAX, &mut told);
    events += told.len();
    told.iter().for_each(|event| ledger.note(event));
    let user = (user_time()? - started).saturating_sub(alone);
    let bytes = peak_bytes()? - base;

    let ended: u64 = ledger.verdicts.values().sum();
    let line = json!({
        "connections": ledger.connections, "kept": tracker.histories().count(), "ended": ended, "forgotten": forgotten,
        "sightings": sightings, "events": events, "bytes": bytes, "user_ns": user.as_nanos() as u64,
    });
    println!("{line}");
    Ok(())
}

/// The most memory that this process ever had, bytes.
fn peak_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("/proc/self/status has no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM is no number")?;
    Ok(kib * 1024)
}

fn user_time() -> Result<Duration> {
    let time = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?.user_time();
    Ok(Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000))
}
