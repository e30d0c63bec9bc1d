//! The books of each history: one beginning, one end at most, and no probe without its fate.
use std::{collections::HashMap, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use lab::{
    event::Event,
    packet::flag,
    wire::{Frame, Kind},
};

use crate::{scene::gists, witnesses::Sent};

/// The stamps of the wire and of the tracer may be so far apart.
const SLACK: u64 = 20_000_000;

/// Holds the books of all histories that these events tell, and every answer on the wire against the replies.
pub fn balances(events: &[Event], frames: &[Frame]) -> Result<()> {
    let mut histories: HashMap<&str, Vec<&Event>> = HashMap::new();
    for event in events {
        if let Some(id) = &event.conn {
            histories.entry(id).or_default().push(event);
        }
    }
    histories.values().try_for_each(|history| {
        let told = || format!("{:?}", gists(&history.iter().map(|&event| event.clone()).collect::<Vec<_>>()));
        is_in_order(history).and_then(|()| adds_up(history)).and_then(|()| was_answered(history, frames)).with_context(told)
    })
}

fn is_in_order(history: &[&Event]) -> Result<()> {
    let place = |kind| history.iter().position(|event| event.kind == kind);
    let count = |kind| history.iter().filter(|event| event.kind == kind).count();
    ensure!(count("open") == 1 && place("open") == Some(0), "a history begins with its only `open`");
    ensure!(count("end") <= 1, "a history ends once");
    ensure!(place("end").is_none_or(|end| end + 1 == history.len()), "something was told after the end");
    let unknown = history.iter().find(|event| event.verdict.as_deref() == Some("unknown"));
    ensure!(unknown.is_none(), "no verdict: {unknown:?}");
    Ok(())
}

fn counts(event: &Event) -> bool {
    event.kind == "probe" && event.result.as_deref() != Some("congested")
}

/// Probes sent = answered + unanswered; and these are those that a reply says were missed, and those after the last reply.
fn adds_up(history: &[&Event]) -> Result<()> {
    let Some(end) = history.iter().find(|event| event.kind == "end") else { return Ok(()) };
    let sent = history.iter().filter(|event| counts(event)).count() as u32;
    ensure!(end.probes_sent == Some(sent), "{sent} probes were told: {end:?}");
    // What was on its way when the tracer came is not among those that it saw being sent.
    if !["connect", "accept"].contains(&history[0].how.as_deref().unwrap_or_default()) {
        return Ok(());
    }
    let unanswered = end.unanswered.context("no unanswered")?;
    let is_reply = |event: &&&Event| event.kind == "reply";
    let replies = history.iter().filter(is_reply).count() as u32;
    ensure!(replies + unanswered == sent, "{sent} probes were sent, {replies} answered, {unanswered} unanswered");
    let missed = history.iter().filter(is_reply).map(|reply| reply.missed.with_context(|| format!("no missed: {reply:?}")));
    let missed = missed.sum::<Result<u32>>()?;
    let last = history.iter().rposition(|event| event.kind == "reply").map_or(0, |last| last + 1);
    let pending = history[last..].iter().filter(|event| counts(event)).count() as u32;
    ensure!(missed + pending == unanswered, "{missed} missed, {pending} pending, {unanswered} unanswered");
    Ok(())
}

/// Every reply has its segment on the wire, and every answer on the wire that could be noticed has its reply.
fn was_answered(history: &[&Event], frames: &[Frame]) -> Result<()> {
    let Sent { from, to, .. } = Sent::of_event(history[0])?;
    let (first, last) = (history[0].at(), history[history.len() - 1].at());
    let ended = history[history.len() - 1].kind == "end";
    // A history whose ports were used before or after is told by its time.
    let latest = if ended { last + SLACK } else { u64::MAX };
    let its_time = first.saturating_sub(SLACK)..=latest;
    let passed = |frame: &&Frame| (frame.went(from, to) || frame.went(to, from)) && its_time.contains(&frame.segment.at);
    let ours: Vec<&Frame> = frames.iter().filter(passed).collect();

    let mut probed = None;
    for event in history {
        if counts(event) {
            probed = Some(event.at());
        }
        if event.kind == "reply" {
            let since = probed.with_context(|| format!("a reply before any probe: {event:?}"))?.saturating_sub(SLACK);
            let is_reset = event.answer.as_deref() == Some("reset");
            let answers = |frame: &&&Frame| {
                frame.went(to, from)
                    && frame.segment.has(flag::RST) == is_reset
                    && (since..=event.at() + SLACK).contains(&frame.segment.at)
            };
            ensure!(ours.iter().any(|frame| answers(&frame)), "no such answer on the wire: {event:?}");
        }
    }

    let answers = answers(&ours, from, to);
    // What was sent after a probe is acknowledged by what may look like the probe's answer. And the last answer of a history that
    // goes on may not have been noticed yet.
    let bare = answers.iter().filter(|answer| answer.bare).count();
    let fewest = if ended { bare } else { bare.saturating_sub(1) };
    let replies = history.iter().filter(|event| event.kind == "reply").count();
    ensure!((fewest..=answers.len()).contains(&replies), "{replies} replies were told, on the wire are {answers:?}");
    Ok(())
}

/// What came from the peer after a probe and before the next.
#[derive(Debug)]
#[expect(dead_code, reason = "shown where it is not as told")]
struct Answer {
    kind: Kind,
    /// Nothing but the probe could have been meant.
    bare: bool,
}

/// Each probe's answer. A probe of the peer's own is none: the kernel takes no notice of its acknowledgement.
fn answers(frames: &[&Frame], from: SocketAddr, to: SocketAddr) -> Vec<Answer> {
    let asks = |kind| matches!(kind, Kind::Probe | Kind::WindowProbe);
    let mut answers = Vec::new();
    let mut bare = None;
    for Frame { segment, kind } in frames {
        match (segment.from == from, bare) {
            (true, _) if *kind == Kind::Probe => bare = Some(true),
            (true, Some(_)) if matches!(kind, Kind::Data | Kind::Fin) => bare = Some(false),
            // After that nobody listens.
            (true, Some(_)) if *kind == Kind::Reset => bare = None,
            (false, Some(nothing_else)) if segment.from == to && !asks(*kind) => {
                let bare_segment = matches!(kind, Kind::Ack | Kind::Reset);
                answers.push(Answer { kind: *kind, bare: nothing_else && bare_segment });
                bare = None;
            }
            _ => {}
        }
    }
    answers
}
