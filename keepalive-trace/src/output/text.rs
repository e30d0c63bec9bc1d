//! Text for people: one header line, then one event a line, in the columns that users of this field know.
use std::{io::Write as _, net::SocketAddr};

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};

use super::{Format, Look, escape};
use crate::model::{
    event::{Body, Connection, Event, Lost, Outcome, Place, Probe, ProbeResult, Reset, Stop, Timer},
    settings::{Settings, Sourced},
    verdict::Verdict,
    wheel,
};

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

pub(super) struct Text {
    wide: bool,
    colors: bool,
    /// The wall clock's time zone, where the wall clock is what was asked for.
    wall: Option<TimeZone>,
    started_ns: u64,
    wall_offset_ns: i64,
    /// Jiffies a second.
    hz: u32,
}

impl Format for Text {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<()> {
        match &event.body {
            Body::Start(start) => {
                self.started_ns = event.mono_ns;
                self.wall_offset_ns = start.wall_offset_ns;
                self.hz = start.hz;
                self.header(out)
            }
            Body::Probe(connection, probe) => {
                let color = if probe.n.is_some_and(|n| n > 1) { YELLOW } else { "" };
                self.line(event, Some(connection), "probe", &probe_detail(connection, probe, self.hz), color, out)
            }
            Body::Timer(connection, timer) => {
                self.line(event, Some(connection), "timer", &timer_detail(connection, timer, self.hz), DIM, out)
            }
            Body::Reset(connection, reset) => {
                let color = if reset.cause.is_some() { RED } else { "" };
                self.line(event, Some(connection), "reset", &reset_detail(connection, reset), color, out)
            }
            Body::Lost(lost) => self.line(event, None, "lost", &lost_detail(*lost), RED, out),
            Body::Stop(stop) => Ok(writeln!(out, "{}", summary(stop))?),
        }
    }
}

impl Text {
    pub(super) fn new(look: &Look, colors: bool) -> Self {
        Self { wide: look.wide, colors, wall: look.wall_clock.then(TimeZone::system), started_ns: 0, wall_offset_ns: 0, hz: 0 }
    }

    fn header(&self, out: &mut Vec<u8>) -> Result<()> {
        let time = if self.wall.is_some() { "TIME" } else { "TIME(s)" };
        let width = self.address_width();
        Ok(writeln!(
            out,
            "{time:<12} {:<7} {:<15} {:<width$} {:<width$} {:<6} DETAIL",
            "PID", "COMM", "LADDR:LPORT", "RADDR:RPORT", "EVENT"
        )?)
    }

    fn line(
        &self,
        event: &Event,
        connection: Option<&Connection>,
        name: &str,
        detail: &str,
        color: &str,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (color, plain) = if self.colors && !color.is_empty() { (color, PLAIN) } else { ("", "") };
        let time = self.time(event.mono_ns);
        let width = self.address_width();
        let address = |address: Option<SocketAddr>| address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let local = address(connection.map(|connection| connection.local));
        let remote = address(connection.map(|connection| connection.remote));
        write!(out, "{color}{time:<12} {:<7} {:<15} {local:<width$} {remote:<width$} {name:<6} {detail}", "-", "-")?;
        if let Some(connection) = connection.filter(|_| self.wide) {
            write!(out, "  [{}]", facts(connection))?;
        }
        Ok(writeln!(out, "{plain}")?)
    }

    fn time(&self, mono_ns: u64) -> String {
        let Some(zone) = &self.wall else {
            let ns = i128::from(mono_ns) - i128::from(self.started_ns);
            // An event may lie just before the moment at which the start was noted.
            return format!("{:.6}", ns.max(0) as f64 / 1e9);
        };
        let ns = i128::from(mono_ns) + i128::from(self.wall_offset_ns);
        Timestamp::from_nanosecond(ns)
            .map_or_else(|_| "-".to_owned(), |time| time.to_zoned(zone.clone()).strftime("%H:%M:%S.%3f").to_string())
    }

    fn address_width(&self) -> usize {
        if self.wide { 47 } else { 21 }
    }
}

