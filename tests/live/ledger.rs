//! The books of each history: one beginning, one end at most, and no probe without its fate.
use std::collections::HashMap;

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

/// Probes sent = answered + missed + unanswered.
fn adds_up(history: &[&Event]) -> Result<()> {
    let Some(end) = history.iter().find(|event| event.kind == "end") else { return Ok(()) };
    let sent = history.iter().filter(|event| counts(event)).count() as u32;
    ensure!(end.probes_sent == Some(sent), "{sent} probes were told: {end:?}");
    let mut accounted = end.unanswered.context("no unanswered")?;
    for reply in history.iter().filter(|event| event.kind == "reply") {
        accounted += 1 + reply.missed.with_context(|| format!("no missed: {reply:?}"))?;
    }
    // What was on its way when the tracer came is not among those that it saw being sent.
    let from_the_start = ["connect", "accept"].contains(&history[0].how.as_deref().unwrap_or_default());
    ensure!(!from_the_start || accounted == sent, "{sent} probes were sent, {accounted} are answered, missed or unanswered");
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

    let answer = |pair: &[&Frame]| {
        let answered = pair[0].kind == Kind::Probe && pair[0].went(from, to) && pair[1].went(to, from);
        answered.then_some(pair[1].kind)
    };
    let answers: Vec<Kind> = ours.windows(2).filter_map(answer).collect();
    let bare = answers.iter().filter(|kind| matches!(kind, Kind::Ack | Kind::Reset)).count();
    // Data or a FIN that happens to come after a probe acknowledges it as well. The last answer of a history that goes on may
    // not have been noticed yet.
    let fewest = if ended { bare } else { bare.saturating_sub(1) };
    let replies = history.iter().filter(|event| event.kind == "reply").count();
    ensure!((fewest..=answers.len()).contains(&replies), "{replies} replies were told, on the wire are {answers:?}");
    Ok(())
}
