//! The keys of events that are about a connection: first whose it is, then what happened, at last the settings in force.
use super::object::{Object, key};
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
    object.quoted(key!("conn"), |out| out.hex(id.0));
    object.number_if(key!("cookie"), *cookie);
    object.number(
        key!("ip"),
        match family {
            Family::V4 => 4_u32,
            Family::V6 => 6,
        },
    );
    object.quoted(key!("laddr"), |out| out.address(local.ip()));
    object.number(key!("lport"), local.port());
    object.quoted(key!("raddr"), |out| out.address(remote.ip()));
    object.number(key!("rport"), remote.port());
    object.number_if(key!("netns"), *netns);
    object.quoted(key!("state"), |out| out.state(*state));
    if let Some(Owner { task: Task { pid, comm }, holders }) = owner {
        object.number(key!("pid"), *pid);
        object.comm(key!("comm"), comm);
        object.number_if(key!("holders"), (*holders > 1).then_some(*holders));
    }
    object.text_if(key!("cgroup"), cgroup.as_deref());
}

/// What happened on it.
pub(super) fn happening(object: &mut Object<'_>, connection: &Connection, body: &Body) {
    match body {
        Body::Open(_, Open { how, connect_us }) => {
            object.name(key!("how"), how.name());
            object.number_if(key!("connect_us"), *connect_us);
        }
        Body::Settings(_, Changed { by, via }) => {
            task(object, [key!("by_pid"), key!("by_comm")], by.as_ref());
            object.name_if(key!("via"), via.map(Via::name));
            if let Some(Via::Sysctl { waited_ms }) = via {
                object.number(key!("waited_ms"), *waited_ms);
            }
        }
        Body::Probe(_, Probe { n, result, next_ms, late_ms, wheel_ms }) => {
            object.number_if(key!("n"), *n);
            object.number_if(key!("of"), connection.settings.map(|settings| settings.probes.value));
            object.number_if(key!("idle_ms"), connection.idle_ms);
            object.name_if(key!("result"), result.map(|result| result.name()));
            times(object, [*next_ms, *late_ms, *wheel_ms]);
        }
        Body::Timer(_, Timer { outcome, next_ms, late_ms, wheel_ms }) => {
            object.number_if(key!("idle_ms"), connection.idle_ms);
            object.name(key!("outcome"), outcome.name());
            times(object, [*next_ms, *late_ms, *wheel_ms]);
        }
        Body::Reply(_, Reply { n, kind, rtt_us, precision, missed }) => {
            object.number_if(key!("n"), *n);
            object.name(key!("kind"), kind.name());
            object.number_if(key!("rtt_us"), *rtt_us);
            object.name(key!("precision"), precision.name());
            object.number(key!("missed"), *missed);
        }
        Body::Reset(_, Reset { reason, cause, task: by }) => {
            object.number_if(key!("idle_ms"), connection.idle_ms);
            object.text_if(key!("reason"), reason.as_deref());
            object.flag(key!("in_timer"), cause.is_some());
            object.name_if(key!("cause"), cause.map(|cause| cause.name()));
            object.number_if(key!("unanswered"), cause.and(connection.probes_out));
            task(object, [key!("task_pid"), key!("task_comm")], by.as_ref());
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
    object.name(key!("verdict"), verdict.name());
    if *armed_before_sysctl {
        object.flag(key!("armed_before_sysctl"), true);
    }
    if let Some(errno) = errno {
        object.quoted(key!("errno"), |out| out.errno(*errno));
    }
    object.number(key!("probes_sent"), *probes_sent);
    object.number_if(key!("idle_ms"), connection.idle_ms);
    object.number_if(key!("age_ms"), *age_ms);
    object.number(key!("unanswered"), *unanswered);
    object.text(key!("why"), why);
    let Some(ended) = http.as_deref() else { return };
    let http::End { cause, requests, responses, saved, findings } = ended;
    object.name_if(key!("http"), cause.map(|cause| cause.name()));
    object.number(key!("requests"), *requests);
    object.number(key!("responses"), *responses);
    object.number(key!("handshakes_saved"), ended.handshakes_saved());
    if let Some(saved) = saved {
        object.number(key!("saved_us"), saved.us);
        object.name(key!("saved_from"), saved.from.name());
    }
    object.names(key!("findings"), findings.iter().map(http::Finding::name));
}

fn message(object: &mut Object<'_>, http: &Http) {
    let Http { line, n, connection, promise: Promise { timeout_s, max }, idle_before_ms } = http;
    object.number(key!("n"), *n);
    match line {
        Line::Request(method) => {
            object.name(key!("dir"), "request");
            object.name(key!("method"), method.name());
        }
        Line::Response(status) => {
            object.name(key!("dir"), "response");
            object.number(key!("status"), *status);
        }
    }
    if *connection != Tokens::default() {
        object.quoted(key!("connection"), |out| out.display(connection));
    }
    object.number_if(key!("timeout_s"), *timeout_s);
    object.number_if(key!("max"), *max);
    object.number_if(key!("idle_before_ms"), *idle_before_ms);
}

fn times(object: &mut Object<'_>, [next_ms, late_ms, wheel_ms]: [Option<i64>; 3]) {
    object.signed_if(key!("next_ms"), next_ms);
    object.signed_if(key!("late_ms"), late_ms);
    object.signed_if(key!("wheel_ms"), wheel_ms);
}

/// A process under these keys.
pub(super) fn task(object: &mut Object<'_>, [pid, comm]: [&'static str; 2], task: Option<&Task>) {
    if let Some(task) = task {
        object.number(pid, task.pid);
        object.comm(comm, &task.comm);
    }
}

/// The settings in force, and where each comes from.
pub(super) fn settings(object: &mut Object<'_>, settings: &Settings) {
    let Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms } = settings;
    object.flag(key!("keepalive"), *keepalive);
    object.signed(key!("time_s"), time_s.value);
    object.signed(key!("intvl_s"), intvl_s.value);
    object.number(key!("probes"), probes.value);
    object.number(key!("user_timeout_ms"), *user_timeout_ms);
    object.object(key!("origin"), |origin| {
        origin.name(key!("time"), time_s.origin.name());
        origin.name(key!("intvl"), intvl_s.origin.name());
        origin.name(key!("probes"), probes.origin.name());
    });
}
