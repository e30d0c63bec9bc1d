//! A history's row: whose connection it was, how it ended, its drawing, and its story in the text report's words.
use askama::Template;

use super::{drawing::Drawing, kind, words::span};
use crate::{
    model::{
        event::How,
        history::{History, Tally},
        http,
        owner::Owner,
        report::{Run, Told},
        settings::{Origin, Settings},
        units::counted,
        verdict::Verdict,
    },
    output::{
        append::{Append as _, appended},
        escape,
        report::{Clock, text},
    },
};

#[derive(Template)]
#[template(path = "report/history.html")]
pub(super) struct HistoryRow {
    verdict: &'static str,
    kind: &'static str,
    /// The error that the application was given, or that answers are missing right now; and what HTTP had to do with it.
    note: Option<String>,
    /// What it is sorted by: rank, opened (ms since 1970), lasted (ms), probes, unanswered.
    keys: String,
    several: bool,
    host: String,
    local: String,
    remote: String,
    comm: Option<String>,
    pid: u32,
    date: String,
    time: String,
    how: &'static str,
    over: &'static str,
    lasted: String,
    until: String,
    sent: u32,
    unanswered: u32,
    settings: String,
    origins: String,
    why: Option<String>,
    facts: String,
    outcome: String,
    drawing: Drawing,
    story: String,
}

impl HistoryRow {
    pub(super) fn of(Told { run: _, history, cgroup }: &Told, run: &Run, rank: usize, several: bool, clock: &Clock) -> Self {
        let Tally { answered: _, unanswered, pending } = history.tally;
        let (sent, unanswered) = (history.tally.probes(), unanswered + pending);
        let waiting = (pending > 0).then(|| format!("{} unanswered", counted(pending.into(), "probe")));
        let lived = history.last_ns.saturating_sub(history.opened_ns);
        let opened_ms = i128::from(history.opened_ns).saturating_add(run.start.wall_offset_ns.into()) / 1_000_000;
        let owner = history.owner();
        let opened = clock.time(history.opened_ns, run);
        let (date, time) = opened.split_once(' ').unwrap_or(("", &opened));
        let last = clock.time(history.last_ns, run);
        // The date only where it is another one.
        let until = last.strip_prefix(date).unwrap_or(&last).trim_start();
        let (settings, origins) = history.settings().map_or_else(|| ("unknown".to_owned(), String::new()), |it| in_force(&it));
        let lines = text::lines(history, run, clock);
        let width = lines.iter().map(|(when, _)| when.len()).max().unwrap_or(0);
        Self {
            verdict: history.verdict.map_or("open", Verdict::name),
            kind: match history.verdict {
                None if pending > 0 => "danger",
                verdict if kind(verdict) == "fine" && history.http().is_some_and(http::End::is_bad) => "odd",
                verdict => kind(verdict),
            },
            note: note(history, waiting, run),
            keys: format!("{rank} {opened_ms} {} {sent} {unanswered}", lived / 1_000_000),
            several,
            host: escape(&run.start.host).into_owned(),
            local: history.local().to_string(),
            remote: history.remote().to_string(),
            comm: owner.map(|owner| escape(&owner.task.comm.text()).into_owned()),
            pid: owner.map_or(0, |owner| owner.task.pid),
            date: date.to_owned(),
            time: time.to_owned(),
            how: history.how.name(),
            over: if matches!(history.how, How::Connect | How::Accept) { "" } else { "over " },
            lasted: span(lived),
            until: until.to_owned(),
            sent,
            unanswered,
            settings,
            origins,
            why: history.why().map(|why| escape(why).into_owned()),
            facts: facts(history, owner, cgroup.as_deref()),
            outcome: text::outcome(history),
            drawing: Drawing::of(history),
            story: lines.iter().map(|(when, what)| format!("{when:>width$}  {what}\n")).collect(),
        }
    }
}

/// What stands below the verdict.
fn note(history: &History, waiting: Option<String>, run: &Run) -> Option<String> {
    let errno = history.errno.map(|errno| errno.to_string()).or(waiting);
    let http = history.http().and_then(|http| http.cause).map(|cause| format!("HTTP {}", cause.name()));
    let findings = Some(history.http_findings(run.until_ns())).filter(|findings| !findings.is_empty());
    let words: Vec<String> = [errno, http, findings.map(|findings| format!("! {findings}"))].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// `7200 s, 75 s, 9 probes`, and where that comes from.
fn in_force(settings: &Settings) -> (String, String) {
    let Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms } = settings;
    let user_timeout = match user_timeout_ms {
        0 => String::new(),
        ms => format!("user timeout {}", span(u64::from(*ms) * 1_000_000)),
    };
    if !keepalive {
        return ("keepalive off".to_owned(), user_timeout);
    }
    let mut origins = [time_s.origin, intvl_s.origin, probes.origin].map(Origin::name).to_vec();
    origins.dedup();
    if origins.len() > 1 {
        origins = vec![time_s.origin.name(), intvl_s.origin.name(), probes.origin.name()];
    }
    let mut origins = origins.join(", ");
    if !user_timeout.is_empty() {
        origins = format!("{origins}; {user_timeout}");
    }
    (format!("{} s, {} s, {} probes", time_s.value, intvl_s.value, probes.value), origins)
}

fn facts(history: &History, owner: Option<Owner>, cgroup: Option<&str>) -> String {
    let mut facts = format!("conn {}", history.id);
    if let Some(netns) = history.netns() {
        facts += &format!(", netns {netns}");
    }
    if let Some(owner) = owner.filter(|owner| owner.holders > 1) {
        facts += &format!(", held by {} processes", owner.holders);
    }
    if let Some(owner) = owner {
        facts += &format!(", owner {}", appended(|out| out.task(&owner.task)));
    }
    if let Some(cgroup) = cgroup {
        facts += &format!(", cgroup {}", escape(cgroup));
    }
    facts
}
