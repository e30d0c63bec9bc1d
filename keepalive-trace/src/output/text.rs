//! Text for people: one header line, then one event a line, in the columns that users of this field know.
use std::io::Write as _;

use anyhow::Result;
use jiff::tz::TimeZone;

use super::{
    DIM, Format, Look, PLAIN, RED, YELLOW,
    append::Append as _,
    columns::{cell, cell_or_dash, comm_cell},
    detail,
    report::{self, Clock},
    wall::{Style, WallClock},
};
use crate::model::{
    event::{Body, Event, ReplyKind},
    report::Report,
};

pub(super) struct Text {
    wide: bool,
    /// A report comes at the end.
    reports: bool,
    colors: bool,
    /// The wall clock and its time zone, where the time of day was asked for.
    wall: Option<(WallClock, TimeZone)>,
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
            // The totals have them.
            Body::Uneventful(_) => Ok(()),
            // Where a report follows, the report has the totals.
            Body::Stop(_) if self.reports => Ok(()),
            Body::Stop(stop) => report::totals(stop, out),
            body => {
                let hz = self.hz;
                self.line(event, looks(body), out, |out| detail(body, hz, out));
                Ok(())
            }
        }
    }

    fn report(&mut self, report: &Report, out: &mut Vec<u8>) -> Result<()> {
        let bad = if self.colors { (RED, PLAIN) } else { ("", "") };
        let clock = self.wall.as_ref().map_or(Clock::SinceStart, |(_, zone)| Clock::Wall(zone.clone()));
        report::write(report, &clock, bad, out)
    }
}

impl Text {
    pub(super) fn new(look: &Look, colors: bool) -> Self {
        Self {
            wide: look.wide,
            reports: look.reports,
            colors,
            wall: look.wall_clock.then(TimeZone::system).map(|zone| (WallClock::new(Style::TimeOfDay, zone.clone()), zone)),
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

    fn line(&mut self, event: &Event, (name, color): (&str, &str), out: &mut Vec<u8>, detail: impl FnOnce(&mut Vec<u8>)) {
        let connection = event.body.connection();
        let (color, plain) = if self.colors && !color.is_empty() { (color, PLAIN) } else { ("", "") };
        let width = self.address_width();
        out.text(color);
        cell(out, 12, |out| self.time(event.mono_ns, out));
        let owner = connection.and_then(|connection| connection.owner).map(|owner| owner.task);
        cell_or_dash(out, 7, owner, |out, task| out.number(task.pid.into()));
        comm_cell(out, 15, owner.as_ref().map(|task| &task.comm));
        cell_or_dash(out, width, connection, |out, connection| out.endpoint(connection.local));
        cell_or_dash(out, width, connection, |out, connection| out.endpoint(connection.remote));
        cell(out, 8, |out| out.text(name));
        detail(out);
        if let Some(connection) = connection.filter(|_| self.wide) {
            out.text("  [");
            detail::facts(out, connection);
            out.text("]");
        }
        out.text(plain);
        out.push(b'\n');
    }

    fn time(&mut self, mono_ns: u64, out: &mut Vec<u8>) {
        if let Some((wall, _)) = &mut self.wall {
            return wall.append(mono_ns, self.wall_offset_ns, out);
        }
        // An event may lie just before the moment at which the start was noted.
        let us = mono_ns.saturating_sub(self.started_ns) / 1000;
        out.number(us / 1_000_000);
        out.push(b'.');
        out.padded(us % 1_000_000, 6);
    }

    fn address_width(&self) -> usize {
        if self.wide { 47 } else { 21 }
    }
}

/// An event's name, and its colour.
fn looks(body: &Body) -> (&'static str, &'static str) {
    let warning = |is_bad| if is_bad { YELLOW } else { "" };
    match body {
        Body::Open(..) => ("open", DIM),
        Body::Owner(_) => ("owner", DIM),
        Body::Settings(..) => ("settings", ""),
        Body::Probe(_, probe) => ("probe", warning(probe.n.is_some_and(|n| n > 1))),
        Body::Timer(..) => ("timer", DIM),
        Body::Reply(_, reply) => ("reply", warning(reply.missed > 0 || reply.kind == ReplyKind::Reset)),
        Body::Reset(..) => ("reset", ""),
        Body::Http(..) => ("http", ""),
        Body::End(_, end) => ("end", if end.verdict.is_death() { RED } else { "" }),
        Body::Namespace(_) => ("netns", ""),
        Body::Sysctl(..) => ("sysctl", YELLOW),
        Body::Lost(_) => ("lost", RED),
        Body::Start(_) | Body::Uneventful(_) | Body::Stop(_) => ("", ""),
    }
}

/// The last column.
fn detail(body: &Body, hz: u32, out: &mut Vec<u8>) {
    match body {
        Body::Open(connection, open) => detail::open(out, connection, open),
        Body::Owner(connection) => detail::owner(out, connection.owner),
        Body::Settings(connection, changed) => detail::settings(out, connection.settings.as_ref(), changed),
        Body::Probe(connection, probe) => detail::probe(out, connection, probe, hz),
        Body::Timer(_, timer) => detail::timer(out, timer, hz),
        Body::Reply(connection, reply) => detail::reply(out, connection, reply),
        Body::Reset(connection, reset) => detail::reset(out, connection, reset),
        Body::Http(_, http) => detail::http(out, http),
        Body::End(_, end) => detail::end(out, end),
        Body::Namespace(namespace) => detail::namespace(out, namespace),
        Body::Sysctl(write, following) => detail::sysctl(out, write, following.as_ref()),
        Body::Lost(lost) => detail::lost(out, *lost),
        Body::Start(_) | Body::Uneventful(_) | Body::Stop(_) => {}
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
