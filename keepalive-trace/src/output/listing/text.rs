//! A table for people.
use std::io::Write as _;

use anyhow::Result;

use super::Format;
use crate::{
    model::{
        inventory::{Row, Sum},
        listing::Listed,
        settings::{Origin, Settings, Sourced},
        state::State,
        units::counted,
        window::WindowMs,
    },
    output::{
        DIM, Look, PLAIN, YELLOW,
        append::Append as _,
        columns::{cell, cell_or_dash, comm_cell},
        escape,
    },
};

/// What nobody tells apart.
const NARROW_MS: i64 = 30;

pub(super) struct Text {
    /// Say what is wrong and what cures it, instead of only naming it.
    advice: bool,
    wide: bool,
    colors: bool,
}

impl Text {
    pub(super) fn new(look: &Look, colors: bool, advice: bool) -> Self {
        Self { advice, wide: look.wide, colors }
    }

    fn address_width(&self) -> usize {
        if self.wide { 47 } else { 21 }
    }

    fn paint(&self, color: &'static str) -> (&'static str, &'static str) {
        if self.colors && !color.is_empty() { (color, PLAIN) } else { ("", "") }
    }
}

impl Format for Text {
    fn header(&self, out: &mut Vec<u8>) -> Result<()> {
        let width = self.address_width();
        write!(
            out,
            "{:<7} {:<15} {:<width$} {:<width$} {:<11} {:<17} {:<9} {:<10} {:<10} {:<3} {:<10} DETECTED",
            "PID",
            "COMM",
            "LADDR:LPORT",
            "RADDR:RPORT",
            "STATE",
            "KEEPALIVE",
            "USER-TMO",
            "TIMER LEFT",
            "FIRES IN",
            "OUT",
            "IDLE"
        )?;
        Ok(writeln!(out, "{}", if self.wide { "  FACTS" } else { "" })?)
    }

    fn row(&self, row: &Row, out: &mut Vec<u8>) -> Result<()> {
        let Row { listed: Listed { mono_ns: _, socket, owner, timer, queued }, hz, fires, detect_ms, found } = row;
        let width = self.address_width();
        let listens = socket.state == State::LISTEN;
        let owner = owner.map(|owner| owner.task);
        let (color, plain) = self.paint(if listens { DIM } else { "" });
        out.extend_from_slice(color.as_bytes());
        cell_or_dash(out, 7, owner, |out, task| out.number(task.pid.into()));
        comm_cell(out, 15, owner.as_ref().map(|task| &task.comm));
        cell(out, width, |out| out.endpoint(socket.local));
        cell(out, width, |out| if listens { out.push(b'-') } else { out.endpoint(socket.remote) });
        cell(out, 11, |out| out.state(socket.state));
        cell(out, 17, |out| keepalive(out, socket.settings.as_ref()));
        let user_timeout = socket.settings.map(|settings| i64::from(settings.user_timeout_ms)).filter(|ms| *ms > 0);
        cell(out, 9, |out| time(out, user_timeout));
        // Not that of a listener: its children take over what is set, and no timer.
        cell(out, 10, |out| time(out, timer.map(|timer| timer.left_ms(*hz))));
        cell(out, 10, |out| window(out, *fires));
        cell(out, 3, |out| number(out, socket.probes_out.filter(|_| !listens)));
        cell(out, 10, |out| time(out, socket.idle_ms.filter(|_| !listens).and_then(|ms| i64::try_from(ms).ok())));
        match detect_ms {
            _ if listens => out.push(b'-'),
            Some(ms) => time(out, Some(*ms)),
            None => out.text("never"),
        }
        if let Some(queued) = queued.filter(|queued| queued.unacked > 0 || queued.unsent > 0) {
            write!(out, "  (no probe while {} unacknowledged, {} unsent)", queued.unacked, queued.unsent)?;
        }
        if self.wide {
            facts(out, row);
        }
        if !self.advice && !found.is_empty() {
            let (color, plain) = self.paint(YELLOW);
            let names: Vec<_> = found.iter().map(|found| found.finding.name()).collect();
            write!(out, "  {color}! {}{plain}", names.join(", "))?;
        }
        writeln!(out, "{plain}")?;
        for found in found.iter().filter(|_| self.advice) {
            let (color, plain) = self.paint(YELLOW);
            writeln!(out, "  {color}{}{plain}: {}", found.finding.name(), escape(&found.why))?;
            writeln!(out, "    cure: {}", escape(&found.remedy))?;
        }
        Ok(())
    }