fn probe_detail(connection: &Connection, probe: &Probe, hz: u32) -> String {
    let Probe { n, result, next_ms, late_ms } = probe;
    let of = connection.settings.map(|settings| settings.probes.value);
    let what = match result {
        Some(ProbeResult::Sent) => "",
        Some(ProbeResult::DroppedLocally) => " dropped on this host, counted all the same",
        Some(ProbeResult::Congested) => " held back by a full queue on this host, not counted",
        None => " with unknown result",
    };
    let mut detail = format!(
        "{} of {}{what}, idle {}",
        number(*n),
        number(of),
        seconds(connection.idle_ms.map(i64::try_from).and_then(Result::ok))
    );
    if next_ms.is_some() {
        detail += &format!(", next in {}", seconds(*next_ms));
    }
    let armed_for =
        connection.settings.map(|settings| if *n == Some(1) { settings.time_s.value } else { settings.intvl_s.value });
    detail + &lateness(*late_ms, armed_for, hz)
}

fn timer_detail(connection: &Connection, timer: &Timer, hz: u32) -> String {
    let Timer { outcome, next_ms, late_ms } = timer;
    let why = match outcome {
        Outcome::DataInFlight => "no probe: data in flight, retransmission rules",
        Outcome::UnsentData => "no probe: unsent data waits (closed window or full queue)",
        Outcome::NotIdle => "no probe: not idle long enough",
        Outcome::SocketBusy => "no probe: a process holds the socket",
        Outcome::KeepaliveOff => "no probe: keepalive is off, or the state has none",
        Outcome::FinWait2 => "an orphan in FIN_WAIT2 became a time-wait: not a keepalive",
    };
    let next = match next_ms {
        Some(_) => format!(", next in {}", seconds(*next_ms)),
        None => ", not armed again".to_owned(),
    };
    let armed_for = connection.settings.map(|settings| settings.time_s.value);
    format!("{why}{next}{}", lateness(*late_ms, armed_for, hz))
}

fn reset_detail(connection: &Connection, reset: &Reset) -> String {
    let Reset { reason, cause, task } = reset;
    let idle = seconds(connection.idle_ms.map(i64::try_from).and_then(Result::ok));
    let unanswered = number(connection.probes_out);
    let settings = connection.settings;
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    match cause {
        Some(Verdict::KeepaliveTimeout) => {
            let of = number(settings.map(|settings| settings.probes.value));
            format!("DEAD: keepalive gave up, {unanswered} of {of} probes unanswered, idle {idle}{reason}")
        }
        Some(Verdict::UserTimeout) => {
            let limit = seconds(settings.map(|settings| settings.user_timeout_ms.into()));
            format!("DEAD: TCP_USER_TIMEOUT of {limit} passed, probes unanswered: {unanswered}, idle {idle}{reason}")
        }
        Some(Verdict::FinWait2Timeout) => format!("orphan in FIN_WAIT2 given up by the timer: not a keepalive{reason}"),
        None => {
            let by = task
                .as_ref()
                .map_or_else(|| ", by the kernel".to_owned(), |task| format!(", by {}[{}]", escape(&task.comm), task.pid));
            format!("reset sent by this host{by}, in {}{reason}", connection.state)
        }
    }
}

fn lost_detail(Lost { count, place }: Lost) -> String {
    let (what, remedy) = match place {
        Place::RingBuffer => ("events: the ring buffer was full", "a larger --buffer or a narrower filter helps"),
        Place::SkippedRun => ("runs that the kernel skipped", "another tracer was active on that CPU"),
        Place::ConnectionTable => ("connections forgotten: the table was full", "a narrower filter helps"),
        Place::Reader => ("records that made no sense", "a defect: please report it"),
    };
    format!("{count} {what} ({remedy})")
}

fn summary(stop: &Stop) -> String {
    let Stop { events, lost, connections, verdicts } = stop;
    let mut summary = format!("{events} events, {lost} lost, {connections} connections");
    for (verdict, count) in verdicts {
        summary += &format!(", {} {count}", verdict.name());
    }
    summary
}

/// What `--wide` adds.
fn facts(connection: &Connection) -> String {
    let Connection { id, cookie, netns, cgroup_id: _, state, settings, .. } = connection;
    let mut facts = format!("{state} conn {id}");
    if let Some(cookie) = cookie {
        facts += &format!(" cookie {cookie}");
    }
    if let Some(netns) = netns {
        facts += &format!(" netns {netns}");
    }
    if let Some(Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms }) = settings {
        let switch = if *keepalive { "on" } else { "off" };
        facts += &format!(
            " keepalive {switch} time {} intvl {} probes {}",
            sourced(time_s, " s"),
            sourced(intvl_s, " s"),
            sourced(probes, "")
        );
        if *user_timeout_ms > 0 {
            facts += &format!(" user timeout {}", seconds(Some((*user_timeout_ms).into())));
        }
    }
    facts
}

