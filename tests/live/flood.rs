//! More events at once than anybody reads: what is lost is counted, to the last one.
use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    netns::Netns,
    pair::{Family, Plan},
    tracer::{Finished, Tracer},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::Socket;

use crate::bench::{Bench, tests};

tests![
    with_a_tiny_ring_every_record_is_read_or_counted_as_lost,
    with_the_default_ring_a_burst_that_it_has_room_for_loses_nothing
];

/// Far more than a ring of one page has room for.
const MANY: u64 = 3000;
/// Room for all that so many offer.
const VAST: &str = "33554432";
/// The default ring has room for some 84,000 records, and each connection that is aborted offers four at once: so many fit,
/// even where the reader does not come to read any before all are there.
const FITTING: u64 = 6000;
/// What one listener holds of connections that nobody accepts.
const BACKLOG: usize = 4096;

fn with_a_tiny_ring_every_record_is_read_or_counted_as_lost(bench: &Bench) -> Result<()> {
    // What a flood of this shape offers is what a large ring has of it, since nothing finds that one full.
    let (calm, resets) = flood(bench, MANY, &["-v", "--buffer", VAST])?;
    assert_eq!((seen(&calm), calm.lost()), (resets, 0));
    let offered = records_read(&calm)?;
    assert_eq!(offered % resets, 0, "each connection has as many records as any other: {offered} of {resets}");

    let (finished, resets) = flood(bench, MANY, &["-v", "--buffer", "4096"])?;
    let lost = finished.lost();
    assert_eq!(records_read(&finished)? + lost, offered, "each record is read, or counted as lost: {lost} of them");
    assert!(lost > 0, "the ring was not tiny enough to lose anything");
    assert!(seen(&finished) < resets);
    let by_place = finished.events.iter().filter(|event| event.kind == "lost");
    assert!(by_place.clone().all(|event| event.place.as_deref() == Some("ring-buffer")), "{:?}", by_place.collect::<Vec<_>>());
    assert_eq!(finished.stop_line()?.lost, Some(lost));
    // Ends among them are learned from a walk: no connection that is gone stays open.
    let of_kind = |kind: &str| finished.events.iter().filter(|event| event.kind == kind).count();
    assert_eq!(of_kind("end"), of_kind("open"), "each connection that was told of has ended");
    Ok(())
}

/// Verbose, it says at its end how many records it took out of the ring.
fn records_read(finished: &Finished) -> Result<u64> {
    let before = finished.errors.lines().find_map(|line| line.strip_suffix(" records read"));
    let count = before.and_then(|line| line.rsplit(' ').next()).and_then(|count| count.parse().ok());
    count.with_context(|| format!("it does not say how many records it read: {}", finished.errors))
}

fn with_the_default_ring_a_burst_that_it_has_room_for_loses_nothing(bench: &Bench) -> Result<()> {
    let (finished, offered) = flood(bench, FITTING, &[])?;
    assert_eq!((seen(&finished), finished.lost()), (offered, 0));
    let stop = finished.stop_line()?;
    assert_eq!((stop.lost, stop.connections), (Some(0), Some(2 * offered)), "both ends of each");
    let verdicts = [("local-abort", offered), ("peer-reset", offered)].map(|(verdict, count)| (verdict.to_owned(), count));
    assert_eq!(stop.verdicts, Some(verdicts.into()));
    Ok(())
}

fn seen(finished: &Finished) -> u64 {
    finished.events.iter().filter(|event| event.kind == "reset").count() as u64
}

/// Opens all connections, then closes them all with linger 0: so many resets as fast as the kernel can. Gives how many the
/// kernel says it was.
fn flood(bench: &Bench, resets: u64, arguments: &[&str]) -> Result<(Finished, u64)> {
    let netns = Netns::new()?;
    allow_many_files()?;
    netns.enter(|| std::fs::write("/proc/sys/net/core/somaxconn", BACKLOG.to_string()).context("somaxconn"))?;
    let inode = netns.inode().to_string();
    let tracer = bench.only_tracer_unrecorded(&[&["--netns", &inode], arguments].concat())?;

    // No process lives in this namespace: a socket shows the tracer the way into it.
    let _door = netns.enter(|| Plan::new(Family::V4).listen())?;
    let before = netns.counters()?;
    netns.enter(|| burst(resets))?;
    let offered = u64::try_from(netns.counters()?.since(&before, "OutRsts")?)?;
    assert_eq!(offered, resets, "the flood itself");
    quiet_down(&tracer);
    Ok((tracer.stop()?, offered))
}

fn burst(resets: u64) -> Result<()> {
    let plan = Plan::new(Family::V4);
    let mut listeners: Vec<Socket> = Vec::new();
    let mut clients = Vec::new();
    while clients.len() < resets as usize {
        if clients.len().is_multiple_of(BACKLOG) {
            let listener = plan.listen()?;
            listener.listen(BACKLOG as i32).context("listen")?;
            listeners.push(listener);
        }
        let there = listeners.last().context("no listener")?.local_addr()?;
        let client = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).context("socket")?;
        client.connect(&there).with_context(|| format!("connection {}", clients.len()))?;
        client.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
        clients.push(client);
    }
    drop(clients);
    Ok(())
}

/// Waits until the tracer says nothing new.
fn quiet_down(tracer: &Tracer) {
    let mut before = 0;
    loop {
        sleep(Duration::from_secs(2));
        let now = tracer.lines();
        if now == before {
            return;
        }
        before = now;
    }
}

fn allow_many_files() -> Result<()> {
    let wanted = FITTING * 2;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("RLIMIT_NOFILE")?;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).context("RLIMIT_NOFILE")?;
    }
    Ok(())
}