    fn sum(&self, sum: &Sum, _mono_ns: u64, out: &mut Vec<u8>) -> Result<()> {
        let Sum { sockets, listeners, keepalive, findings } = sum;
        let listening = if *listeners > 0 { format!(" and {}", counted(*listeners, "listener")) } else { String::new() };
        let kinds: Vec<_> = findings.iter().map(|(finding, count)| format!("{count} {}", finding.name())).collect();
        let found = match sum.found() {
            0 => "no findings".to_owned(),
            count => format!("{}: {}", counted(count, "finding"), kinds.join(", ")),
        };
        Ok(writeln!(
            out,
            "\n{}{listening}, {keepalive} with keepalive; {found}  (* set on the socket, else by sysctl)",
            counted(*sockets, "socket")
        )?)
    }
}

/// `7200s 75s 9`, what is set on the socket with a star; `off`.
fn keepalive(out: &mut Vec<u8>, settings: Option<&Settings>) {
    let Some(Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms: _ }) = settings else { return out.text("?") };
    if !keepalive {
        return out.text("off");
    }
    for (value, unit, star) in [
        (i64::from(time_s.value), "s", star(time_s)),
        (intvl_s.value.into(), "s", star(intvl_s)),
        (probes.value.into(), "", star(probes)),
    ] {
        out.signed(value);
        out.text(unit);
        out.text(star);
        out.push(b' ');
    }
    out.pop();
}

fn star<T>(value: &Sourced<T>) -> &'static str {
    match value.origin {
        Origin::Socket => "*",
        Origin::Sysctl => "",
    }
}

/// Milliseconds, as seconds with their unit.
fn time(out: &mut Vec<u8>, ms: Option<i64>) {
    match ms {
        Some(ms) => out.seconds(ms),
        None => out.push(b'-'),
    }
}

fn number(out: &mut Vec<u8>, number: Option<u32>) {
    match number {
        Some(number) => out.number(number.into()),
        None => out.push(b'-'),
    }
}

/// A window that is narrower than anybody would care is one time.
fn window(out: &mut Vec<u8>, window: Option<WindowMs>) {
    match window {
        Some(WindowMs { earliest_ms, latest_ms }) if latest_ms - earliest_ms > NARROW_MS => {
            hundredths(out, earliest_ms);
            out.text("..");
            hundredths(out, latest_ms);
            out.text(" s");
        }
        window => time(out, window.map(|window| window.latest_ms)),
    }
}

/// Milliseconds, as seconds with two decimals: five milliseconds are rounded up.
fn hundredths(out: &mut Vec<u8>, ms: i64) {
    if ms < 0 {
        out.push(b'-');
    }
    let hundredths = ms.unsigned_abs().saturating_add(5) / 10;
    out.number(hundredths / 100);
    out.push(b'.');
    out.padded(hundredths % 100, 2);
}

