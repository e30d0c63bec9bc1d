//! From the rows of a batch to events.
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
};

use super::{
    columns::View,
    layout::Together,
    row::Wall,
    words::{Dir, Kind, Way},
};
use crate::model::{
    book::{Depth, Unread},
    event::{
        Body, Changed, ConnId, Connection, End, Event, Family, Lost, Open, Precision, Probe, Reply, ReplyKind, Reset, Timer,
        Uneventful, Via,
    },
    http::{self, Http, Line, Promise, Saved},
    owner::{Comm, Owner, Task},
    settings::{Settings, Sourced},
    state::State,
    sysctl::{Deadlines, Following, Write},
    verdict::Verdict,
};

/// What rows came to.
#[derive(Default)]
pub(super) struct Sum {
    pub(super) events: u64,
    /// The run's proper end, at this moment of CLOCK_MONOTONIC.
    pub(super) stopped: Option<u64>,
    /// Rows of a later version, or nonsense.
    pub(super) strange: u64,
}

/// A batch, to be read row by row.
pub(super) struct Rows {
    view: View,
    wall: Wall,
    /// Rows with all that names a connection, and those with all its settings.
    named: Together,
    settled: Together,
}

impl Rows {
    pub(super) fn new(view: View, wall: Wall) -> Self {
        let View { conn, ip, laddr, lport, raddr, rport, .. } = &view;
        let named = [conn.nulls(), ip.nulls(), laddr.nulls(), lport.nulls(), raddr.nulls(), rport.nulls()];
        let View { keepalive, time_s, intvl_s, probes, user_timeout_ms, origin_time, origin_intvl, origin_probes, .. } = &view;
        let values = [keepalive.nulls(), time_s.nulls(), intvl_s.nulls(), probes.nulls(), user_timeout_ms.nulls()];
        let origins = [origin_time.nulls(), origin_intvl.nulls(), origin_probes.nulls()];
        let (named, settled) = (Together::of(named), Together::of(values.into_iter().chain(origins)));
        Self { view, wall, named, settled }
    }
}

/// Some rows of a batch, as the events that they are.
pub(super) struct Span<'a> {
    pub(super) rows: &'a Rows,
    pub(super) range: Range<usize>,
    pub(super) sum: &'a mut Sum,
}

impl Unread for Span<'_> {
    fn count(&self) -> usize {
        self.range.len()
    }

    fn mono_ns(&self, nth: usize) -> Option<u64> {
        let Rows { view, wall, .. } = self.rows;
        Some(wall.mono(view.time.at(self.range.start + nth)?))
    }

    fn conn(&self, nth: usize) -> Option<ConnId> {
        self.rows.view.conn.at(self.range.start + nth).map(ConnId)
    }

    fn read(&mut self, nth: usize, depth: Depth) -> Option<Event> {
        let row = self.range.start + nth;
        let event = self.mono_ns(nth).zip(self.rows.view.event.at(row)).and_then(|(mono_ns, kind)| {
            if kind == Kind::Stop {
                self.sum.stopped = Some(mono_ns);
                return None;
            }
            let body = Reading { rows: self.rows, row, kind, depth }.body(mono_ns);
            self.sum.strange += u64::from(body.is_none());
            Some(Event { mono_ns, body: body? })
        });
        self.sum.events += u64::from(event.is_some());
        event
    }
}

/// What stands where nobody looks.
const NOBODY: Connection = Connection {
    id: ConnId(0),
    cookie: None,
    family: Family::V4,
    local: NOWHERE,
    remote: NOWHERE,
    netns: None,
    cgroup: None,
    owner: None,
    state: State(0),
    settings: None,
    idle_ms: None,
    probes_out: None,
};
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

struct Reading<'a> {
    rows: &'a Rows,
    row: usize,
    kind: Kind,
    depth: Depth,
}

