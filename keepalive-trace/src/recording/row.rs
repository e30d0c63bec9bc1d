//! From events to columns.
use std::{ops::Range, sync::Arc};

use anyhow::{Context as _, Result};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::{
    columns::Columns,
    encode::Encoder,
    fill::Run,
    header::Header,
    words::{Dir, Kind, Way},
};
use crate::model::{
    event::{Body, Changed, Connection, End, Event, Family, Lost, Open, Probe, Reply, Reset, Timer, Uneventful, Via},
    http::{self, Http, Line, Promise, Tokens},
    owner::Owner,
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

/// Events as batches, column by column: of a recording, or of an export.
pub(super) struct Batches {
    columns: Columns,
    /// Many events one after the other have the same of these.
    settings: Run<Settings>,
    owner: Run<Owner>,
    /// Rows up to this one have their host.
    hosted: usize,
    wall: Wall,
    host: String,
}

impl Batches {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            columns: Columns::default(),
            settings: Run::default(),
            owner: Run::default(),
            hosted: 0,
            wall: Wall { offset_ns: header.start.wall_offset_ns },
            host: header.start.host.clone(),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.columns.rows()
    }

    /// Appends an event. False for what is no part of a recording: its start is in the header, its stop is the recorder's own, and
    /// namespaces are listed by `sysctl` alone.
    pub(super) fn add(&mut self, Event { mono_ns, body }: &Event) -> bool {
        let row = self.columns.rows();
        let kind = match body {
            Body::Start(_) | Body::Stop(_) | Body::Namespace(_) => return false,
            Body::Open(connection, Open { how, connect_us }) => {
                let columns = self.connection(connection);
                columns.how.put(row, *how);
                columns.connect_us.put_some(row, *connect_us);
                Kind::Open
            }
            Body::Owner(connection) => {
                self.connection(connection);
                Kind::Owner
            }
            Body::Settings(connection, Changed { by, via }) => {
                let columns = self.connection(connection);
                match via {
                    None => {}
                    Some(Via::Setsockopt) => columns.via.put(row, Way::Setsockopt),
                    Some(Via::Sysctl { waited_ms }) => {
                        columns.via.put(row, Way::Sysctl);
                        columns.waited_ms.put(row, *waited_ms);
                    }
                }
                if let Some(task) = by {
                    columns.by_pid.put(row, task.pid);
                    columns.by_comm.put(row, task.comm);
                }
                Kind::Settings
            }
            Body::Probe(connection, Probe { n, result, next_ms, late_ms, wheel_ms }) => {
                let columns = self.connection(connection);
                columns.n.put_some(row, *n);
                columns.result.put_some(row, *result);
                columns.next_ms.put_some(row, *next_ms);
                columns.late_ms.put_some(row, *late_ms);
                columns.wheel_ms.put_some(row, *wheel_ms);
                Kind::Probe
            }
            Body::Timer(connection, Timer { outcome, next_ms, late_ms, wheel_ms }) => {
                let columns = self.connection(connection);
                columns.outcome.put(row, *outcome);
                columns.next_ms.put_some(row, *next_ms);
                columns.late_ms.put_some(row, *late_ms);
                columns.wheel_ms.put_some(row, *wheel_ms);
                Kind::Timer
            }
            Body::Reply(connection, Reply { n, kind, rtt_us, precision, missed }) => {
                let columns = self.connection(connection);
                columns.n.put_some(row, *n);
                columns.kind.put(row, *kind);
                columns.rtt_us.put_some(row, *rtt_us);
                columns.precision.put(row, *precision);
                columns.missed.put(row, *missed);
                Kind::Reply
            }
            Body::Reset(connection, Reset { reason, cause, task }) => {
                let columns = self.connection(connection);
                columns.reason.put_some(row, reason.as_deref());
                columns.cause.put_some(row, *cause);
                columns.task_pid.put_some(row, task.map(|task| task.pid));
                columns.task_comm.put_some(row, task.map(|task| task.comm));
                Kind::Reset
            }
            Body::Http(connection, http) => {
                self.http(connection, http);
                Kind::Http
            }
            Body::End(connection, end) => {
                self.connection(connection);
                self.end(end);
                Kind::End
            }
            Body::Sysctl(write, following) => {
                self.write(write, following.as_ref());
                Kind::Sysctl
            }
            Body::Uneventful(Uneventful { verdict, cgroup, count }) => {
                self.columns.verdict.put(row, *verdict);
                self.columns.cgroup.put_some(row, cgroup.as_deref());
                self.columns.count.put(row, *count);
                Kind::Uneventful
            }
            Body::Lost(Lost { count, place }) => {
                self.columns.count.put(row, *count);
                self.columns.place.put(row, *place);
                Kind::Lost
            }
        };
        self.end_row(*mono_ns, kind);
        true
    }

    /// The recorder's last row: so many events came before it.
    pub(super) fn stop(&mut self, mono_ns: u64, events: u64) {
        self.columns.count.put(self.columns.rows(), events);
        self.end_row(mono_ns, Kind::Stop);
    }

    fn end_row(&mut self, mono_ns: u64, kind: Kind) {
        let Self { columns, wall, .. } = self;
        let row = columns.rows();
        columns.time.put(row, wall.of(mono_ns));
        columns.event.put(row, kind);
        columns.end_row();
    }

    #[inline(always)]
    fn connection(&mut self, connection: &Connection) -> &mut Columns {
        let Connection { id, cookie, family, local, remote, netns, cgroup, owner, state, settings, idle_ms, probes_out } =
            connection;
        let Self { columns, .. } = self;
        let row = columns.rows();
        columns.conn.put(row, id.0);
        columns.cookie.put_some(row, *cookie);
        let ip = match family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        columns.ip.put(row, ip);
        columns.laddr.put(row, local.ip());
        columns.lport.put(row, local.port());
        columns.raddr.put(row, remote.ip());
        columns.rport.put(row, remote.port());
        columns.netns.put_some(row, *netns);
        columns.cgroup.put_some(row, cgroup.as_deref());
        columns.state.put(row, *state);
        columns.idle_ms.put_some(row, *idle_ms);
        columns.probes_out.put_some(row, *probes_out);
        if let Some(owner) = *owner {
            self.owner.put(row, owner, |owner, rows| columns.repeat_owner(rows, owner));
        }
        if let Some(settings) = *settings {
            self.settings.put(row, settings, |settings, rows| columns.repeat_settings(rows, settings));
        }
        columns
    }

    fn http(&mut self, connection: &Connection, http: &Http) {
        let Http { line, n, connection: tokens, promise: Promise { timeout_s, max }, idle_before_ms } = *http;
        let columns = self.connection(connection);
        let row = columns.rows();
        columns.n.put(row, n);
        match line {
            Line::Request(method) => {
                columns.dir.put(row, Dir::Request);
                columns.method.put(row, method);
            }
            Line::Response(status) => {
                columns.dir.put(row, Dir::Response);
                columns.status.put(row, status);
            }
        }
        columns.connection.put_some(row, (tokens != Tokens::default()).then_some(tokens));
        columns.timeout_s.put_some(row, timeout_s);
        columns.max.put_some(row, max);
        columns.idle_before_ms.put_some(row, idle_before_ms);
    }

    fn end(&mut self, end: &End) {
        let End { verdict, errno, probes_sent, unanswered, age_ms, armed_before_sysctl, why, http } = end;
        let Self { columns, .. } = self;
        let row = columns.rows();
        columns.verdict.put(row, *verdict);
        columns.errno.put_some(row, *errno);
        columns.probes_sent.put(row, *probes_sent);
        columns.unanswered.put(row, *unanswered);
        columns.age_ms.put_some(row, *age_ms);
        columns.armed_before_sysctl.put(row, *armed_before_sysctl);
        columns.why.put(row, why);
        let Some(http::End { cause, requests, responses, saved, findings }) = http.as_deref() else { return };
        columns.http.put_some(row, *cause);
        columns.requests.put(row, *requests);
        columns.responses.put(row, *responses);
        columns.saved_us.put_some(row, saved.map(|saved| saved.us));
        columns.saved_from.put_some(row, saved.map(|saved| saved.from));
        columns.findings.put_some(row, (!findings.is_empty()).then_some(*findings));
    }

    fn write(&mut self, write: &Write, following: Option<&Following>) {
        let Write { mono_ns: _, netns, name, old, new, refused, by } = write;
        let Self { columns, wall, .. } = self;
        let row = columns.rows();
        columns.netns.put(row, *netns);
        columns.name.put(row, *name);
        columns.old.put(row, *old);
        columns.new.put(row, *new);
        columns.errno.put_some(row, *refused);
        columns.task_pid.put_some(row, by.map(|task| task.pid));
        columns.task_comm.put_some(row, by.map(|task| task.comm));
        let Some(Following { sockets, now, later, never_socket, never_off, by }) = following else { return };
        columns.sockets.put(row, *sockets);
        columns.follow_now.put(row, *now);
        columns.follow_later.put(row, *later);
        columns.never_socket.put(row, *never_socket);
        columns.never_off.put(row, *never_off);
        columns.nearest_at.put_some(row, by.map(|by| wall.of(by.nearest_ns)));
        columns.median_at.put_some(row, by.map(|by| wall.of(by.median_ns)));
        columns.last_at.put_some(row, by.map(|by| wall.of(by.last_ns)));
    }

    /// Gives the columns all that they don't have yet.
    fn settle(&mut self) {
        let Self { columns, settings, owner, hosted, host, .. } = self;
        settings.end(|settings, rows| columns.repeat_settings(rows, settings));
        owner.end(|owner, rows| columns.repeat_owner(rows, owner));
        columns.host.repeat(&(*hosted..columns.rows()), host);
        *hosted = columns.rows();
    }

    /// Appends the messages of the rows from this one on.
    pub(super) fn encode(&mut self, from: usize, encoder: &mut Encoder, out: &mut Vec<u8>) {
        self.settle();
        self.columns.encode(&(from..self.columns.rows()), encoder, out);
    }

    /// Takes back the dictionaries that were written since the rows were forgotten.
    pub(super) fn rewind(&mut self) {
        self.columns.rewind();
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        let Self { columns, settings, owner, hosted, .. } = self;
        columns.clear();
        (*settings, *owner, *hosted) = (Run::default(), Run::default(), 0);
    }

    /// All that was added since the last one.
    pub(super) fn take(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        self.settle();
        let columns = self.columns.finish().context("cannot lay out a batch")?;
        self.hosted = 0;
        RecordBatch::try_new(Arc::clone(schema), columns).context("cannot lay out a batch")
    }
}

impl Columns {
    fn repeat_settings(&mut self, rows: &Range<usize>, settings: Settings) {
        let Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms } = settings;
        self.keepalive.repeat(rows, keepalive);
        self.time_s.repeat(rows, time_s.value);
        self.intvl_s.repeat(rows, intvl_s.value);
        self.probes.repeat(rows, probes.value);
        self.user_timeout_ms.repeat(rows, user_timeout_ms);
        self.origin_time.repeat(rows, time_s.origin);
        self.origin_intvl.repeat(rows, intvl_s.origin);
        self.origin_probes.repeat(rows, probes.origin);
    }

    fn repeat_owner(&mut self, rows: &Range<usize>, Owner { task, holders }: Owner) {
        self.pid.repeat(rows, task.pid);
        self.comm.repeat(rows, task.comm);
        self.holders.repeat(rows, holders);
    }
}