/// What `--wide` adds.
fn facts(out: &mut Vec<u8>, row: &Row) {
    let socket = &row.listed.socket;
    if let Some(netns) = socket.netns {
        out.text("  netns ");
        out.number(netns.into());
    }
    if let Some(cookie) = socket.cookie {
        out.text(" cookie ");
        out.number(cookie);
    }
    if let Some(cgroup) = &socket.cgroup {
        out.text(" cgroup ");
        out.escaped(cgroup);
    }
    if let Some(owner) = row.listed.owner.filter(|owner| owner.holders > 1) {
        out.text(" held by ");
        out.number(owner.holders.into());
        out.text(" processes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        findings::{Limits, lint},
        listing::samples::{armed, by_socket, by_sysctl, idle_for, listed},
        sighting::Socket,
        wheel::Armed,
    };

    const HZ: u32 = 250;

    fn row(listed: Listed) -> Row {
        let limits = Limits { hz: HZ, idle_limit_ms: Some(350_000), ..Limits::default() };
        Row {
            hz: HZ,
            fires: listed.fires(HZ),
            detect_ms: crate::model::deadlines::detection(&listed, HZ),
            found: lint(&listed, &limits),
            listed,
        }
    }

    fn rows() -> Vec<Row> {
        let probing = armed(Armed { left: 2500, expires: 2500, level: Some(1) }, by_socket(60, 10, 6));
        let listening = listed(by_sysctl(7200, 75, 9));
        vec![
            row(Listed { socket: Socket { probes_out: Some(2), ..probing.socket }, ..probing }),
            row(armed(Armed { left: 85_000, expires: 85_000, level: None }, by_sysctl(340, 75, 9))),
            row(idle_for(700_000, Settings { keepalive: false, ..by_sysctl(7200, 75, 9) })),
            row(Listed { socket: Socket { state: State::LISTEN, ..listening.socket }, ..listening }),
        ]
    }

    fn printed(advice: bool) -> String {
        let text = Text { advice, wide: false, colors: false };
        let (mut out, mut sum) = (Vec::new(), Sum::default());
        text.header(&mut out).unwrap();
        for row in rows() {
            text.row(&row, &mut out).unwrap();
            sum.add(&row);
        }
        text.sum(&sum, 0, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_socket_is_one_line_with_its_units_and_its_findings_by_name() {
        let expected = "\
PID     COMM            LADDR:LPORT           RADDR:RPORT           STATE       KEEPALIVE         USER-TMO  TIMER LEFT FIRES IN   OUT IDLE       DETECTED
812     app             10.0.0.5:51334        10.0.0.9:5432         ESTABLISHED 60s* 10s* 6*      -         10.000 s   10.020 s   2   0.000 s    123.588 s
812     app             10.0.0.5:51334        10.0.0.9:5432         ESTABLISHED 340s 75s 9        -         340.000 s  340.00..356.39 s 0   0.000 s    1049.820 s  ! late-for-limit
812     app             10.0.0.5:51334        10.0.0.9:5432         ESTABLISHED off               -         -          -          0   700.000 s  never  ! no-keepalive
812     app             10.0.0.5:51334        -                     LISTEN      7200s 75s 9       -         -          -          -   -          -

3 sockets and 1 listener, 2 with keepalive; 2 findings: 1 no-keepalive, 1 late-for-limit  (* set on the socket, else by sysctl)
";
        assert_eq!(printed(false), expected);
    }

    #[test]
    fn advice_says_why_and_what_cures_it() {
        let expected = "\
812     app             10.0.0.5:51334        10.0.0.9:5432         ESTABLISHED 340s 75s 9        -         340.000 s  340.00..356.39 s 0   0.000 s    1049.820 s
  late-for-limit: the first probe can come 356.388 s after the last sign of life (time 340 s), and the limit is 350 s
    cure: TCP_KEEPIDLE 333 s in app[812], which takes effect at once; or `nsenter -t 812 -n sysctl -w net.ipv4.tcp_keepalive_time=333` (network namespace 7), but armed timers keep their deadlines
812     app             10.0.0.5:51334        10.0.0.9:5432         ESTABLISHED off               -         -          -          0   700.000 s  never
  no-keepalive: idle for 700 s with keepalive off: if the peer is gone, nobody will notice
    cure: SO_KEEPALIVE and TCP_KEEPIDLE 333 s in app[812]; without SO_KEEPALIVE the sysctls do nothing
";
        assert!(printed(true).contains(expected), "{}", printed(true));
    }
}
