//! A report for people: what there was, how it ended, and the stories, the worst first.
use std::{collections::BTreeMap, io::Write as _};

use anyhow::Result;

use super::Clock;
use crate::{
    model::{
        event::{Reply, Stop, Via},
        history::{Chapter, History, Spoken, Timeline, What},
        http::{Cause, Method},
        report::{Gap, Report, Run, Told},
        settings::Settings,
        units::{counted, seconds, short},
        verdict::Verdict,
    },
    output::{
        append::{Append as _, appended},
        detail, escape,
    },
};

/// So many runs, and so many gaps of a run, are named one by one.
const NAMED: usize = 10;

/// What was shown, in numbers.
pub(in crate::output) fn totals(
    Stop { events, lost, connections, uneventful: _, verdicts }: &Stop,
    out: &mut Vec<u8>,
) -> Result<()> {
    writeln!(out, "\n{} shown, {lost} lost; {}", counted(*events, "event"), ended(*connections, verdicts))?;
    counts(verdicts, out)
}

/// The whole report. `bad` begins and ends the colour of those that died.
pub(in crate::output) fn write(report: &Report, clock: &Clock, bad: (&str, &str), out: &mut Vec<u8>) -> Result<()> {
    writeln!(out)?;
    for run in report.runs.iter().take(NAMED) {
        self::run(run, clock, out)?;
    }
    if let Some(more) = report.runs.len().checked_sub(NAMED + 1) {
        writeln!(out, "... and {} more", counted(more as u64 + 1, "run"))?;
    }
    let (events, lost) = (counted(report.events(), "event"), report.lost());
    writeln!(out, "{events}, {lost} lost; {}", ended(report.connections, &report.verdicts))?;
    counts(&report.verdicts, out)?;
    for (cause, count) in &report.causes {
        writeln!(out, "{count:>8}  HTTP {}", cause.name())?;
    }
    let several = report.runs.len() > 1;
    for Told { run, history, cgroup: _ } in &report.histories {
        writeln!(out)?;
        let Some(run) = report.runs.get(*run) else { continue };
        story(history, run, several, clock, bad, out)?;
    }
    if report.more > 0 {
        writeln!(out, "\n{} more like these (--histories shows all)", report.more)?;
    } else if report.fine > 0 {
        writeln!(out, "\nnothing went wrong on {} (--histories shows all)", counted(report.fine, "other connection"))?;
    }
    Ok(())
}

fn ended(connections: u64, verdicts: &BTreeMap<Verdict, u64>) -> String {
    format!("{}, {} of them ended", counted(connections, "connection"), verdicts.values().sum::<u64>())
}

fn counts(verdicts: &BTreeMap<Verdict, u64>, out: &mut Vec<u8>) -> Result<()> {
    for (verdict, count) in verdicts {
        writeln!(out, "{count:>8}  {}", verdict.name())?;
    }
    Ok(())
}

/// `db1, Linux 6.18.15: 2026-11-28 10:00:00.000 to 10:12:31.120 (751.120 s)`, and what is missing.
fn run(run: &Run, clock: &Clock, out: &mut Vec<u8>) -> Result<()> {
    let Run { start, started_ns, ledger: _, gaps } = run;
    let until_ns = run.until_ns();
    let span = seconds(i64::try_from((until_ns - started_ns) / 1_000_000).unwrap_or(i64::MAX));
    let [from, until] = [*started_ns, until_ns].map(|ns| clock.moment(ns, start));
    let (host, kernel) = (escape(&start.host), escape(&start.kernel));
    writeln!(out, "{host}, Linux {kernel}: {from} to {until}, {span}")?;
    for gap in gaps.iter().take(NAMED) {
        writeln!(out, "  {}", self::gap(gap))?;
    }
    if let Some(more) = gaps.len().checked_sub(NAMED + 1) {
        writeln!(out, "  ... and {} more gaps", more + 1)?;
    }
    Ok(())
}

/// What is missing, in one sentence.
pub fn gap(gap: &Gap) -> String {
    match gap {
        Gap::Unfinished { file, torn_bytes } => {
            let torn = match torn_bytes {
                0 => String::new(),
                bytes => format!(" (its last {} are no whole batch)", counted(*bytes, "byte")),
            };
            format!(
                "incomplete: {} has no end{torn}: the recorder was killed, found the disk full, or still records; what came in its last second is missing",
                escape(file)
            )
        }
        Gap::Damaged { file, at_byte, why } => {
            format!(
                "incomplete: {} is damaged from byte {at_byte} on, and what follows there is missing: {}",
                escape(file),
                escape(why)
            )
        }
        Gap::Strange { file, rows } => {
            format!("incomplete: {} of {} are none that this version understands", counted(*rows, "row"), escape(file))
        }
        Gap::Continued { file, part } => format!("incomplete: after {}, part {part} and what follows are missing", escape(file)),
        Gap::Missing { first, last } if first == last => format!("incomplete: part {first} is missing"),
        Gap::Missing { first, last } => format!("incomplete: parts {first} to {last} are missing"),
    }
}

