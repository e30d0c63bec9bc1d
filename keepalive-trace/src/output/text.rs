//! Text for people: one header line, then one event a line, in the columns that users of this field know.
use std::io::{self, Write as _};

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};

use super::{
    DIM, Format, Look, PLAIN, RED, YELLOW,
    columns::{cell, or_dash},
    detail, escape,
    report::{self, Clock},
};
use crate::model::{
    event::{Body, Connection, Event, ReplyKind},
    report::Report,
};

pub(super) struct Text {
    wide: bool,
    /// A report comes at the end.
    reports: bool,
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
            Body::Open(connection, open) => self.line(event, Some(connection), "open", &detail::open(connection, open), DIM, out),
            Body::Owner(connection) => self.line(event, Some(connection), "owner", &detail::owner(connection.owner), DIM, out),
            Body::Settings(connection, changed) => {
                let detail = detail::settings(connection.settings.as_ref(), changed);
                self.line(event, Some(connection), "settings", &detail, "", out)
            }
            Body::Probe(connection, probe) => {
                let color = if probe.n.is_some_and(|n| n > 1) { YELLOW } else { "" };
                self.line(event, Some(connection), "probe", &detail::probe(connection, probe, self.hz), color, out)
            }
            Body::Timer(connection, timer) => {
                self.line(event, Some(connection), "timer", &detail::timer(timer, self.hz), DIM, out)
            }
            Body::Reply(connection, reply) => {
                let color = if reply.missed > 0 || reply.kind == ReplyKind::Reset { YELLOW } else { "" };
                self.line(event, Some(connection), "reply", &detail::reply(connection, reply), color, out)
            }
            Body::Reset(connection, reset) => {
                self.line(event, Some(connection), "reset", &detail::reset(connection, reset), "", out)
            }
            Body::Http(connection, http) => self.line(event, Some(connection), "http", &detail::http(http), "", out),
            Body::End(connection, end) => {
                let color = if end.verdict.is_death() { RED } else { "" };
                self.line(event, Some(connection), "end", &detail::end(end), color, out)
            }
            Body::Namespace(namespace) => self.line(event, None, "netns", &detail::namespace(namespace), "", out),
            Body::Sysctl(write, following) => {
                self.line(event, None, "sysctl", &detail::sysctl(write, following.as_ref()), YELLOW, out)
            }
            Body::Lost(lost) => self.line(event, None, "lost", &detail::lost(*lost), RED, out),
            // Where a report follows, it says so itself.
            Body::Stop(_) if self.reports => Ok(()),
            Body::Stop(stop) => report::totals(stop, out),
        }
    }

    fn report(&mut self, report: &Report, out: &mut Vec<u8>) -> Result<()> {
        let bad = if self.colors { (RED, PLAIN) } else { ("", "") };
        let clock = self.wall.clone().map_or(Clock::SinceStart, Clock::Wall);
        report::write(report, &clock, bad, out)
    }
}

impl Text {
    pub(super) fn new(look: &Look, colors: bool) -> Self {
        Self {
            wide: look.wide,
            reports: look.reports,
            colors,
            wall: look.wall_clock.then(TimeZone::system),
            started_ns: 0,
            wall_offset_ns: 0,
            hz: 0,
        }
    }

