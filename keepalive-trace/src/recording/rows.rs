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
    event::{
        Body, Changed, ConnId, Connection, End, Event, Family, Lost, Open, Precision, Probe, Reply, ReplyKind, Reset, Timer, Via,
    },
    http::{self, Http, Line, Promise},
    owner::{Comm, Owner, Task},
    settings::{Settings, Sourced},
    state::State,
    sysctl::{Deadlines, Following, Write},
    verdict::Verdict,
};

/// What rows say that are no events.
#[derive(Default)]
pub(super) struct Beside {
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

    /// Adds the events of some rows, in order. What they tell of their connections is gathered column by column: row by row, that
    /// would be more places at once than a CPU keeps near.
    pub(super) fn read(&self, rows: Range<usize>, events: &mut Vec<Event>, beside: &mut Beside) {
        let mut connections = self.connections(rows.clone());
        for (row, connection) in rows.zip(&mut connections) {
            let at = Reading { view: &self.view, row, wall: self.wall };
            match at.mono_ns().zip(self.view.event.at(row)) {
                Some((mono_ns, Kind::Stop)) => beside.stopped = Some(mono_ns),
                Some((mono_ns, kind)) => match at.body(kind, mono_ns, connection) {
                    Some(body) => events.push(Event { mono_ns, body }),
                    None => beside.strange += 1,
                },
                None => beside.strange += 1,
            }
        }
    }

    /// The connections that these rows are about.
    fn connections(&self, rows: Range<usize>) -> Vec<Option<Connection>> {
        let (view, first) = (&self.view, rows.start);
        let begin = |row| {
            let family = if view.ip.get(row)? == 4 { Family::V4 } else { Family::V6 };
            self.named.hold(row).then_some(Connection { id: ConnId(view.conn.get(row)?), family, ..NOBODY })
        };
        let mut all: Vec<Option<Connection>> = rows.map(begin).collect();
        each(&mut all, first, |row, it| {
            it.local = SocketAddr::new(view.laddr.get(row)?, view.lport.get(row)?);
            Some(())
        });
        each(&mut all, first, |row, it| {
            it.remote = SocketAddr::new(view.raddr.get(row)?, view.rport.get(row)?);
            Some(())
        });
        each(&mut all, first, |row, it| {
            (it.cookie, it.netns, it.cgroup) = (view.cookie.at(row), view.netns.at(row), view.cgroup.at(row));
            Some(())
        });
        each(&mut all, first, |row, it| {
            let task = by(view.pid.at(row), view.comm.at(row));
            it.owner = task.map(|task| Owner { task, holders: view.holders.at(row).unwrap_or(1) });
            Some(())
        });
        each(&mut all, first, |row, it| {
            it.state = view.state.at(row).unwrap_or(State(0));
            (it.idle_ms, it.probes_out) = (view.idle_ms.at(row), view.probes_out.at(row));
            Some(())
        });
        each(&mut all, first, |row, it| {
            it.settings = self.settings(row);
            Some(())
        });
        all
    }

    fn settings(&self, row: usize) -> Option<Settings> {
        let Self { view, settled, .. } = self;
        settled.hold(row).then_some(())?;
        Some(Settings {
            keepalive: view.keepalive.get(row)?,
            time_s: Sourced { value: view.time_s.get(row)?, origin: view.origin_time.get(row)? },
            intvl_s: Sourced { value: view.intvl_s.get(row)?, origin: view.origin_intvl.get(row)? },
            probes: Sourced { value: view.probes.get(row)?, origin: view.origin_probes.get(row)? },
            user_timeout_ms: view.user_timeout_ms.get(row)?,
        })
    }
}

/// Fills in something of each connection, the first of which is of row `first`. One that lacks it is none.
#[inline(always)]
fn each(all: &mut [Option<Connection>], first: usize, mut fill: impl FnMut(usize, &mut Connection) -> Option<()>) {
    for (row, slot) in (first..).zip(all) {
        if let Some(connection) = slot
            && fill(row, connection).is_none()
        {
            *slot = None;
        }
    }
}