fn story(
    history: &History,
    run: &Run,
    several: bool,
    clock: &Clock,
    (bad, plain): (&str, &str),
    out: &mut Vec<u8>,
) -> Result<()> {
    let owner = history.owner().map_or_else(|| "-".to_owned(), |owner| appended(|out| out.task(&owner.task)));
    let ended = outcome(history);
    let (bad, plain) = if is_loss(history) { (bad, plain) } else { ("", "") };
    let findings = history.http_findings(run.until_ns());
    let findings = if findings.is_empty() { String::new() } else { format!("  ! {findings}") };
    let host = if several { format!("{}  ", escape(&run.start.host)) } else { String::new() };
    writeln!(out, "{bad}{host}{} > {}  {owner}  {ended}{findings}{plain}", history.local(), history.remote())?;
    if let Some(why) = history.why() {
        writeln!(out, "  {}", escape(why))?;
    }
    let width = clock.width();
    for (when, what) in lines(history, run, clock) {
        writeln!(out, "  {when:>width$}  {what}")?;
    }
    Ok(())
}

/// The connection died, or a request met its close.
pub(in crate::output) fn is_loss(history: &History) -> bool {
    let met = history.http().is_some_and(|http| http.cause == Some(Cause::Race));
    met || history.verdict.is_some_and(|verdict| verdict.is_death())
}

/// How it ended, or that it did not.
pub(in crate::output) fn outcome(history: &History) -> String {
    let http = history.http().and_then(|http| http.cause).map_or_else(String::new, |cause| format!(" (HTTP {})", cause.name()));
    match (history.verdict, history.errno) {
        (Some(verdict), Some(errno)) => format!("{}{http}, {errno}", verdict.name()),
        (Some(verdict), None) => format!("{}{http}", verdict.name()),
        (None, _) if history.tally.pending > 0 => format!("open, {} unanswered", counted(history.tally.pending.into(), "probe")),
        (None, _) => "open".to_owned(),
    }
}

/// A story: when, and what.
pub(in crate::output) fn lines(history: &History, run: &Run, clock: &Clock) -> Vec<(String, String)> {
    let took = history.connect_us().map_or_else(String::new, |us| format!(" in {}", short(us.into())));
    let mut lines = vec![(clock.time(history.opened_ns, run), format!("{}{took}", history.how.name()))];
    let since = |ns: u64| format!("+{}", seconds((ns.saturating_sub(history.opened_ns) / 1_000_000) as i64));
    let Timeline { chapters, omitted, gap } = history.timeline();
    for (index, Chapter { from_ns, to_ns, what }) in chapters.iter().enumerate() {
        if index == gap && omitted > 0 {
            lines.push((String::new(), left_out(omitted)));
        }
        let until = if since(*to_ns) == since(*from_ns) { String::new() } else { format!(", until {}", since(*to_ns)) };
        lines.push((since(*from_ns), format!("{}{until}", chapter(what))));
    }
    let settings = history.settings().map_or_else(|| "settings unknown".to_owned(), |settings| in_force(&settings));
    let last = if history.verdict.is_some() { "end" } else { "last seen" };
    lines.push((since(history.last_ns), format!("{last}, with {settings}")));
    lines
}

pub(in crate::output) fn left_out(chapters: u32) -> String {
    format!("... {} left out", counted(chapters.into(), "chapter"))
}

/// A chapter in one line.
pub(in crate::output) fn chapter(what: &What) -> String {
    match what {
        What::Healthy { rounds, slowest_us } => {
            let slowest = slowest_us.map_or_else(String::new, |us| match us {
                0 => " within a jiffy".to_owned(),
                us => format!(" after {} at most", short(us.into())),
            });
            format!("{}, each answered{slowest}", counted((*rounds).into(), "probe"))
        }
        What::Round { probes, of, dropped, end } => {
            let of = of.map_or_else(String::new, |of| format!(" of {of}"));
            let dropped = if *dropped > 0 { format!(" ({dropped} dropped on this host)") } else { String::new() };
            let end = match end {
                None => "none answered".to_owned(),
                Some(reply) if *probes == 1 => answer(reply),
                Some(reply) => format!("the last {}", answer(&Reply { missed: 0, ..reply.clone() })),
            };
            let probes = if *probes == 1 { format!("probe 1{of}") } else { format!("probes 1 to {probes}{of}") };
            format!("{probes}{dropped}, {end}")
        }
        What::Congested { times } => {
            format!("probe held back by a full queue on this host, {}", counted((*times).into(), "time"))
        }
        What::Silent { outcome, times } => {
            format!("timer sent nothing: {}, {}", outcome.name(), counted((*times).into(), "time"))
        }
        What::Settings { to, by, via } => {
            let to = to.map_or_else(|| "unknown".to_owned(), |settings| in_force(&settings));
            let late = if matches!(via, Some(Via::Sysctl { .. })) { "armed-before-sysctl: now " } else { "settings: " };
            format!("{late}{to}{}", appended(|out| detail::changed(out, by.as_ref(), *via)))
        }
        What::Http(spoken) => self::spoken(spoken),
    }
}

