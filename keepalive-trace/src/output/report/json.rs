//! A report for machines: one history a line, the worst first, and what it all came to in the last line.
use std::{collections::BTreeMap, io::Write, net::IpAddr};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_with::skip_serializing_none;

use crate::{
    model::{
        event::{Family, Place, Reply, Via},
        history::{Chapter, History, Spoken, Tally, Timeline, What},
        http::{self, Method, Promise},
        ledger::Ledger,
        report::{Gap, Report, Run, Told},
        settings::Settings,
        verdict::Verdict,
    },
    output::{
        harmless::json_line,
        json::{Origins, SCHEMA, names, wall_time},
    },
};

/// Writes the whole report as JSON lines.
///
/// # Errors
/// When `out` can't be written.
pub fn report_json(report: &Report, out: &mut impl Write) -> Result<()> {
    history_lines(report, out)?;
    let mut line = Vec::with_capacity(4096);
    json_line(&mut line, &summary(report))?;
    out.write_all(&line).context("cannot write the report")
}

/// Writes its histories alone.
///
/// # Errors
/// When `out` can't be written.
pub fn history_lines(report: &Report, out: &mut impl Write) -> Result<()> {
    let mut line = Vec::with_capacity(4096);
    for told in &report.histories {
        let Some(run) = report.runs.get(told.run) else { continue };
        line.clear();
        json_line(&mut line, &history(told, run))?;
        out.write_all(&line).context("cannot write the report")?;
    }
    Ok(())
}

/// Every key of a history, in the order in which it is printed. The key names are the contract.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
struct HistoryLine<'a> {
    event: &'static str,
    run: usize,
    host: &'a str,

    conn: String,
    ip: u8,
    laddr: IpAddr,
    lport: u16,
    raddr: IpAddr,
    rport: u16,
    netns: Option<u32>,
    pid: Option<u32>,
    comm: Option<String>,
    holders: Option<u32>,
    cgroup: Option<&'a str>,

    how: &'static str,
    connect_us: Option<u32>,
    opened_at: String,
    opened_mono_ns: u64,
    last_at: String,
    last_mono_ns: u64,

    verdict: Option<&'static str>,
    errno: Option<String>,
    why: Option<&'a str>,
    probes_sent: u32,
    answered: u32,
    unanswered: u32,
    pending: u32,

    http: Option<&'static str>,
    requests: Option<u32>,
    responses: Option<u32>,
    handshakes_saved: Option<u32>,
    saved_us: Option<u64>,
    saved_from: Option<&'static str>,
    findings: Option<Vec<&'static str>>,

    #[serde(flatten)]
    settings: Option<InForce>,
    chapters: Vec<ChapterLine>,
    omitted_chapters: Option<u32>,
    omitted_before: Option<usize>,
}

/// The settings' keys, as events have them.
#[derive(Debug, Serialize)]
struct InForce {
    keepalive: bool,
    time_s: i32,
    intvl_s: i32,
    probes: u32,
    user_timeout_ms: u32,
    origin: Origins,
}

impl From<Settings> for InForce {
    fn from(settings: Settings) -> Self {
        let Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms } = settings;
        Self {
            keepalive,
            time_s: time_s.value,
            intvl_s: intvl_s.value,
            probes: probes.value,
            user_timeout_ms,
            origin: Origins::of(&settings),
        }
    }
}

/// Every key of a chapter; `what` says which of them it has.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
struct ChapterLine {
    what: &'static str,
    from: String,
    to: String,

    rounds: Option<u32>,
    slowest_us: Option<u32>,
    probes_sent: Option<u32>,
    of: Option<u32>,
    dropped_locally: Option<u32>,
    reply: Option<ReplyLine>,
    requests: Option<u32>,
    responses: Option<u32>,
    method: Option<&'static str>,
    status: Option<u16>,
    timeout_s: Option<u32>,
    max: Option<u32>,
    idle_before_ms: Option<u64>,
    outcome: Option<&'static str>,
    times: Option<u32>,
    via: Option<&'static str>,
    waited_ms: Option<u32>,
    by_pid: Option<u32>,
    by_comm: Option<String>,
    #[serde(flatten)]
    settings: Option<InForce>,
}