    fn header(&self, out: &mut Vec<u8>) -> Result<()> {
        let time = if self.wall.is_some() { "TIME" } else { "TIME(s)" };
        let width = self.address_width();
        Ok(writeln!(
            out,
            "{time:<12} {:<7} {:<15} {:<width$} {:<width$} {:<8} DETAIL",
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
        let width = self.address_width();
        out.extend_from_slice(color.as_bytes());
        cell(out, 12, |out| self.time(event.mono_ns, out))?;
        let owner = connection.and_then(|connection| connection.owner).map(|owner| owner.task);
        cell(out, 7, |out| or_dash(out, owner.map(|task| task.pid)))?;
        cell(out, 15, |out| or_dash(out, owner.as_ref().map(|task| escape(&task.comm.text()).into_owned())))?;
        cell(out, width, |out| or_dash(out, connection.map(|connection| connection.local)))?;
        cell(out, width, |out| or_dash(out, connection.map(|connection| connection.remote)))?;
        cell(out, 8, |out| write!(out, "{name}"))?;
        out.extend_from_slice(detail.as_bytes());
        if let Some(connection) = connection.filter(|_| self.wide) {
            write!(out, "  [{}]", detail::facts(connection))?;
        }
        Ok(writeln!(out, "{plain}")?)
    }

    fn time(&self, mono_ns: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(zone) = &self.wall else {
            // An event may lie just before the moment at which the start was noted.
            let us = mono_ns.saturating_sub(self.started_ns) / 1000;
            return write!(out, "{}.{:06}", us / 1_000_000, us % 1_000_000);
        };
        let ns = i128::from(mono_ns) + i128::from(self.wall_offset_ns);
        match Timestamp::from_nanosecond(ns) {
            Ok(time) => write!(out, "{}", time.to_zoned(zone.clone()).strftime("%H:%M:%S.%3f")),
            Err(_) => write!(out, "-"),
        }
    }

    fn address_width(&self) -> usize {
        if self.wide { 47 } else { 21 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    fn printed(wide: bool, colors: bool) -> String {
        let mut text = Text { wide, reports: false, colors, wall: None, started_ns: 0, wall_offset_ns: 0, hz: 0 };
        let mut out = Vec::new();
        for event in samples::all() {
            text.write(&event, &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_event_is_one_line_in_the_known_columns() {
        let expected = "\
TIME(s)      PID     COMM            LADDR:LPORT           RADDR:RPORT           EVENT    DETAIL
0.000000     -       -               -                     -                     netns    4026531840 (host): tcp_keepalive_time 7200 s, intvl 0 s, probes 9; 12 sockets, 5 with keepalive, 3 of them by sysctl; dangerous-sysctl
1.000000     812     app             10.0.0.5:51334        10.0.0.9:5432         open     connected in 0.312 ms, keepalive 1 s, 1 s, 3 probes (socket, socket, sysctl)
2.000000     812     app             10.0.0.5:51334        10.0.0.9:5432         settings now keepalive 1 s, 1 s, 3 probes (socket, socket, sysctl), by app[812]
2.500000     812     app             10.0.0.5:51334        10.0.0.9:5432         http     request 3: GET, idle 1.500 s before
2.502000     812     app             10.0.0.5:51334        10.0.0.9:5432         http     response 3: 200, keep-alive, promises timeout 5 s, max 98
3.100000     -       -               -                     -                     sysctl   net.ipv4.tcp_keepalive_time 7200 s -> 600 s in netns 4026531840, by sysctl[77]: of 12 sockets, 1 follow at once, 2 keep an armed timer (the next fires in 8.899 s, the median 599.899 s, the last 7099.899 s), 9 never follow (2 set on the socket, 7 without keepalive)
3.100000     -       -               -                     -                     sysctl   net.ipv4.tcp_keepalive_probes stays 9 in netns 4026531840: the kernel refused a write, by sysctl[77] (EINVAL)
3.200000     812     app             10.0.0.5:51334        10.0.0.9:5432         settings now keepalive 1 s, 1 s, 3 probes (socket, socket, sysctl), picked up from the sysctl, written 0.100 s before by sysctl[77]
4.000000     812     app             10.0.0.5:51334        10.0.0.9:5432         probe    2 of 3, idle 2.008 s, next in 1.000 s
4.250000     812     app             10.0.0.5:51334        10.0.0.9:5432         reply    probe 2 of 3 answered by ACK after 4.000 ms (to the jiffy), 1 before it missed
4.500000     812     app             10.0.0.5:51334        10.0.0.9:5432         timer    no probe: data in flight, retransmission rules, next in 1.000 s, fired 0.132 s late (the timer wheel explains 0.032 s)
5.000000     812     app             10.0.0.5:51334        10.0.0.9:5432         reset    RST sent by the keepalive timer
5.250000     812     app             10.0.0.5:51334        10.0.0.9:5432         end      DEAD, keepalive-timeout (HTTP idle-timeout): 3 of 3 keepalive probes went unanswered, nothing heard for 4.080 s: the kernel reset the connection; the application got ETIMEDOUT; age 5.080 s
5.500000     812     app             10.0.0.5:51334        10.0.0.9:5432         reset    RST sent by this host, by ev\\u{1b}il[42], in CLOSE (TCP_ABORT_ON_CLOSE)
6.000000     -       -               -                     -                     lost     7 events: the ring buffer was full (a larger --buffer or a narrower filter helps)

4 events shown, 7 lost; 1 connection, 1 of them ended
       1  keepalive-timeout
";
        assert_eq!(printed(false, false), expected);
    }

    #[test]
    fn wide_lines_say_the_settings_in_force_and_their_origin() {
        let facts = "[ESTABLISHED conn 00000000000000ab cookie 77 netns 4026531840 cgroup /system.slice/app.service held by 2 processes keepalive on time 1 s (socket) intvl 1 s (socket) probes 3 (sysctl)]";
        assert!(printed(true, false).contains(facts), "{}", printed(true, false));
    }

    #[test]
    fn only_coloured_output_has_escapes_and_a_death_stands_out() {
        assert!(!printed(false, false).contains('\x1b'));
        assert!(printed(false, true).lines().any(|line| line.starts_with(RED) && line.contains("DEAD") && line.ends_with(PLAIN)));
    }
}
