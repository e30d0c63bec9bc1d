//! The columns of events. Their names are the keys of the JSON lines.
use std::{net::IpAddr, sync::Arc};

use arrow_array::{
    Array as _,
    types::{Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};

use super::{
    cells::{Flag, Moment, Number, Seen, Text, Words},
    encode::Encoder,
    layout::{Look, columns, key, messages, view},
    words::{Dir, Kind, Way},
};
use crate::model::{
    errno::Errno,
    event::{How, Outcome, Place, Precision, ProbeResult, ReplyKind},
    http::{Cause, Findings, Method, SavedFrom, Tokens},
    owner::Comm,
    settings::Origin,
    state::State,
    sysctl::Name,
    verdict::Verdict,
};

/// All of these, of events.
macro_rules! events {
    ($($column:tt)+) => {
        columns! { $($column)+ }
        messages! { $($column)+ }
        view! { $($column)+ }
    };
}

events! {
    /// When it happened, by the wall clock: CLOCK_MONOTONIC and the recording's `wall_offset_ns`.
    time: Moment,
    /// What it is: `open`, `owner`, `settings`, `timer`, `probe`, `reply`, `reset`, `http`, `end`, `sysctl`, `uneventful`,
    /// `lost` or `stop`.
    event: Words<Kind>,
    /// The host's name, the same in every row: for whoever has the recordings of many.
    host: Words<Arc<str>>,
    /// The connection's id; the JSON lines have it as 16 hex digits.
    conn: Number<UInt64Type>,
    /// The kernel's socket cookie.
    cookie: Number<UInt64Type>,
    /// The socket's address family: 4 or 6. An IPv4-mapped connection has IPv4 addresses and a 6 here.
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
    /// The socket's cgroup v2, as its path from the hierarchy's root.
    cgroup: Words<Arc<str>>,
    /// The socket's state, by the kernel's name without TCP_.
    state: Words<State>,
    /// The owner's process id.
    pid: Number<UInt32Type>,
    /// The owner's name. Bytes that are no UTF-8 are written as `\xf0`, and a backslash as `\\`.
    comm: Words<Comm>,
    /// How many processes hold the socket.
    holders: Number<UInt32Type>,
    /// SO_KEEPALIVE.
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
    /// Since the last ACK or data from the peer, milliseconds.
    idle_ms: Number<UInt64Type>,
    /// Probes sent and not answered before the event.
    probes_out: Number<UInt32Type>,
    /// `open`: how it came to be known.
    how: Words<How>,
    /// `open`: how long the handshake took, microseconds.
    connect_us: Number<UInt64Type>,
    /// `settings`: the process that changed them.
    by_pid: Number<UInt32Type>,
    /// `settings`: its name.
    by_comm: Words<Comm>,
    /// `settings`: `setsockopt`, or `sysctl` where the timer picked up what was written.
    via: Words<Way>,
    /// `settings`: so long before the sysctl was written, milliseconds.
    waited_ms: Number<UInt32Type>,
    /// `probe`, `reply`: which probe of its round, from 1; `http`: which request of the connection, or the response to which.
    n: Number<UInt32Type>,
    /// `probe`: `sent`, `dropped-locally` or `congested`.
    result: Words<ProbeResult>,
    /// `timer`: why it sent nothing.
    outcome: Words<Outcome>,
    /// `probe`, `timer`: until the timer's next deadline, milliseconds.
    next_ms: Number<Int64Type>,
    /// `probe`, `timer`: fired so long after its deadline, milliseconds.
    late_ms: Number<Int64Type>,
    /// `probe`, `timer`: of that, what the timer wheel explains, milliseconds.
    wheel_ms: Number<Int64Type>,
    /// `reply`: `ack` or `reset`.
    kind: Words<ReplyKind>,
    /// `reply`: from the probe to the answer, microseconds.
    rtt_us: Number<UInt64Type>,
    /// `reply`: how exact that is: `exact` or `jiffy`.
    precision: Words<Precision>,
    /// `reply`: probes of the round before it that nobody answered.
    missed: Number<UInt32Type>,
    /// `reset`: the kernel's name of the reason.
    reason: Words<Arc<str>>,
    /// `reset`: why the keepalive timer ended the connection; empty where it was not the timer.
    cause: Words<Verdict>,
    /// `reset`, `sysctl`: the process that did it.
    task_pid: Number<UInt32Type>,
    /// `reset`, `sysctl`: its name.
    task_comm: Words<Comm>,
    /// `end`, `uneventful`: what ended the connection, or the connections.
    verdict: Words<Verdict>,
    /// `end`: what the application was told; `sysctl`: why the write was refused.
    errno: Words<Errno>,
    /// `end`: probes of the whole connection.
    probes_sent: Number<UInt32Type>,
    /// `end`: of these, those that nobody answered.
    unanswered: Number<UInt32Type>,
    /// `end`: since it was connected or accepted, milliseconds.
    age_ms: Number<UInt64Type>,
    /// `end`: the timer had been armed before a sysctl that it follows was written.
    armed_before_sysctl: Flag,
    /// `end`: one sentence with the evidence.
    why: Text,
    /// `http`: `request` or `response`.
    dir: Words<Dir>,
    /// `http`: a request's method.
    method: Words<Method>,
    /// `http`: a response's status code.
    status: Number<UInt16Type>,
    /// `http`: what the header Connection lists, of `close`, `keep-alive` and `upgrade`.
    connection: Words<Tokens>,
    /// `http`: the timeout that the header Keep-Alive promises, seconds.
    timeout_s: Number<UInt32Type>,
    /// `http`: the number of requests that it promises.
    max: Number<UInt32Type>,
    /// `http`: since whatever passed before it, milliseconds.
    idle_before_ms: Number<UInt64Type>,
    /// `end`: what HTTP had to do with it: `idle-timeout`, `max-requests`, `connection-close` or `race`.
    http: Words<Cause>,
    /// `end`: HTTP requests that were seen.
    requests: Number<UInt32Type>,
    /// `end`: final HTTP responses that were seen.
    responses: Number<UInt32Type>,
    /// `end`: what the handshakes would have taken that reuse saved, microseconds.
    saved_us: Number<UInt64Type>,
    /// `end`: whose handshake that is measured by: `connection`, or `peer` for another one to the same address.
    saved_from: Words<SavedFrom>,
    /// `end`: what was wrong with how HTTP kept the connection, of `promise-broken`, `reuse-beyond-promise`,
    /// `keepalive-never-acts` and `zombie-uncovered`.
    findings: Words<Findings>,
    /// `sysctl`: its name.
    name: Words<Name>,
    /// `sysctl`: the value before, seconds or a number.
    old: Number<Int64Type>,
    /// `sysctl`: the value after.
    new: Number<Int64Type>,
    /// `sysctl`: connections in that namespace; empty where they were not counted.
    sockets: Number<UInt64Type>,
    /// `sysctl`: those that follow at once.
    follow_now: Number<UInt64Type>,
    /// `sysctl`: those whose timer keeps its deadline.
    follow_later: Number<UInt64Type>,
    /// `sysctl`: those with a value of their own.
    never_socket: Number<UInt64Type>,
    /// `sysctl`: those without keepalive.
    never_off: Number<UInt64Type>,
    /// `sysctl`: when the first of those timers fires.
    nearest_at: Moment,
    /// `sysctl`: when half of them will have fired.
    median_at: Moment,
    /// `sysctl`: when all of them will have.
    last_at: Moment,
    /// `uneventful`: connections that ended in order with nothing to report; `lost`: how many; `stop`: how many events the recording has before it.
    count: Number<UInt64Type>,
    /// `lost`: where.
    place as "where": Words<Place>,
}