/// What a connection is filled in from.
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
    view: &'a View,
    row: usize,
    wall: Wall,
}

impl Reading<'_> {
    fn mono_ns(&self) -> Option<u64> {
        Some(self.wall.mono(self.view.time.at(self.row)?))
    }

    /// What happened; the connection is taken out of where it was gathered.
    #[inline(always)]
    fn body(&self, kind: Kind, mono_ns: u64, connection: &mut Option<Connection>) -> Option<Body> {
        let Self { view, row, .. } = *self;
        Some(match kind {
            Kind::Open => Body::Open(connection.take()?, Open { how: view.how.at(row)?, connect_us: view.connect_us.at(row) }),
            Kind::Owner => Body::Owner(connection.take()?),
            Kind::Settings => {
                let via = view.via.at(row).map(|way| match way {
                    Way::Setsockopt => Via::Setsockopt,
                    Way::Sysctl => Via::Sysctl { waited_ms: view.waited_ms.at(row).unwrap_or(u32::MAX) },
                });
                let by = by(view.by_pid.at(row), view.by_comm.at(row));
                Body::Settings(connection.take()?, Changed { by, via })
            }
            Kind::Probe => {
                let probe = Probe {
                    n: view.n.at(row),
                    result: view.result.at(row),
                    next_ms: view.next_ms.at(row),
                    late_ms: view.late_ms.at(row),
                    wheel_ms: view.wheel_ms.at(row),
                };
                Body::Probe(connection.take()?, probe)
            }
            Kind::Timer => {
                let timer = Timer {
                    outcome: view.outcome.at(row)?,
                    next_ms: view.next_ms.at(row),
                    late_ms: view.late_ms.at(row),
                    wheel_ms: view.wheel_ms.at(row),
                };
                Body::Timer(connection.take()?, timer)
            }
            Kind::Reply => {
                let reply = Reply {
                    n: view.n.at(row),
                    kind: view.kind.at(row).unwrap_or(ReplyKind::Ack),
                    rtt_us: view.rtt_us.at(row),
                    precision: view.precision.at(row).unwrap_or(Precision::Jiffy),
                    missed: view.missed.at(row)?,
                };
                Body::Reply(connection.take()?, reply)
            }
            Kind::Reset => {
                let reset = Reset {
                    reason: view.reason.at(row).map(|reason| reason.to_string()),
                    cause: view.cause.at(row),
                    task: by(view.task_pid.at(row), view.task_comm.at(row)),
                };
                Body::Reset(connection.take()?, reset)
            }
            Kind::End => {
                let end = End {
                    // A verdict of a later version is none that we know.
                    verdict: view.verdict.at(row).unwrap_or(Verdict::Unknown),
                    errno: view.errno.at(row),
                    probes_sent: view.probes_sent.at(row).unwrap_or(0),
                    unanswered: view.unanswered.at(row).unwrap_or(0),
                    age_ms: view.age_ms.at(row),
                    armed_before_sysctl: view.armed_before_sysctl.at(row).unwrap_or(false),
                    why: view.why.at(row)?,
                    http: self.http_end().map(Box::new),
                };
                Body::End(connection.take()?, end)
            }
            Kind::Http => Body::Http(connection.take()?, self.http()?),
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
            Kind::Lost => Body::Lost(Lost { count: view.count.at(row)?, place: view.place.at(row)? }),
            // It is no event.
            Kind::Stop => return None,
        })
    }

    fn http(&self) -> Option<Http> {
        let Self { view, row, .. } = *self;
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
        let Self { view, row, .. } = *self;
        Some(http::End {
            cause: view.http.at(row),
            requests: view.requests.at(row)?,
            responses: view.responses.at(row)?,
            saved_us: view.saved_us.at(row),
        })
    }

    fn following(&self) -> Option<Following> {
        let Self { view, row, wall } = *self;
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
