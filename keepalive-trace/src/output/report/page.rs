//! A report as a page: one file that needs no network and no script, for whoever must say what happened.
mod drawing;
mod row;
mod words;

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context as _, Result};
use askama::Template;
use jiff::tz::TimeZone;

use self::{
    row::HistoryRow,
    words::{number, span},
};
use super::{Clock, text};
use crate::{
    model::{
        report::{Report, Run},
        units::counted,
        verdict::Verdict,
    },
    output::escape,
};

const STYLE: &str = include_str!("../../../templates/report/page.css");
const SCRIPT: &str = include_str!("../../../templates/report/page.js");
/// What the page's own policy lets in: this style and this script, and nothing else from anywhere. A test holds them true.
const STYLE_HASH: &str = "sha256-d3oRUE10NABgWODcGKRCJ9yLQa8S7JVlaujUAE5SoGQ=";
const SCRIPT_HASH: &str = "sha256-xYX2sMxr0+tGj6D4cm9TxVL/HHZdzcS1Lmo5XA6YPmg=";

/// So many runs, and so many gaps of a run, are named one by one.
const NAMED: usize = 50;

/// Writes the report as a page of its own. Times are UTC.
///
/// # Errors
/// When `out` can't be written.
pub fn page(report: &Report, out: &mut impl Write) -> Result<()> {
    write(report, out).context("cannot write the page")
}

fn write(report: &Report, out: &mut impl Write) -> Result<()> {
    let clock = Clock::Wall(TimeZone::UTC);
    let mut text = String::with_capacity(16 * 1024);
    Head::of(report).render_into(&mut text)?;
    for (index, told) in report.histories.iter().enumerate() {
        let Some(run) = report.runs.get(told.run) else { continue };
        HistoryRow::of(told, run, index, report.runs.len() > 1, &clock).render_into(&mut text)?;
        out.write_all(text.as_bytes())?;
        text.clear();
    }
    Foot { left_out: left_out(report) }.render_into(&mut text)?;
    out.write_all(text.as_bytes())?;
    Ok(())
}

#[derive(Template)]
#[template(path = "report/head.html")]
struct Head {
    style: &'static str,
    style_hash: &'static str,
    script_hash: &'static str,
    hosts: String,
    connections: String,
    ended: String,
    events: String,
    lost: u64,
    lost_where: String,
    incomplete: bool,
    runs: Vec<RunRow>,
    more_runs: usize,
    bars: Vec<Bar>,
    /// What HTTP had to do with it, and how often.
    causes: Vec<(&'static str, String)>,
    several: bool,
    told: String,
    left_out: Vec<String>,
}

struct RunRow {
    host: String,
    kernel: String,
    from: String,
    until: String,
    span: String,
    events: String,
    lost: u64,
    gaps: Vec<String>,
}

/// A verdict, and how many there were.
struct Bar {
    name: &'static str,
    kind: &'static str,
    count: String,
    /// Percent of the longest one.
    width: f64,
}

impl Head {
    fn of(report: &Report) -> Self {
        let Report { runs, connections, verdicts, causes, histories, more: _, fine: _ } = report;
        let mut hosts: Vec<&str> = runs.iter().map(|run| run.start.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let named = hosts.iter().take(3).map(|host| escape(host)).collect::<Vec<_>>().join(", ");
        let hosts = match hosts.len() {
            0..=3 => named,
            many => format!("{named} and {} more", many - 3),
        };
        let mut places = BTreeMap::new();
        for (place, count) in runs.iter().flat_map(|run| &run.ledger.lost) {
            *places.entry(place.name()).or_insert(0) += count;
        }
        let lost_where = places.iter().map(|(place, count)| format!("{count} {place}")).collect::<Vec<_>>().join(", ");
        Self {
            style: STYLE,
            style_hash: STYLE_HASH,
            script_hash: SCRIPT_HASH,
            hosts,
            connections: number(*connections),
            ended: number(verdicts.values().sum()),
            events: number(report.events()),
            lost: report.lost(),
            lost_where,
            incomplete: runs.iter().any(|run| !run.gaps.is_empty()),
            runs: runs.iter().take(NAMED).map(RunRow::of).collect(),
            more_runs: runs.len().saturating_sub(NAMED),
            bars: bars(*connections, verdicts),
            causes: causes.iter().map(|(cause, count)| (cause.name(), number(*count))).collect(),
            several: runs.len() > 1,
            told: number(histories.len() as u64),
            left_out: left_out(report),
        }
    }
}

impl RunRow {
    fn of(run: &Run) -> Self {
        let Run { start, started_ns, ledger, gaps } = run;
        let until_ns = run.until_ns();
        let [from, until] = [*started_ns, until_ns].map(|ns| super::wall(ns, start, &TimeZone::UTC, "%Y-%m-%d %H:%M:%S"));
        let mut named: Vec<String> = gaps.iter().take(NAMED).map(text::gap).collect();
        if gaps.len() > NAMED {
            named.push(format!("... and {} more gaps", gaps.len() - NAMED));
        }
        Self {
            host: escape(&start.host).into_owned(),
            kernel: escape(&start.kernel).into_owned(),
            from,
            until,
            span: span(until_ns - started_ns),
            events: number(ledger.events),
            lost: ledger.lost(),
            gaps: named,
        }
    }
}

/// The worst verdict first, and at last those that are open.
fn bars(connections: u64, verdicts: &BTreeMap<Verdict, u64>) -> Vec<Bar> {
    let open = connections.saturating_sub(verdicts.values().sum());
    let most = verdicts.values().copied().chain([open]).max().unwrap_or(0).max(1);
    let bar = |name, kind, count: u64| {
        let width = (1000.0 * count as f64 / most as f64).round() / 10.0;
        Bar { name, kind, count: number(count), width }
    };
    let ended = verdicts.iter().map(|(verdict, count)| bar(verdict.name(), kind(Some(*verdict)), *count));
    ended.chain([bar("open", kind(None), open)]).collect()
}

fn kind(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        None => "open",
        Some(verdict) if verdict.is_death() => "death",
        Some(verdict) if verdict.is_orderly() => "fine",
        Some(_) => "odd",
    }
}

/// What the page does not tell, in words.
fn left_out(report: &Report) -> Vec<String> {
    let mut words = Vec::new();
    if report.more > 0 {
        let histories = if report.more == 1 { "history" } else { "histories" };
        words.push(format!(
            "{} more {histories} like these: left out, past the limit (--histories shows all)",
            number(report.more)
        ));
    }
    if report.fine > 0 {
        let fine = counted(report.fine, "other connection");
        words.push(format!("nothing went wrong on {fine}: left out (--histories shows all)"));
    }
    words
}

#[derive(Template)]
#[template(path = "report/foot.html")]
struct Foot {
    left_out: Vec<String>,
}

impl Foot {
    const SCRIPT: &str = SCRIPT;
}

#[cfg(test)]
mod tests;
