//! `sockets`: every socket that there is, once, with what is really in force on it.
mod choice;
mod crowd;
mod order;

use std::{collections::BTreeMap, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    clock::{self, hz, jiffies_to_time},
    diag::{self, Timer},
    listing::{self, Listing, Socket},
    pair::{Family, Plan},
    peer,
    stage::Stage,
};

use crate::bench::{Bench, LIMIT, tests};
use choice::*;
use crowd::five_hundred_sockets_are_listed_as_their_owners_and_the_kernel_have_them;
use order::*;

tests![
    five_hundred_sockets_are_listed_as_their_owners_and_the_kernel_have_them,
    data_in_flight_is_shown_and_does_not_hide_the_keepalive_timer,
    data_that_waits_for_a_closed_window_is_unsent,
    probes_that_are_out_are_counted_and_the_timer_is_the_interval_s,
    a_connection_that_is_being_opened_has_no_timer_yet,
    ports_addresses_and_families_are_chosen_from,
    processes_and_cgroups_are_chosen_from,
    namespaces_are_chosen_from,
    listeners_are_listed_when_asked_for,
    each_order_is_what_its_name_says,
    for_people_there_is_a_line_a_socket_under_a_header,
    what_cannot_be_meant_is_a_usage_error,
];

/// The whole namespace of a stage.
fn all_of(stage: &Stage, arguments: &[&str]) -> Result<Listing> {
    let netns = stage.netns.inode().to_string();
    listing::list(&[&["--netns", &netns], arguments].concat())
}

/// Holds that the keepalive timer has the deadline that inet_diag showed. Both count from "now" in whole jiffies.
fn has_the_deadline(socket: &Socket, shown: &diag::Shown, listed: &diag::Listing) -> Result<()> {
    let jiffy = i128::try_from(jiffies_to_time(1, hz()?).as_nanos())?;
    let left = i128::try_from(shown.left.as_nanos())?;
    let range = i128::from(listed.began) + left - jiffy..=i128::from(listed.ended) + left + jiffy;
    let deadline = socket.deadline().with_context(|| format!("{shown:?}, and no timer_left_ms: {socket:?}"))?;
    assert!(range.contains(&deadline), "due at {deadline}, the kernel shows {range:?}: {socket:?} {shown:?}");
    Ok(())
}

fn data_in_flight_is_shown_and_does_not_hide_the_keepalive_timer(_: &Bench) -> Result<()> {
    const SENT: u64 = 321;
    let stage = Stage::open()?;
    let pair = stage.connect(&Plan::new(Family::V4).keepalive(1000, 10, 5))?;
    let before = diag::list(&stage.netns)?;
    let shown = before.of(pair.connection.local, pair.connection.remote).context("the kernel shows no such socket")?;
    assert_eq!(shown.timer, Timer::Keepalive);
    peer::deafen(&pair.server)?;
    pair.send(&[b'x'; SENT as usize])?;

    let covered = diag::list(&stage.netns)?;
    let covered = covered.of(pair.connection.local, pair.connection.remote).context("the kernel shows no such socket")?;
    assert_eq!((covered.timer, u64::from(covered.unacked)), (Timer::Retransmit, SENT));
    let listing = all_of(&stage, &[])?;
    let socket = listing.of(&pair.connection)?;
    assert_eq!((socket.unacked, socket.unsent), (Some(SENT), Some(0)), "{socket:?}");
    has_the_deadline(socket, shown, &before)?;
    pair.abort_both()
}

fn data_that_waits_for_a_closed_window_is_unsent(_: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let pair = stage.connect(&Plan::new(Family::V6).keepalive(1000, 10, 5).buffers(4096))?;
    pair.fill()?;
    sleep(Duration::from_secs(1)); // until all is acknowledged that there was room for
    let shown = diag::list(&stage.netns)?;
    let shown = shown.of(pair.connection.local, pair.connection.remote).context("the kernel shows no such socket")?;
    let listing = all_of(&stage, &[])?;
    let socket = listing.of(&pair.connection)?;
    let (unacked, unsent) = (socket.unacked.context("no unacked")?, socket.unsent.context("no unsent")?);
    assert!(unsent > 0, "{socket:?}");
    assert_eq!(unacked + unsent, u64::from(shown.unacked), "{socket:?} {shown:?}");
    assert!(socket.timer_left_ms.is_some(), "{socket:?}");
    pair.abort_both()
}