#[skip_serializing_none]
#[derive(Debug, Serialize)]
struct ReplyLine {
    n: Option<u32>,
    kind: &'static str,
    rtt_us: Option<u64>,
    precision: &'static str,
    missed: u32,
}

impl From<&Reply> for ReplyLine {
    fn from(Reply { n, kind, rtt_us, precision, missed }: &Reply) -> Self {
        Self { n: *n, kind: kind.name(), rtt_us: *rtt_us, precision: precision.name(), missed: *missed }
    }
}

fn history<'a>(Told { run, history, cgroup }: &'a Told, of: &'a Run) -> HistoryLine<'a> {
    let at = |ns| wall_time(ns, of.start.wall_offset_ns);
    let owner = history.owner();
    let Tally { answered, unanswered, pending } = history.tally;
    let Timeline { chapters, omitted, gap } = history.timeline();
    let http = history.http();
    let History { id, family, how, opened_ns, last_ns, verdict, errno, .. } = history;
    HistoryLine {
        event: "history",
        run: *run,
        host: &of.start.host,
        conn: id.to_string(),
        ip: match family {
            Family::V4 => 4,
            Family::V6 => 6,
        },
        laddr: history.local().ip(),
        lport: history.local().port(),
        raddr: history.remote().ip(),
        rport: history.remote().port(),
        netns: history.netns(),
        pid: owner.map(|owner| owner.task.pid),
        comm: owner.map(|owner| owner.task.comm.to_string()),
        holders: owner.map(|owner| owner.holders).filter(|holders| *holders > 1),
        cgroup: cgroup.as_deref(),
        how: how.name(),
        connect_us: history.connect_us(),
        opened_at: at(*opened_ns),
        opened_mono_ns: *opened_ns,
        last_at: at(*last_ns),
        last_mono_ns: *last_ns,
        verdict: verdict.map(Verdict::name),
        errno: errno.map(|errno| errno.to_string()),
        why: history.why(),
        probes_sent: history.tally.probes(),
        answered,
        unanswered,
        pending,
        http: http.and_then(|http| Some(http.cause?.name())),
        requests: http.map(|http| http.requests),
        responses: http.map(|http| http.responses),
        handshakes_saved: http.map(http::End::handshakes_saved),
        saved_us: http.and_then(|http| Some(http.saved?.us)),
        saved_from: http.and_then(|http| Some(http.saved?.from.name())),
        findings: names(history.http_findings(of.until_ns())),
        settings: history.settings().map(InForce::from),
        chapters: chapters.iter().map(|chapter| self::chapter(chapter, at)).collect(),
        omitted_chapters: (omitted > 0).then_some(omitted),
        omitted_before: (omitted > 0).then_some(gap),
    }
}

fn chapter(Chapter { from_ns, to_ns, what }: &Chapter, at: impl Fn(u64) -> String) -> ChapterLine {
    let line = match what {
        What::Healthy { rounds, slowest_us } => {
            ChapterLine { what: "healthy", rounds: Some(*rounds), slowest_us: *slowest_us, ..ChapterLine::default() }
        }
        What::Round { probes, of, dropped, end } => ChapterLine {
            what: "round",
            probes_sent: Some(*probes),
            of: *of,
            dropped_locally: Some(*dropped),
            reply: end.as_ref().map(ReplyLine::from),
            ..ChapterLine::default()
        },
        What::Congested { times } => ChapterLine { what: "congested", times: Some(*times), ..ChapterLine::default() },
        What::Silent { outcome, times } => {
            ChapterLine { what: "silent", outcome: Some(outcome.name()), times: Some(*times), ..ChapterLine::default() }
        }
        What::Settings { to, by, via } => ChapterLine {
            what: "settings",
            via: via.map(Via::name),
            waited_ms: via.and_then(|via| match via {
                Via::Setsockopt => None,
                Via::Sysctl { waited_ms } => Some(waited_ms),
            }),
            by_pid: by.map(|task| task.pid),
            by_comm: by.map(|task| task.comm.to_string()),
            settings: to.map(InForce::from),
            ..ChapterLine::default()
        },
        What::Http(Spoken { idle_before_ms, requests, responses, method, status, promise: Promise { timeout_s, max } }) => {
            ChapterLine {
                what: "http",
                requests: Some(*requests),
                responses: Some(*responses),
                method: method.map(Method::name),
                status: *status,
                timeout_s: *timeout_s,
                max: *max,
                idle_before_ms: *idle_before_ms,
                ..ChapterLine::default()
            }
        }
    };
    ChapterLine { from: at(*from_ns), to: at(*to_ns), ..line }
}

