//! JSON lines, schema version 1: one object a line, unknown keys absent.
mod sysctl;

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use serde_with::skip_serializing_none;

use super::{Format, harmless::json_line};
use crate::model::{
    event::{Attach, Body, Changed, Connection, End, Event, Family, Lost, Open, Probe, Reply, Reset, Start, Stop, Timer, Via},
    http::{Finding, Findings, Http, Line as First, Promise},
    owner::{Owner, Task},
    settings::Settings,
    sysctl::Sysctls,
};

/// The version of what the keys mean.
pub(super) const SCHEMA: u32 = 1;

#[derive(Debug, Default)]
pub(super) struct Json {
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC, from the start event.
    wall_offset_ns: i64,
}

impl Format for Json {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<()> {
        if let Body::Start(start) = &event.body {
            self.wall_offset_ns = start.wall_offset_ns;
        }
        let offset = self.wall_offset_ns;
        match &event.body {
            Body::Sysctl(write, following) => json_line(out, &sysctl::write(write, following.as_ref(), offset)),
            Body::Namespace(namespace) => json_line(out, &sysctl::namespace(namespace, event.mono_ns, offset)),
            body => json_line(out, &Line { mono_ns: event.mono_ns, time: wall_time(event.mono_ns, offset), ..line(body) }),
        }
    }
}

/// Every key there is, in the order in which it is printed. The key names are the contract.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    event: &'static str,
    time: String,
    mono_ns: u64,

    conn: Option<String>,
    cookie: Option<u64>,
    ip: Option<u8>,
    laddr: Option<IpAddr>,
    lport: Option<u16>,
    raddr: Option<IpAddr>,
    rport: Option<u16>,
    netns: Option<u32>,
    state: Option<String>,
    pid: Option<u32>,
    comm: Option<String>,
    holders: Option<u32>,
    cgroup: Option<&'a str>,

    how: Option<&'static str>,
    connect_us: Option<u64>,
    by_pid: Option<u32>,
    by_comm: Option<String>,
    via: Option<&'static str>,
    waited_ms: Option<u32>,

    n: Option<u32>,
    of: Option<u32>,
    kind: Option<&'static str>,
    rtt_us: Option<u64>,
    precision: Option<&'static str>,
    missed: Option<u32>,
    verdict: Option<&'static str>,
    armed_before_sysctl: Option<bool>,
    errno: Option<String>,
    probes_sent: Option<u32>,
    idle_ms: Option<u64>,
    age_ms: Option<u64>,
    result: Option<&'static str>,
    outcome: Option<&'static str>,
    next_ms: Option<i64>,
    late_ms: Option<i64>,
    wheel_ms: Option<i64>,

    reason: Option<&'a str>,
    in_timer: Option<bool>,
    cause: Option<&'static str>,
    unanswered: Option<u32>,
    task_pid: Option<u32>,
    task_comm: Option<String>,
    why: Option<&'a str>,

    dir: Option<&'static str>,
    status: Option<u16>,
    method: Option<&'static str>,
    connection: Option<String>,
    timeout_s: Option<u32>,
    max: Option<u32>,
    idle_before_ms: Option<u64>,
    http: Option<&'static str>,
    requests: Option<u32>,
    responses: Option<u32>,
    handshakes_saved: Option<u32>,
    saved_us: Option<u64>,
    saved_from: Option<&'static str>,
    findings: Option<Vec<&'static str>>,

    keepalive: Option<bool>,
    time_s: Option<i32>,
    intvl_s: Option<i32>,
    probes: Option<u32>,
    user_timeout_ms: Option<u32>,
    origin: Option<Origins>,

    schema: Option<u32>,
    version: Option<&'a str>,
    host: Option<&'a str>,
    kernel: Option<&'a str>,
    hz: Option<u32>,
    attach: Option<&'static str>,
    cmdline: Option<&'a str>,
    sysctl: Option<SysctlValues>,

    count: Option<u64>,
    #[serde(rename = "where")]
    place: Option<&'static str>,

    events: Option<u64>,
    lost: Option<u64>,
    connections: Option<u64>,
    verdicts: Option<BTreeMap<&'static str, u64>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Origins {
    time: &'static str,
    intvl: &'static str,
    probes: &'static str,
}

