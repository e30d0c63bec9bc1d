//! More records than a busy host makes, at a steady rate: none may be lost, and each that is lost must be counted.
use std::{
    hint::spin_loop,
    net::TcpStream,
    os::fd::AsFd as _,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::sockopt::{self, KEEPALIVE, KEEPIDLE};

use super::{
    counted::{self, Counted},
    load::Load,
    ours,
};
use crate::figure::figure;

/// From change to change: 100,000 a second.
const PERIOD: Duration = Duration::from_micros(10);
const RECORDED: u32 = 1_000_000;
const PRINTED: u32 = 500_000;
/// Connections whose settings are changed in turn.
const CONNECTIONS: usize = 100;
/// Changes that any tracer keeps up with, from which it is known how many records each makes.
const CALM: u32 = 2000;
const CALM_PERIOD: Duration = Duration::from_millis(1);

type Count = fn(&[&str], &mut dyn FnMut() -> Result<()>) -> Result<Counted>;

pub fn run() -> Result<()> {
    let load = Load::new()?;
    let all: &[&str] = if ours::record_has_all()? { &["--all"] } else { &[] };
    one(&load, "record", RECORDED, |arguments, work| counted::record(arguments, work), all)?;
    one(&load, "trace --all --json", PRINTED, |arguments, work| counted::trace(arguments, work), &["--all"])
}

fn one(load: &Load, name: &str, changes: u32, count: Count, arguments: &[&str]) -> Result<()> {
    let row = &format!("flood, {name}");
    let pairs = (0..CONNECTIONS).map(|_| load.connect()).collect::<Result<Vec<_>>>()?;
    for (client, _) in &pairs {
        sockopt::set(client.as_fd(), KEEPALIVE, 1)?;
    }
    let mut clients: Vec<&TcpStream> = pairs.iter().map(|(client, _)| client).collect();
    let nothing = count(arguments, &mut || Ok(()))?;
    let calm = count(arguments, &mut || change(&clients, CALM, CALM_PERIOD).map(drop))?;
    ensure!(calm.lost == 0.0, "void: {name} lost {} events without a load", calm.lost);
    let each = (calm.seen - nothing.seen) / f64::from(CALM);
    let mut took = Duration::ZERO;
    let flood = count(arguments, &mut || {
        took = change(&clients, changes, PERIOD)?;
        Ok(())
    })?;
    clients.clear();
    let offered = nothing.seen + each * f64::from(changes);
    figure(row, "records a change", each);
    figure(row, "changes/s", f64::from(changes) / took.as_secs_f64());
    figure(row, "lost", flood.lost);
    figure(row, "unaccounted", (offered - flood.seen - flood.lost).abs());
    Ok(())
}

/// Changes a setting that often, at this pace; gives how long it took.
fn change(clients: &[&TcpStream], changes: u32, period: Duration) -> Result<Duration> {
    let started = Instant::now();
    for number in 0..changes {
        let due = period * number;
        while started.elapsed() < due {
            if period > Duration::from_micros(100) {
                sleep(due.saturating_sub(started.elapsed()));
            } else {
                spin_loop();
            }
        }
        let round = number as usize / clients.len();
        let client = clients[number as usize % clients.len()];
        sockopt::set(client.as_fd(), KEEPIDLE, if round.is_multiple_of(2) { 1000 } else { 2000 })?;
    }
    Ok(started.elapsed())
}
