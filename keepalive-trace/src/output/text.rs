//! Text for people: one header line, then one event a line, in the columns that users of this field know.
use std::{io::Write as _, net::SocketAddr};

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};

use super::{Format, Look, detail};
use crate::model::event::{Body, Connection, Event, Stop};

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
                self.line(event, Some(connection), "probe", &detail::probe(connection, probe, self.hz), color, out)
            }
            Body::Timer(connection, timer) => {
                self.line(event, Some(connection), "timer", &detail::timer(connection, timer, self.hz), DIM, out)
            }
            Body::Reset(connection, reset) => {
                let color = if reset.cause.is_some() { RED } else { "" };
                self.line(event, Some(connection), "reset", &detail::reset(connection, reset), color, out)
            }
            Body::Lost(lost) => self.line(event, None, "lost", &detail::lost(*lost), RED, out),
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
            write!(out, "  [{}]", detail::facts(connection))?;
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

fn summary(stop: &Stop) -> String {
    let Stop { events, lost, connections, verdicts } = stop;
    let mut summary = format!("{events} events, {lost} lost, {connections} connections");
    for (verdict, count) in verdicts {
        summary += &format!(", {} {count}", verdict.name());
    }
    summary
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
5.000000     -       -               10.0.0.5:51334        10.0.0.9:5432         reset  DEAD: keepalive gave up, 3 of 3 probes unanswered, idle 4.080 s
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
}