impl Origins {
    pub(super) fn of(settings: &Settings) -> Self {
        let Settings { time_s, intvl_s, probes, .. } = settings;
        Self { time: time_s.origin.name(), intvl: intvl_s.origin.name(), probes: probes.origin.name() }
    }
}

#[derive(Debug, Serialize)]
struct SysctlValues {
    time_s: i64,
    intvl_s: i64,
    probes: u32,
}

fn line(body: &Body) -> Line<'_> {
    match body {
        Body::Start(start) => of_start(start),
        Body::Open(connection, Open { how, connect_us }) => {
            Line { event: "open", how: Some(how.name()), connect_us: *connect_us, ..of_connection(connection) }
        }
        Body::Owner(connection) => Line { event: "owner", ..of_connection(connection) },
        Body::Settings(connection, Changed { by, via }) => Line {
            event: "settings",
            via: via.map(Via::name),
            waited_ms: via.and_then(|via| match via {
                Via::Setsockopt => None,
                Via::Sysctl { waited_ms } => Some(waited_ms),
            }),
            by_pid: by.map(|task| task.pid),
            by_comm: by.map(|task| task.comm.to_string()),
            ..of_connection(connection)
        },
        Body::Probe(connection, Probe { n, result, next_ms, late_ms, wheel_ms }) => Line {
            event: "probe",
            n: *n,
            of: connection.settings.map(|settings| settings.probes.value),
            idle_ms: connection.idle_ms,
            result: result.map(|result| result.name()),
            next_ms: *next_ms,
            late_ms: *late_ms,
            wheel_ms: *wheel_ms,
            ..of_connection(connection)
        },
        Body::Timer(connection, Timer { outcome, next_ms, late_ms, wheel_ms }) => Line {
            event: "timer",
            outcome: Some(outcome.name()),
            idle_ms: connection.idle_ms,
            next_ms: *next_ms,
            late_ms: *late_ms,
            wheel_ms: *wheel_ms,
            ..of_connection(connection)
        },
        Body::Reply(connection, Reply { n, kind, rtt_us, precision, missed }) => Line {
            event: "reply",
            n: *n,
            kind: Some(kind.name()),
            rtt_us: *rtt_us,
            precision: Some(precision.name()),
            missed: Some(*missed),
            ..of_connection(connection)
        },
        Body::Reset(connection, Reset { reason, cause, task }) => Line {
            event: "reset",
            reason: reason.as_deref(),
            in_timer: Some(cause.is_some()),
            cause: cause.map(|cause| cause.name()),
            unanswered: cause.and(connection.probes_out),
            idle_ms: connection.idle_ms,
            task_pid: task.as_ref().map(|task| task.pid),
            task_comm: task.as_ref().map(|task| task.comm.to_string()),
            ..of_connection(connection)
        },
        Body::Http(connection, http) => of_http(connection, http),
        Body::End(connection, End { verdict, errno, probes_sent, unanswered, age_ms, armed_before_sysctl, why, http }) => Line {
            event: "end",
            verdict: Some(verdict.name()),
            armed_before_sysctl: armed_before_sysctl.then_some(true),
            errno: errno.map(|errno| errno.to_string()),
            probes_sent: Some(*probes_sent),
            unanswered: Some(*unanswered),
            idle_ms: connection.idle_ms,
            age_ms: *age_ms,
            why: Some(why),
            http: http.as_ref().and_then(|http| Some(http.cause?.name())),
            requests: http.as_ref().map(|http| http.requests),
            responses: http.as_ref().map(|http| http.responses),
            handshakes_saved: http.as_ref().map(|http| http.handshakes_saved()),
            saved_us: http.as_ref().and_then(|http| Some(http.saved?.us)),
            saved_from: http.as_ref().and_then(|http| Some(http.saved?.from.name())),
            findings: http.as_ref().and_then(|http| names(http.findings)),
            ..of_connection(connection)
        },
        Body::Lost(Lost { count, place }) => {
            Line { event: "lost", count: Some(*count), place: Some(place.name()), ..Line::default() }
        }
        Body::Stop(stop) => of_stop(stop),
        // They have lines of their own.
        Body::Namespace(_) | Body::Sysctl(..) => Line::default(),
    }
}