fn probes_that_are_out_are_counted_and_the_timer_is_the_interval_s(_: &Bench) -> Result<()> {
    const OUT: u32 = 2;
    let mut stage = Stage::open()?;
    let pair = stage.connect(&Plan::new(Family::Mapped).keepalive(1, 20, 9))?;
    peer::deafen(&pair.server)?;
    stage.capture.wait_for_probes(&pair.connection, OUT as usize, LIMIT)?;
    let first = stage.capture.times(&pair.connection, lab::wire::Kind::Probe)?[0];

    let shown = diag::list(&stage.netns)?;
    let listing = all_of(&stage, &[])?;
    let socket = listing.of(&pair.connection)?;
    let kernel = shown.of(pair.connection.local, pair.connection.remote).context("the kernel shows no such socket")?;
    assert_eq!((socket.probes_out, kernel.retrans), (Some(OUT), OUT as u8), "{socket:?}");
    has_the_deadline(socket, kernel, &shown)?;
    let left = Duration::from_millis(u64::try_from(socket.timer_left_ms.context("no timer_left_ms")?)?);
    assert!(left > Duration::from_secs(15) && left <= Duration::from_secs(20), "{socket:?}");
    // It was heard a second before the first probe, and never since.
    let idle = Duration::from_millis(socket.idle_ms.context("no idle_ms")?);
    let silent = clock::between(first, socket.mono_ns) + Duration::from_secs(1);
    assert!(idle.abs_diff(silent) < Duration::from_millis(100), "silent for {silent:?}: {socket:?}");
    pair.abort_both()
}

fn a_connection_that_is_being_opened_has_no_timer_yet(_: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let plan = Plan::new(Family::V4).keepalive(600, 10, 5);
    let (listener, client) = stage.netns.enter(|| Ok((plan.listen()?, plan.client_socket()?)))?;
    peer::deafen(&listener)?;
    client.set_nonblocking(true).context("O_NONBLOCK")?;
    let there = listener.local_addr().context("no address")?;
    let begun = stage.netns.enter(|| Ok(client.connect(&there).is_err()))?;
    assert!(begun, "the listener hears nothing");
    let local = client.local_addr()?.as_socket().context("no local address")?;
    let listing = all_of(&stage, &[])?;
    let socket = listing.sockets.iter().find(|socket| socket.lport == local.port()).context("not listed")?;
    assert_eq!((socket.state.as_str(), socket.keepalive, socket.time_s), ("SYN_SENT", true, 600), "{socket:?}");
    assert_eq!((socket.timer_left_ms, socket.detect_ms.is_some()), (None, true), "armed when it stands: {socket:?}");
    let shown = diag::list(&stage.netns)?;
    let shown = shown.sockets.iter().find(|shown| shown.local == local).context("the kernel shows no such socket")?;
    assert_eq!(shown.timer, Timer::Retransmit, "{shown:?}");
    Ok(())
}

/// Holds that the summary counts these lines, and that nothing is listed twice.
fn sums_up(listing: &Listing) -> Result<()> {
    let sockets = &listing.sockets;
    let is_listener = |socket: &&Socket| socket.state == "LISTEN";
    let count = |wanted: &dyn Fn(&&Socket) -> bool| sockets.iter().filter(wanted).count() as u64;
    let (listeners, keepalive) = (count(&is_listener), count(&|socket| socket.keepalive && !is_listener(socket)));
    let summary = &listing.summary;
    let connections = sockets.len() as u64 - listeners;
    assert_eq!((summary.sockets, summary.listeners, summary.keepalive), (connections, listeners, keepalive), "{summary:?}");
    let mut found = BTreeMap::new();
    sockets.iter().flat_map(Socket::found).for_each(|name| *found.entry(name.to_owned()).or_default() += 1);
    assert_eq!(summary.findings, found);
    let ends = |socket: &Socket| Ok((socket.netns, socket.ip, socket.local()?, socket.remote()?));
    let mut all = sockets.iter().map(ends).collect::<Result<Vec<_>>>()?;
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "listed twice");
    Ok(())
}
