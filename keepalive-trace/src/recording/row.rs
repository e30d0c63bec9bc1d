//! From an event to a row.
use super::{
    columns::Row,
    words::{Dir, Kind, Way},
};
use crate::model::{
    event::{Body, Changed, Connection, End, Event, Family, Lost, Open, Probe, Reply, Reset, Timer, Uneventful, Via},
    http::{self, Http, Line, Promise, Tokens},
    owner::{Comm, Task},
    settings::Settings,
    sysctl::{Following, Write},
};

/// Moments of a run, by the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC, nanoseconds.
    pub(super) offset_ns: i64,
}

impl Wall {
    fn of(self, mono_ns: u64) -> i64 {
        self.offset_ns.wrapping_add_unsigned(mono_ns)
    }

    pub(super) fn mono(self, wall_ns: i64) -> u64 {
        wall_ns.wrapping_sub(self.offset_ns).cast_unsigned()
    }
}

/// Lays an event flat. None for what is no part of a recording: its start is in the header, its stop is the recorder's own, and
/// namespaces are listed by `sysctl` alone.
pub(super) fn flat<'a>(Event { mono_ns, body }: &'a Event, host: &'a str, wall: Wall) -> Option<Row<'a>> {
    let row = match body {
        Body::Start(_) | Body::Stop(_) | Body::Namespace(_) => return None,
        Body::Open(connection, Open { how, connect_us }) => {
            Row { event: Some(Kind::Open), how: Some(*how), connect_us: *connect_us, ..of(connection) }
        }
        Body::Owner(connection) => Row { event: Some(Kind::Owner), ..of(connection) },
        Body::Settings(connection, Changed { by, via }) => {
            let (via, waited_ms) = match via {
                None => (None, None),
                Some(Via::Setsockopt) => (Some(Way::Setsockopt), None),
                Some(Via::Sysctl { waited_ms }) => (Some(Way::Sysctl), Some(*waited_ms)),
            };
            let (by_pid, by_comm) = task(*by);
            Row { event: Some(Kind::Settings), by_pid, by_comm, via, waited_ms, ..of(connection) }
        }
        Body::Probe(connection, Probe { n, result, next_ms, late_ms, wheel_ms }) => Row {
            event: Some(Kind::Probe),
            n: *n,
            result: *result,
            next_ms: *next_ms,
            late_ms: *late_ms,
            wheel_ms: *wheel_ms,
            ..of(connection)
        },
        Body::Timer(connection, Timer { outcome, next_ms, late_ms, wheel_ms }) => Row {
            event: Some(Kind::Timer),
            outcome: Some(*outcome),
            next_ms: *next_ms,
            late_ms: *late_ms,
            wheel_ms: *wheel_ms,
            ..of(connection)
        },
        Body::Reply(connection, Reply { n, kind, rtt_us, precision, missed }) => Row {
            event: Some(Kind::Reply),
            n: *n,
            kind: Some(*kind),
            rtt_us: *rtt_us,
            precision: Some(*precision),
            missed: Some(*missed),
            ..of(connection)
        },
        Body::Reset(connection, Reset { reason, cause, task: by }) => {
            let (task_pid, task_comm) = task(*by);
            Row { event: Some(Kind::Reset), reason: reason.as_deref(), cause: *cause, task_pid, task_comm, ..of(connection) }
        }
        Body::Http(connection, http) => of_http(connection, http),
        Body::End(connection, End { verdict, errno, probes_sent, unanswered, age_ms, armed_before_sysctl, why, http }) => Row {
            event: Some(Kind::End),
            verdict: Some(*verdict),
            errno: *errno,
            probes_sent: Some(*probes_sent),
            unanswered: Some(*unanswered),
            age_ms: *age_ms,
            armed_before_sysctl: Some(*armed_before_sysctl),
            why: Some(why),
            ..of_http_end(connection, http.as_deref())
        },
        Body::Sysctl(write, following) => of_write(write, following.as_ref(), wall),
        Body::Uneventful(Uneventful { verdict, cgroup, count }) => Row {
            event: Some(Kind::Uneventful),
            verdict: Some(*verdict),
            cgroup: cgroup.as_deref(),
            count: Some(*count),
            ..Row::default()
        },
        Body::Lost(Lost { count, place }) => {
            Row { event: Some(Kind::Lost), count: Some(*count), place: Some(*place), ..Row::default() }
        }
    };
    Some(Row { time: Some(wall.of(*mono_ns)), host: Some(host), ..row })
}