/// The last line.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    event: &'static str,
    schema: u32,
    events: u64,
    lost: u64,
    lost_where: BTreeMap<&'static str, u64>,
    connections: u64,
    ended: u64,
    verdicts: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    http: BTreeMap<&'static str, u64>,
    histories: usize,
    more: u64,
    fine: u64,
    runs: Vec<RunLine<'a>>,
}

#[derive(Debug, Serialize)]
struct RunLine<'a> {
    host: &'a str,
    kernel: &'a str,
    version: &'a str,
    started_at: String,
    until: String,
    events: u64,
    lost: u64,
    lost_where: BTreeMap<&'static str, u64>,
    gaps: Vec<GapLine<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum GapLine<'a> {
    Unfinished { file: &'a str, torn_bytes: u64 },
    Damaged { file: &'a str, at_byte: u64, why: &'a str },
    Strange { file: &'a str, rows: u64 },
    Continued { file: &'a str, part: u32 },
    Missing { first: u32, last: u32 },
}

fn summary(report: &Report) -> Summary<'_> {
    let Report { runs, connections, verdicts, causes, histories, more, fine } = report;
    let mut lost = BTreeMap::new();
    for (place, count) in runs.iter().flat_map(|run| &run.ledger.lost) {
        *lost.entry(place.name()).or_default() += count;
    }
    Summary {
        event: "report",
        schema: SCHEMA,
        events: report.events(),
        lost: report.lost(),
        lost_where: lost,
        connections: *connections,
        ended: verdicts.values().sum(),
        verdicts: verdicts.iter().map(|(verdict, count)| (verdict.name(), *count)).collect(),
        http: causes.iter().map(|(cause, count)| (cause.name(), *count)).collect(),
        histories: histories.len(),
        more: *more,
        fine: *fine,
        runs: runs.iter().map(run).collect(),
    }
}

fn run(run: &Run) -> RunLine<'_> {
    let until_ns = run.until_ns();
    let Run { start, started_ns, ledger, gaps } = run;
    let Ledger { events, lost, .. } = ledger;
    let at = |ns| wall_time(ns, start.wall_offset_ns);
    let by_place = |(place, count): (&Place, &u64)| (place.name(), *count);
    RunLine {
        host: &start.host,
        kernel: &start.kernel,
        version: &start.version,
        started_at: at(*started_ns),
        until: at(until_ns),
        events: *events,
        lost: ledger.lost(),
        lost_where: lost.iter().map(by_place).collect(),
        gaps: gaps.iter().map(gap).collect(),
    }
}

fn gap(gap: &Gap) -> GapLine<'_> {
    match gap {
        Gap::Unfinished { file, torn_bytes } => GapLine::Unfinished { file, torn_bytes: *torn_bytes },
        Gap::Damaged { file, at_byte, why } => GapLine::Damaged { file, at_byte: *at_byte, why },
        Gap::Strange { file, rows } => GapLine::Strange { file, rows: *rows },
        Gap::Continued { file, part } => GapLine::Continued { file, part: *part },
        Gap::Missing { first, last } => GapLine::Missing { first: *first, last: *last },
    }
}

#[cfg(test)]
mod tests;
