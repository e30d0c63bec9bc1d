//! The keys of events that are about a connection: first whose it is, then what happened, at last the settings in force.
use super::object::Object;
use crate::{
    model::{
        event::{Body, Changed, Connection, End, Family, Open, Probe, Reply, Reset, Timer, Via},
        http::{self, Http, Line, Promise, Tokens},
        owner::{Owner, Task},
        settings::Settings,
    },
    output::append::Append as _,
};

/// Which connection it is, and whose.
pub(super) fn connection(object: &mut Object<'_>, connection: &Connection) {
    let Connection { id, cookie, family, local, remote, netns, cgroup, owner, state, settings: _, idle_ms: _, probes_out: _ } =
        connection;
    object.quoted("conn", |out| out.hex(id.0));
    object.number_if("cookie", *cookie);
    object.number(
        "ip",
        match family {
            Family::V4 => 4_u32,
            Family::V6 => 6,
        },
    );
    object.quoted("laddr", |out| out.address(local.ip()));
    object.number("lport", local.port());
    object.quoted("raddr", |out| out.address(remote.ip()));
    object.number("rport", remote.port());
    object.number_if("netns", *netns);
    object.quoted("state", |out| out.state(*state));
    if let Some(Owner { task: Task { pid, comm }, holders }) = owner {
        object.number("pid", *pid);
        object.text("comm", &comm.text());
        object.number_if("holders", (*holders > 1).then_some(*holders));
    }
    object.text_if("cgroup", cgroup.as_deref());
}

/// What happened on it.
pub(super) fn happening(object: &mut Object<'_>, connection: &Connection, body: &Body) {
    match body {
        Body::Open(_, Open { how, connect_us }) => {
            object.name("how", how.name());
            object.number_if("connect_us", *connect_us);
        }
        Body::Settings(_, Changed { by, via }) => {
            task(object, ["by_pid", "by_comm"], by.as_ref());
            object.name_if("via", via.map(Via::name));
            if let Some(Via::Sysctl { waited_ms }) = via {
                object.number("waited_ms", *waited_ms);
            }
        }
        Body::Probe(_, Probe { n, result, next_ms, late_ms, wheel_ms }) => {
            object.number_if("n", *n);
            object.number_if("of", connection.settings.map(|settings| settings.probes.value));
            object.number_if("idle_ms", connection.idle_ms);
            object.name_if("result", result.map(|result| result.name()));
            times(object, [*next_ms, *late_ms, *wheel_ms]);
        }
        Body::Timer(_, Timer { outcome, next_ms, late_ms, wheel_ms }) => {
            object.number_if("idle_ms", connection.idle_ms);
            object.name("outcome", outcome.name());
            times(object, [*next_ms, *late_ms, *wheel_ms]);
        }
        Body::Reply(_, Reply { n, kind, rtt_us, precision, missed }) => {
            object.number_if("n", *n);
            object.name("kind", kind.name());
            object.number_if("rtt_us", *rtt_us);
            object.name("precision", precision.name());
            object.number("missed", *missed);
        }
        Body::Reset(_, Reset { reason, cause, task: by }) => {
            object.number_if("idle_ms", connection.idle_ms);
            object.text_if("reason", reason.as_deref());
            object.flag("in_timer", cause.is_some());
            object.name_if("cause", cause.map(|cause| cause.name()));
            object.number_if("unanswered", cause.and(connection.probes_out));
            task(object, ["task_pid", "task_comm"], by.as_ref());
        }
        Body::Http(_, http) => message(object, http),
        Body::End(_, ended) => end(object, connection, ended),
        Body::Owner(_)
        | Body::Start(_)
        | Body::Namespace(_)
        | Body::Sysctl(..)
        | Body::Uneventful(_)
        | Body::Lost(_)
        | Body::Stop(_) => {}
    }
}

fn end(
    object: &mut Object<'_>,
    connection: &Connection,
    End { verdict, errno, probes_sent, unanswered, age_ms, armed_before_sysctl, why, http }: &End,
) {
    object.name("verdict", verdict.name());
    if *armed_before_sysctl {
        object.flag("armed_before_sysctl", true);
    }
    if let Some(errno) = errno {
        object.quoted("errno", |out| out.errno(*errno));
    }
    object.number("probes_sent", *probes_sent);
    object.number_if("idle_ms", connection.idle_ms);
    object.number_if("age_ms", *age_ms);
    object.number("unanswered", *unanswered);
    object.text("why", why);
    let Some(ended) = http.as_deref() else { return };
    let http::End { cause, requests, responses, saved, findings } = ended;
    object.name_if("http", cause.map(|cause| cause.name()));
    object.number("requests", *requests);
    object.number("responses", *responses);
    object.number("handshakes_saved", ended.handshakes_saved());
    if let Some(saved) = saved {
        object.number("saved_us", saved.us);
        object.name("saved_from", saved.from.name());
    }
    object.names("findings", findings.iter().map(http::Finding::name));
}

fn message(object: &mut Object<'_>, http: &Http) {
    let Http { line, n, connection, promise: Promise { timeout_s, max }, idle_before_ms } = http;
    object.number("n", *n);
    match line {
        Line::Request(method) => {
            object.name("dir", "request");
            object.name("method", method.name());
        }
        Line::Response(status) => {
            object.name("dir", "response");
            object.number("status", *status);
        }
    }
    if *connection != Tokens::default() {
        object.quoted("connection", |out| out.display(connection));
    }
    object.number_if("timeout_s", *timeout_s);
    object.number_if("max", *max);
    object.number_if("idle_before_ms", *idle_before_ms);
}

fn times(object: &mut Object<'_>, [next_ms, late_ms, wheel_ms]: [Option<i64>; 3]) {
    object.signed_if("next_ms", next_ms);
    object.signed_if("late_ms", late_ms);
    object.signed_if("wheel_ms", wheel_ms);
}

/// A process under these keys.
pub(super) fn task(object: &mut Object<'_>, [pid, comm]: [&str; 2], task: Option<&Task>) {
    if let Some(task) = task {
        object.number(pid, task.pid);
        object.text(comm, &task.comm.text());
    }
}

/// The settings in force, and where each comes from.
pub(super) fn settings(object: &mut Object<'_>, settings: &Settings) {
    let Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms } = settings;
    object.flag("keepalive", *keepalive);
    object.signed("time_s", time_s.value);
    object.signed("intvl_s", intvl_s.value);
    object.number("probes", probes.value);
    object.number("user_timeout_ms", *user_timeout_ms);
    object.object("origin", |origin| {
        origin.name("time", time_s.origin.name());
        origin.name("intvl", intvl_s.origin.name());
        origin.name("probes", probes.origin.name());
    });
}