/// The recorder's last row: so many events came before it.
pub(super) fn stop(mono_ns: u64, events: u64, host: &str, wall: Wall) -> Row<'_> {
    Row { time: Some(wall.of(mono_ns)), event: Some(Kind::Stop), host: Some(host), count: Some(events), ..Row::default() }
}

fn of(connection: &Connection) -> Row<'_> {
    let Connection { id, cookie, family, local, remote, netns, cgroup, owner, state, settings, idle_ms, probes_out } = connection;
    let row = Row {
        conn: Some(id.0),
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
        cgroup: cgroup.as_deref(),
        state: Some(*state),
        pid: owner.map(|owner| owner.task.pid),
        comm: owner.map(|owner| owner.task.comm),
        holders: owner.map(|owner| owner.holders),
        idle_ms: *idle_ms,
        probes_out: *probes_out,
        ..Row::default()
    };
    let Some(Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms }) = settings else { return row };
    Row {
        keepalive: Some(*keepalive),
        time_s: Some(time_s.value),
        intvl_s: Some(intvl_s.value),
        probes: Some(probes.value),
        user_timeout_ms: Some(*user_timeout_ms),
        origin_time: Some(time_s.origin),
        origin_intvl: Some(intvl_s.origin),
        origin_probes: Some(probes.origin),
        ..row
    }
}

fn of_http<'a>(connection: &'a Connection, http: &Http) -> Row<'a> {
    let Http { line, n, connection: tokens, promise: Promise { timeout_s, max }, idle_before_ms } = *http;
    let (dir, method, status) = match line {
        Line::Request(method) => (Dir::Request, Some(method), None),
        Line::Response(status) => (Dir::Response, None, Some(status)),
    };
    Row {
        event: Some(Kind::Http),
        n: Some(n),
        dir: Some(dir),
        method,
        status,
        connection: (tokens != Tokens::default()).then_some(tokens),
        timeout_s,
        max,
        idle_before_ms,
        ..of(connection)
    }
}

fn of_http_end<'a>(connection: &'a Connection, end: Option<&http::End>) -> Row<'a> {
    let Some(http::End { cause, requests, responses, saved, findings }) = end else { return of(connection) };
    Row {
        http: *cause,
        requests: Some(*requests),
        responses: Some(*responses),
        saved_us: saved.map(|saved| saved.us),
        saved_from: saved.map(|saved| saved.from),
        findings: (!findings.is_empty()).then_some(*findings),
        ..of(connection)
    }
}

fn of_write<'a>(write: &Write, following: Option<&Following>, wall: Wall) -> Row<'a> {
    let Write { mono_ns: _, netns, name, old, new, refused, by } = write;
    let (task_pid, task_comm) = task(*by);
    let row = Row {
        event: Some(Kind::Sysctl),
        netns: Some(*netns),
        name: Some(*name),
        old: Some(*old),
        new: Some(*new),
        errno: *refused,
        task_pid,
        task_comm,
        ..Row::default()
    };
    let Some(Following { sockets, now, later, never_socket, never_off, by }) = following else { return row };
    Row {
        sockets: Some(*sockets),
        follow_now: Some(*now),
        follow_later: Some(*later),
        never_socket: Some(*never_socket),
        never_off: Some(*never_off),
        nearest_at: by.map(|by| wall.of(by.nearest_ns)),
        median_at: by.map(|by| wall.of(by.median_ns)),
        last_at: by.map(|by| wall.of(by.last_ns)),
        ..row
    }
}

fn task(task: Option<Task>) -> (Option<u32>, Option<Comm>) {
    (task.map(|task| task.pid), task.map(|task| task.comm))
}
