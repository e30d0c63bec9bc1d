//! The trial: what the tracer told of a namespace, held against its wire and the kernel's own counters.
use std::{net::SocketAddr, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    clock::{Moment, is_same_moment},
    event::Event,
    stage::Stage,
    tracer::Tracer,
    wire::{Frame, Kind},
};

use crate::{bench::LIMIT, ledger, scene::same_moment};

/// Longer than the tracer keeps an event to itself.
const SETTLE: Duration = Duration::from_millis(300);

/// Somebody sent something at some time: what the wire and the tracer can both say.
#[derive(Debug)]
pub struct Sent {
    at: Moment,
    pub from: SocketAddr,
    pub to: SocketAddr,
}

/// Holds every event in this namespace against the witnesses, and every witness against the events.
pub fn hold(tracer: &Tracer, stage: &mut Stage) -> Result<()> {
    sleep(SETTLE);
    let netns = stage.netns.id();
    let frames = stage.capture.frames()?.to_vec();
    let on_wire = |kind| frames.iter().filter(|frame| frame.kind == kind).map(Sent::of_frame).collect::<Vec<_>>();
    let (probes, resets) = (on_wire(Kind::Probe), on_wire(Kind::Reset));

    let told = |events: &[Event]| events.iter().filter(|event| event.is_in(netns) && is_sent_probe(event)).count();
    tracer
        .wait_for(&format!("all {} probes that were on the wire", probes.len()), LIMIT, |events| told(events) >= probes.len())?;
    tracer.speaks_well_of(netns)?;
    let events = tracer.events_in(netns);

    let sent = events.iter().filter(|event| is_sent_probe(event)).map(Sent::of_event).collect::<Result<Vec<_>>>()?;
    each_probe_was_told_once(&probes, &sent);

    let counters = stage.netns.counters()?;
    let count = |matches: &dyn Fn(&Event) -> bool| events.iter().filter(|event| matches(event)).count() as i64;
    assert_eq!(count(&|event| event.kind == "probe"), counters.get("TCPKeepAlive")?, "probe events and TCPKeepAlive");
    let verdict = |event: &Event, among: &[&str]| event.verdict.as_deref().is_some_and(|verdict| among.contains(&verdict));
    let by_timer = ["keepalive-timeout", "user-timeout"];
    let deaths = count(&|event| event.cause.as_deref().is_some_and(|cause| by_timer.contains(&cause)));
    assert_eq!(count(&|event| verdict(event, &by_timer)), deaths, "ends by keepalive and the resets of its timer");

    let timeouts = [&by_timer[..], &["retransmit-timeout", "zero-window-timeout", "orphan-timeout"]].concat();
    let unheard = |event: &Event, errno| verdict(event, &["never-established"]) && event.errno.as_deref() == Some(errno);
    let deaths = count(&|event| verdict(event, &timeouts) || unheard(event, "ETIMEDOUT"));
    // Without a way to the peer a handshake ends like this at once, uncounted, or when its time is over, counted.
    let at_most = deaths + count(&|event| unheard(event, "EHOSTUNREACH"));
    let counted = counters.get("TCPAbortOnTimeout")?;
    assert!((deaths..=at_most).contains(&counted), "deaths told are {deaths}, TCPAbortOnTimeout is {counted}");
    let starved = count(&|event| verdict(event, &["out-of-memory"]));
    assert_eq!(starved, counters.get("TCPAbortOnMemory")?, "out-of-memory and TCPAbortOnMemory");

    // The kernel counts a reset that it could not send; it is told all the same. Resets that answer a stray segment are not told.
    let told = events.iter().filter(|event| event.kind == "reset").map(Sent::of_event).collect::<Result<Vec<_>>>()?;
    let (replies, unsent) = resets_apart(resets, &told);
    assert_eq!(unsent, counters.get("TCPAbortFailed")?, "resets told that were not on the wire, and TCPAbortFailed");
    let replies = replies - stage.forged_resets;
    assert_eq!(told.len() as i64 + replies, counters.get("OutRsts")?, "resets told, replies on the wire, and OutRsts");

    ledger::balances(&events, &frames)
}

/// Every probe on the wire has exactly one event, within 20 ms, and the reverse.
fn each_probe_was_told_once(wire: &[Sent], told: &[Sent]) {
    assert_eq!(told.len(), wire.len(), "told: {told:?}\non the wire: {wire:?}");
    for (told, wire) in told.iter().zip(wire) {
        assert_eq!((told.from, told.to), (wire.from, wire.to), "a probe told and a probe on the wire");
        same_moment(told.at, wire.at, "a probe told and on the wire");
    }
}

/// Of the resets on the wire, how many nobody told; and of those told, how many were not on the wire.
fn resets_apart(mut wire: Vec<Sent>, told: &[Sent]) -> (i64, i64) {
    let mut unsent = 0;
    for told in told {
        let same = |wire: &Sent| (wire.from, wire.to) == (told.from, told.to) && is_same_moment(told.at, wire.at);
        match wire.iter().position(same) {
            Some(index) => drop(wire.remove(index)),
            None => unsent += 1,
        }
    }
    (wire.len() as i64, unsent)
}

fn is_sent_probe(event: &Event) -> bool {
    event.kind == "probe" && event.result.as_deref() == Some("sent")
}

impl Sent {
    fn of_frame(frame: &Frame) -> Self {
        Self { at: frame.segment.at, from: frame.segment.from, to: frame.segment.to }
    }

    /// By its local and its remote end.
    pub fn of_event(event: &Event) -> Result<Self> {
        let end = |address: &Option<String>, port: Option<u16>| Some(SocketAddr::new(address.as_ref()?.parse().ok()?, port?));
        let ends = || Some((end(&event.laddr, event.lport)?, end(&event.raddr, event.rport)?));
        let (from, to) = ends().with_context(|| format!("an event without its four ends: {event:?}"))?;
        Ok(Self { at: event.at(), from, to })
    }
}