fn sourced<T: std::fmt::Display>(sourced: &Sourced<T>, unit: &str) -> String {
    format!("{}{unit} ({})", sourced.value, sourced.origin.name())
}

fn number(value: Option<u32>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}

/// Milliseconds, as seconds with their unit.
fn seconds(ms: Option<i64>) -> String {
    ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{:.3} s", ms as f64 / 1000.0))
}

/// How long after its deadline the timer fired, where somebody would miss that time. What the timer wheel's step for the
/// delay explains is in order.
fn lateness(late_ms: Option<i64>, armed_for_s: Option<i64>, hz: u32) -> String {
    let Some(late @ 100..) = late_ms else { return String::new() };
    let Some(step) = armed_for_s.filter(|_| hz > 0).map(|delay| wheel::step_ms(delay, hz)) else {
        return format!(", {} after its time", seconds(Some(late)));
    };
    let jiffy = i64::from(1000 / hz.max(1));
    if late <= step + jiffy {
        return format!(", timer wheel +{}", seconds(Some(late)));
    }
    format!(", fired {} late (the timer wheel explains {})", seconds(Some(late)), seconds(Some(step)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    fn printed(wide: bool, colors: bool) -> String {
        let mut text = Text { wide, colors, wall: None, started_ns: 0, wall_offset_ns: 0, hz: 0 };
        let mut out = Vec::new();
        for event in samples::all() {
            text.write(&event, &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_event_is_one_line_in_the_known_columns() {
        let expected = "\
TIME(s)      PID     COMM            LADDR:LPORT           RADDR:RPORT           EVENT  DETAIL
4.000000     -       -               10.0.0.5:51334        10.0.0.9:5432         probe  2 of 3, idle 2.008 s, next in 1.000 s
4.500000     -       -               10.0.0.5:51334        10.0.0.9:5432         timer  no probe: data in flight, retransmission rules, next in 1.000 s, fired 0.132 s late (the timer wheel explains 0.032 s)
5.000000     -       -               10.0.0.5:51334        10.0.0.9:5432         reset  DEAD: keepalive gave up, 3 of 3 probes unanswered, idle 4.080 s (TCP_KEEPALIVE_TIMEOUT)
5.500000     -       -               10.0.0.5:51334        10.0.0.9:5432         reset  reset sent by this host, by ev\\u{1b}il[42], in CLOSE (TCP_ABORT_ON_CLOSE)
6.000000     -       -               -                     -                     lost   7 events: the ring buffer was full (a larger --buffer or a narrower filter helps)
4 events, 7 lost, 1 connections, keepalive-timeout 1
";
        assert_eq!(printed(false, false), expected);
    }

    #[test]
    fn wide_lines_say_the_settings_in_force_and_their_origin() {
        let facts = "[ESTABLISHED conn 00000000000000ab cookie 77 netns 4026531840 keepalive on time 1 s (socket) intvl 1 s (socket) probes 3 (sysctl)]";
        assert!(printed(true, false).contains(facts), "{}", printed(true, false));
    }

    #[test]
    fn only_coloured_output_has_escapes_and_a_death_stands_out() {
        assert!(!printed(false, false).contains('\x1b'));
        assert!(printed(false, true).lines().any(|line| line.starts_with(RED) && line.contains("DEAD") && line.ends_with(PLAIN)));
    }

    #[test]
    fn what_the_timer_wheel_explains_is_not_called_late() {
        assert_eq!(lateness(Some(776), Some(75), 250), ", timer wheel +0.776 s");
        assert_eq!(lateness(Some(2052), Some(75), 250), ", timer wheel +2.052 s");
        assert_eq!(lateness(Some(2053), Some(75), 250), ", fired 2.053 s late (the timer wheel explains 2.048 s)");
        assert_eq!(lateness(Some(99), Some(1), 250), "");
        assert_eq!(lateness(Some(500), None, 250), ", 0.500 s after its time");
    }

    #[test]
    fn seconds_are_never_mistaken_for_milliseconds() {
        assert_eq!(seconds(Some(3996)), "3.996 s");
        assert_eq!(seconds(None), "unknown");
    }
}
