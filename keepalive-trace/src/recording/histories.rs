//! Connections as rows: what is known of each in the end.
use std::{net::IpAddr, sync::Arc};

use arrow_array::types::{Int32Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};

use super::{
    cells::{Flag, Moment, Number, Text, Words},
    layout::{columns, key, row},
};
use crate::model::{
    errno::Errno,
    event::{Family, How},
    history::History,
    http::{Cause, Findings, SavedFrom},
    owner::Comm,
    report::Run,
    settings::{Origin, Settings},
    verdict::Verdict,
};

/// All of these, of histories.
macro_rules! histories {
    ($($column:tt)+) => {
        columns! { $($column)+ }
        row! { $($column)+ }
    };
}

histories! {
    /// The host that recorded it.
    host: Words<Arc<str>>,
    /// The connection's id; the JSON lines have it as 16 hex digits.
    conn: Number<UInt64Type>,
    /// The socket's address family: 4 or 6.
    ip: Number<UInt8Type>,
    /// Local address.
    laddr: Words<IpAddr>,
    /// Local port.
    lport: Number<UInt16Type>,
    /// Remote address.
    raddr: Words<IpAddr>,
    /// Remote port.
    rport: Number<UInt16Type>,
    /// Inode of the network namespace.
    netns: Number<UInt32Type>,
    /// The socket's cgroup v2.
    cgroup: Words<Arc<str>>,
    /// The owner's process id.
    pid: Number<UInt32Type>,
    /// The owner's name.
    comm: Words<Comm>,
    /// How many processes held the socket.
    holders: Number<UInt32Type>,
    /// How it came to be known.
    how: Words<How>,
    /// How long the handshake took, microseconds.
    connect_us: Number<UInt64Type>,
    /// When it was first known.
    opened_at: Moment,
    /// When something was last seen of it.
    last_at: Moment,
    /// What ended it; empty: it is open.
    verdict: Words<Verdict>,
    /// What the application was told.
    errno: Words<Errno>,
    /// One sentence with the evidence, where the end was not an orderly one, or HTTP had to do with it.
    why: Text,
    /// Probes that the kernel counted.
    probes_sent: Number<UInt32Type>,
    /// Of these, those that were answered.
    answered: Number<UInt32Type>,
    /// Those that nobody answered.
    unanswered: Number<UInt32Type>,
    /// Those of a round that goes on.
    pending: Number<UInt32Type>,
    /// What HTTP had to do with the end, with `--http`: `idle-timeout`, `max-requests`, `connection-close` or `race`.
    http: Words<Cause>,
    /// HTTP requests that were seen.
    requests: Number<UInt32Type>,
    /// Final HTTP responses that were seen.
    responses: Number<UInt32Type>,
    /// What the handshakes would have taken that reuse saved, microseconds.
    saved_us: Number<UInt64Type>,
    /// Whose handshake that is measured by: `connection` or `peer`.
    saved_from: Words<SavedFrom>,
    /// What was wrong with how HTTP kept the connection.
    findings: Words<Findings>,
    /// SO_KEEPALIVE when last seen.
    keepalive: Flag,
    /// tcp_keepalive_time in force, seconds.
    time_s: Number<Int32Type>,
    /// tcp_keepalive_intvl in force, seconds.
    intvl_s: Number<Int32Type>,
    /// tcp_keepalive_probes in force.
    probes: Number<UInt32Type>,
    /// TCP_USER_TIMEOUT, milliseconds; 0: none.
    user_timeout_ms: Number<UInt32Type>,
    /// Where `time_s` comes from: `socket` or `sysctl`.
    origin_time: Words<Origin>,
    /// Where `intvl_s` comes from.
    origin_intvl: Words<Origin>,
    /// Where `probes` comes from.
    origin_probes: Words<Origin>,
}

/// Lays a history flat.
pub(super) fn flat<'a>(history: &'a History, cgroup: Option<&'a Arc<str>>, run: &'a Run) -> Row<'a> {
    let (start, http) = (&run.start, history.http());
    let wall = |ns: u64| Some(start.wall_offset_ns.wrapping_add_unsigned(ns));
    let owner = history.owner();
    let row = Row {
        host: Some(&start.host),
        conn: Some(history.id.0),
        ip: Some(match history.family {
            Family::V4 => 4,
            Family::V6 => 6,
        }),
        laddr: Some(history.local().ip()),
        lport: Some(history.local().port()),
        raddr: Some(history.remote().ip()),
        rport: Some(history.remote().port()),
        netns: history.netns(),
        cgroup: cgroup.map(|cgroup| &**cgroup),
        pid: owner.map(|owner| owner.task.pid),
        comm: owner.map(|owner| owner.task.comm),
        holders: owner.map(|owner| owner.holders),
        how: Some(history.how),
        connect_us: history.connect_us().map(u64::from),
        opened_at: wall(history.opened_ns),
        last_at: wall(history.last_ns),
        verdict: history.verdict,
        errno: history.errno,
        why: history.why(),
        probes_sent: Some(history.tally.probes()),
        answered: Some(history.tally.answered),
        unanswered: Some(history.tally.unanswered),
        pending: Some(history.tally.pending),
        http: http.and_then(|http| http.cause),
        requests: http.map(|http| http.requests),
        responses: http.map(|http| http.responses),
        saved_us: http.and_then(|http| Some(http.saved?.us)),
        saved_from: http.and_then(|http| Some(http.saved?.from)),
        findings: Some(history.http_findings(run.until_ns())).filter(|findings| !findings.is_empty()),
        ..Row::default()
    };
    let Some(Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms }) = history.settings() else { return row };
    Row {
        keepalive: Some(keepalive),
        time_s: Some(time_s.value),
        intvl_s: Some(intvl_s.value),
        probes: Some(probes.value),
        user_timeout_ms: Some(user_timeout_ms),
        origin_time: Some(time_s.origin),
        origin_intvl: Some(intvl_s.origin),
        origin_probes: Some(probes.origin),
        ..row
    }
}