impl Reading<'_> {
    /// The connection as it was.
    #[inline(always)]
    fn connection(&self) -> Option<Connection> {
        let Self { rows: Rows { view, named, .. }, row, kind, depth } = *self;
        named.hold(row).then_some(())?;
        let (id, probes_out) = (ConnId(view.conn.get(row)?), view.probes_out.at(row));
        let task = by(view.pid.at(row), view.comm.at(row));
        let owner = task.map(|task| Owner { task, holders: view.holders.at(row).unwrap_or(1) });
        if depth == Depth::History {
            let is_looked_at = matches!(kind, Kind::Open | Kind::Settings | Kind::Probe);
            let settings = if is_looked_at { self.settings() } else { None };
            let idle_ms = if kind == Kind::Timer { view.idle_ms.at(row) } else { None };
            return Some(Connection { id, owner, settings, idle_ms, probes_out, ..NOBODY });
        }
        Some(Connection {
            id,
            cookie: view.cookie.at(row),
            family: if view.ip.get(row)? == 4 { Family::V4 } else { Family::V6 },
            local: SocketAddr::new(view.laddr.get(row)?, view.lport.get(row)?),
            remote: SocketAddr::new(view.raddr.get(row)?, view.rport.get(row)?),
            netns: view.netns.at(row),
            cgroup: view.cgroup.at(row),
            owner,
            state: view.state.at(row).unwrap_or(State(0)),
            settings: self.settings(),
            idle_ms: view.idle_ms.at(row),
            probes_out,
        })
    }

    #[inline(always)]
    fn settings(&self) -> Option<Settings> {
        let Self { rows: Rows { view, settled, .. }, row, .. } = *self;
        settled.hold(row).then_some(())?;
        Some(Settings {
            keepalive: view.keepalive.get(row)?,
            time_s: Sourced { value: view.time_s.get(row)?, origin: view.origin_time.get(row)? },
            intvl_s: Sourced { value: view.intvl_s.get(row)?, origin: view.origin_intvl.get(row)? },
            probes: Sourced { value: view.probes.get(row)?, origin: view.origin_probes.get(row)? },
            user_timeout_ms: view.user_timeout_ms.get(row)?,
        })
    }

    /// What happened.
    #[inline(always)]
    fn body(&self, mono_ns: u64) -> Option<Body> {
        let Self { rows: Rows { view, .. }, row, kind, .. } = *self;
        Some(match kind {
            Kind::Open => Body::Open(self.connection()?, Open { how: view.how.at(row)?, connect_us: view.connect_us.at(row) }),
            Kind::Owner => Body::Owner(self.connection()?),
            Kind::Settings => {
                let via = view.via.at(row).map(|way| match way {
                    Way::Setsockopt => Via::Setsockopt,
                    Way::Sysctl => Via::Sysctl { waited_ms: view.waited_ms.at(row).unwrap_or(u32::MAX) },
                });
                let by = by(view.by_pid.at(row), view.by_comm.at(row));
                Body::Settings(self.connection()?, Changed { by, via })
            }
            Kind::Probe => {
                let probe = Probe {
                    n: view.n.at(row),
                    result: view.result.at(row),
                    next_ms: view.next_ms.at(row),
                    late_ms: view.late_ms.at(row),
                    wheel_ms: view.wheel_ms.at(row),
                };
                Body::Probe(self.connection()?, probe)
            }
            Kind::Timer => {
                let timer = Timer {
                    outcome: view.outcome.at(row)?,
                    next_ms: view.next_ms.at(row),
                    late_ms: view.late_ms.at(row),
                    wheel_ms: view.wheel_ms.at(row),
                };
                Body::Timer(self.connection()?, timer)
            }
            Kind::Reply => {
                let reply = Reply {
                    n: view.n.at(row),
                    kind: view.kind.at(row).unwrap_or(ReplyKind::Ack),
                    rtt_us: view.rtt_us.at(row),
                    precision: view.precision.at(row).unwrap_or(Precision::Jiffy),
                    missed: view.missed.at(row)?,
                };
                Body::Reply(self.connection()?, reply)
            }
            Kind::Reset => {
                let reset = Reset {
                    reason: view.reason.at(row),
                    cause: view.cause.at(row),
                    task: by(view.task_pid.at(row), view.task_comm.at(row)),
                };
                Body::Reset(self.connection()?, reset)
            }
            Kind::End => {
                // A verdict of a later version is none that we know.
                let verdict = view.verdict.at(row).unwrap_or(Verdict::Unknown);
                let end = End {
                    verdict,
                    errno: view.errno.at(row),
                    probes_sent: view.probes_sent.at(row).unwrap_or(0),
                    unanswered: view.unanswered.at(row).unwrap_or(0),
                    age_ms: view.age_ms.at(row),
                    armed_before_sysctl: view.armed_before_sysctl.at(row).unwrap_or(false),
                    why: self.why(verdict)?,
                    http: self.http_end().map(Box::new),
                };
                Body::End(self.connection()?, end)
            }
            Kind::Http => Body::Http(self.connection()?, self.http()?),
            Kind::Sysctl => {
                let write = Write {
                    mono_ns,
                    netns: view.netns.at(row)?,
                    name: view.name.at(row)?,
                    old: view.old.at(row)?,
                    new: view.new.at(row)?,
                    refused: view.errno.at(row),
                    by: by(view.task_pid.at(row), view.task_comm.at(row)),
                };
                Body::Sysctl(write, self.following())
            }
            Kind::Uneventful => Body::Uneventful(Uneventful {
                verdict: view.verdict.at(row)?,
                cgroup: view.cgroup.at(row),
                count: view.count.at(row)?,
            }),
            Kind::Lost => Body::Lost(Lost { count: view.count.at(row)?, place: view.place.at(row)? }),
            // It is no event.
            Kind::Stop => return None,
        })
    }

    /// A history keeps no sentence of an orderly end, unless HTTP had to do with it.
    fn why(&self, verdict: Verdict) -> Option<String> {
        let Self { rows: Rows { view, .. }, row, depth, .. } = *self;
        let is_kept = depth == Depth::Everything || !verdict.is_orderly() || view.requests.at(row).is_some();
        if is_kept { view.why.at(row) } else { Some(String::new()) }
    }

    fn http(&self) -> Option<Http> {
        let Self { rows: Rows { view, .. }, row, .. } = *self;
        let line = match view.dir.at(row)? {
            Dir::Request => Line::Request(view.method.at(row)?),
            Dir::Response => Line::Response(view.status.at(row)?),
        };
        Some(Http {
            line,
            n: view.n.at(row)?,
            connection: view.connection.at(row).unwrap_or_default(),
            promise: Promise { timeout_s: view.timeout_s.at(row), max: view.max.at(row) },
            idle_before_ms: view.idle_before_ms.at(row),
        })
    }

    fn http_end(&self) -> Option<http::End> {
        let Self { rows: Rows { view, .. }, row, .. } = *self;
        Some(http::End {
            cause: view.http.at(row),
            requests: view.requests.at(row)?,
            responses: view.responses.at(row)?,
            saved: view.saved_us.at(row).zip(view.saved_from.at(row)).map(|(us, from)| Saved { us, from }),
            findings: view.findings.at(row).unwrap_or_default(),
        })
    }

    fn following(&self) -> Option<Following> {
        let Self { rows: Rows { view, wall, .. }, row, .. } = *self;
        let moments = view.nearest_at.at(row).zip(view.median_at.at(row)).zip(view.last_at.at(row));
        Some(Following {
            sockets: view.sockets.at(row)?,
            now: view.follow_now.at(row)?,
            later: view.follow_later.at(row)?,
            never_socket: view.never_socket.at(row)?,
            never_off: view.never_off.at(row)?,
            by: moments.map(|((nearest, median), last)| Deadlines {
                nearest_ns: wall.mono(nearest),
                median_ns: wall.mono(median),
                last_ns: wall.mono(last),
            }),
        })
    }
}

fn by(pid: Option<u32>, comm: Option<Comm>) -> Option<Task> {
    Some(Task { pid: pid?, comm: comm? })
}