/// `HTTP: GET, answered 200, promises timeout 5 s`, or how many there were.
fn spoken(Spoken { idle_before_ms, requests, responses, method, status, promise }: &Spoken) -> String {
    let method = method.map_or("request", Method::name);
    let status = status.map_or_else(|| "?".to_owned(), |status| status.to_string());
    let what = match (*requests, *responses) {
        (0, 1) => format!("answered {status}"),
        (1, 0) => format!("{method}, no answer"),
        (1, 1) => format!("{method}, answered {status}"),
        (requests, responses) => {
            let last = if responses > 0 { format!(", the last {status}") } else { String::new() };
            let [requests, responses] = [(requests, "request"), (responses, "response")].map(|(n, what)| counted(n.into(), what));
            format!("{requests}, {responses}{last}")
        }
    };
    let idle =
        idle_before_ms.filter(|ms| *ms >= 1000).map_or_else(String::new, |ms| format!(", idle {} before", seconds(ms as i64)));
    format!("HTTP: {what}{}{idle}", appended(|out| detail::promised(out, promise)))
}

fn in_force(settings: &Settings) -> String {
    appended(|out| detail::in_force(out, settings))
}

fn answer(reply: &Reply) -> String {
    appended(|out| detail::answer(out, reply))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            event::{Body, ConnId, Connection, Event},
            ledger::Ledger,
            worst,
        },
        output::samples,
    };

    /// In seconds since the start.
    fn printed(histories: &[&History], all: bool) -> String {
        let Event { mono_ns: started_ns, body: Body::Start(start) } = samples::start() else { panic!("no start") };
        let ledger =
            Ledger { events: 12, connections: histories.len() as u64, last_ns: started_ns + 8_500_000_000, ..Ledger::default() };
        let run = Run { start, started_ns, ledger, gaps: Vec::new() };
        let limit = if all { usize::MAX } else { worst::FEW };
        let report = Report::of(run, histories.iter().map(|history| (*history, None)), all, limit);
        let mut out = Vec::new();
        write(&report, &Clock::SinceStart, ("<", ">"), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_story_is_a_few_lines_and_says_what_it_comes_from() {
        let expected = "
db1, Linux 6.18.15: 1970-01-01 00:00:01.000+00:00 to 1970-01-01 00:00:09.500+00:00, 8.500 s
12 events, 0 lost; 1 connection, 0 of them ended

<10.0.0.5:51334 > 10.0.0.9:5432  app[812]  keepalive-timeout (HTTP idle-timeout), ETIMEDOUT  ! promise-broken, keepalive-never-acts>
  3 of 3 keepalive probes went unanswered, nothing heard for 4.080 s: the kernel reset the connection
      0.999999  connect in 0.312 ms
      +1.000 s  settings: keepalive 1 s, 1 s, 3 probes (socket, socket, sysctl), by app[812]
      +1.500 s  HTTP: GET, answered 200, promises timeout 5 s, max 98, idle 1.500 s before, until +1.502 s
      +2.200 s  armed-before-sysctl: now keepalive 1 s, 1 s, 3 probes (socket, socket, sysctl), picked up from the sysctl, written 0.100 s before by sysctl[77]
      +3.000 s  probes 1 to 2 of 3, the last answered by ACK after 4.000 ms (to the jiffy), until +3.250 s
      +3.500 s  timer sent nothing: data-in-flight, 1 time
      +4.250 s  end, with keepalive 1 s, 1 s, 3 probes (socket, socket, sysctl)
";
        assert_eq!(printed(&[&samples::history()], false), expected);
    }

    #[test]
    fn only_the_worst_are_told_unless_all_are_asked_for() {
        let (bad, good) = (samples::history(), samples::healthy());
        let told = printed(&[&good, &bad], false);
        assert!(told.contains("keepalive-timeout") && !told.contains("peer-close"), "{told}");
        assert!(told.ends_with("\nnothing went wrong on 1 other connection (--histories shows all)\n"), "{told}");
        let all = printed(&[&good, &bad], true);
        assert!(all.find("keepalive-timeout") < all.find("peer-close"), "{all}");
        let many = vec![&bad; 12];
        assert!(printed(&many, false).ends_with("\n2 more like these (--histories shows all)\n"));
    }

    #[test]
    fn the_summary_is_the_same_bytes_in_whatever_order_the_histories_lie() {
        let known = samples::probe().body.connection().unwrap().clone();
        let mut histories: Vec<History> = (0..60)
            .map(|number| {
                let mut history = History::begin(&Connection { id: ConnId(number), ..known.clone() }, 7);
                let events = [samples::probe(), samples::end()];
                events.iter().take(number as usize % 3).for_each(|event| history.apply(event));
                history
            })
            .collect();
        let mut told = |all| {
            histories.reverse();
            printed(&histories.iter().collect::<Vec<_>>(), all)
        };
        for all in [true, false] {
            assert_eq!(told(all), told(all));
        }
        assert!(told(false).ends_with("\n30 more like these (--histories shows all)\n"), "{}", told(false));
    }
}