fn of_connection(connection: &Connection) -> Line<'_> {
    let Connection { id, cookie, family, local, remote, netns, cgroup, owner, state, settings, idle_ms: _, probes_out: _ } =
        connection;
    let line = Line {
        conn: Some(id.to_string()),
        cookie: *cookie,
        ip: Some(match family {
            Family::V4 => 4,
            Family::V6 => 6,
        }),
        laddr: Some(local.ip()),
        lport: Some(local.port()),
        raddr: Some(remote.ip()),
        rport: Some(remote.port()),
        netns: *netns,
        state: Some(state.to_string()),
        pid: owner.map(|Owner { task: Task { pid, .. }, .. }| pid),
        comm: owner.map(|owner| owner.task.comm.to_string()),
        holders: owner.map(|owner| owner.holders).filter(|holders| *holders > 1),
        cgroup: cgroup.as_deref(),
        ..Line::default()
    };
    let Some(Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms }) = settings else { return line };
    Line {
        keepalive: Some(*keepalive),
        time_s: Some(time_s.value),
        intvl_s: Some(intvl_s.value),
        probes: Some(probes.value),
        user_timeout_ms: Some(*user_timeout_ms),
        origin: settings.as_ref().map(Origins::of),
        ..line
    }
}

/// Findings by their names; none where there are none.
pub(super) fn names(findings: Findings) -> Option<Vec<&'static str>> {
    (!findings.is_empty()).then(|| findings.iter().map(Finding::name).collect())
}

fn of_http<'a>(connection: &'a Connection, http: &Http) -> Line<'a> {
    let Http { line, n, connection: tokens, promise: Promise { timeout_s, max }, idle_before_ms } = *http;
    let tokens = tokens.to_string();
    let (dir, method, status) = match line {
        First::Request(method) => ("request", Some(method.name()), None),
        First::Response(status) => ("response", None, Some(status)),
    };
    Line {
        event: "http",
        dir: Some(dir),
        n: Some(n),
        status,
        method,
        connection: (!tokens.is_empty()).then_some(tokens),
        timeout_s,
        max,
        idle_before_ms,
        ..of_connection(connection)
    }
}

fn of_start(start: &Start) -> Line<'_> {
    let Start { version, host, kernel, hz, attach, cmdline, sysctls, wall_offset_ns: _ } = start;
    Line {
        event: "start",
        schema: Some(SCHEMA),
        version: Some(version),
        host: Some(host),
        kernel: Some(kernel),
        hz: Some(*hz),
        attach: attach.map(Attach::name),
        cmdline: Some(cmdline),
        sysctl: sysctls.map(|Sysctls { time_s, intvl_s, probes }| SysctlValues { time_s, intvl_s, probes }),
        ..Line::default()
    }
}

fn of_stop(stop: &Stop) -> Line<'_> {
    let Stop { events, lost, connections, verdicts } = stop;
    Line {
        event: "stop",
        events: Some(*events),
        lost: Some(*lost),
        connections: Some(*connections),
        verdicts: Some(verdicts.iter().map(|(verdict, count)| (verdict.name(), *count)).collect()),
        ..Line::default()
    }
}

/// RFC 3339, UTC, nanoseconds.
pub(super) fn wall_time(mono_ns: u64, wall_offset_ns: i64) -> String {
    let ns = i128::from(mono_ns) + i128::from(wall_offset_ns);
    Timestamp::from_nanosecond(ns).map_or_else(|_| String::new(), |time| format!("{time:.9}"))
}

#[cfg(test)]
mod tests;
