//! What an event's line says in its last column.
use super::escape;
use crate::model::{
    event::{
        Changed, Connection, End, How, Lost, Namespace, Open, Outcome, Place, Precision, Probe, ProbeResult, Reply, ReplyKind,
        Reset, Timer, Via,
    },
    http::{Http, Line, Promise, Tokens},
    owner::{Owner, Task},
    settings::{Origin, Settings, Sourced},
    state::State,
    sysctl::{Deadlines, Following, Sysctls, Write},
    units::{counted, seconds, seconds_or_unknown, short},
};

pub(super) fn open(connection: &Connection, Open { how, connect_us }: &Open) -> String {
    let how = match how {
        How::Snapshot => "there at the start",
        How::Connect if connection.state == State::CLOSE => "tried to connect",
        How::Connect => "connected",
        How::Accept => "accepted",
        How::FirstEvent => "first seen",
    };
    let took = connect_us.map_or_else(String::new, |us| format!(" in {}", short(us)));
    format!("{how}{took}, {}", connection.settings.map_or_else(|| "settings unknown".to_owned(), |settings| in_force(&settings)))
}

pub(super) fn owner(owner: Option<Owner>) -> String {
    let Some(Owner { task, holders }) = owner else { return "unknown".to_owned() };
    let others = if holders > 1 { format!(", {holders} processes in all") } else { String::new() };
    format!("held by {}{others}", named(task))
}

pub(super) fn settings(settings: Option<&Settings>, Changed { by, via }: &Changed) -> String {
    format!("now {}{}", settings.map_or_else(|| "unknown".to_owned(), in_force), changed(*by, *via))
}

/// `, by app[812]`; of a sysctl, how long before it was written.
pub(super) fn changed(by: Option<Task>, via: Option<Via>) -> String {
    match (by, via) {
        (None, None) => String::new(),
        (Some(task), None | Some(Via::Setsockopt)) => format!(", by {}", named(task)),
        (None, Some(Via::Setsockopt)) => ", by setsockopt".to_owned(),
        (by, Some(Via::Sysctl { waited_ms })) => {
            let by = by.map_or_else(String::new, |task| format!(" by {}", named(task)));
            let waited = seconds(waited_ms.into());
            format!(", picked up from the sysctl, written {waited} before{by}")
        }
    }
}

/// `net.ipv4.tcp_keepalive_time 7200 s -> 600 s in netns 4026531840, by sysctl[77]: ...`
pub(super) fn sysctl(write: &Write, following: Option<&Following>) -> String {
    let Write { mono_ns, netns, name, old, new, refused, by } = write;
    let by = by.map_or_else(String::new, |task| format!(", by {}", named(task)));
    let (label, unit) = (name.name(), name.unit());
    if let Some(errno) = refused {
        return format!("{label} stays {old}{unit} in netns {netns}: the kernel refused a write{by} ({errno})");
    }
    if old == new {
        return format!("{label} is written again and stays {old}{unit} in netns {netns}{by}");
    }
    let change = format!("{label} {old}{unit} -> {new}{unit} in netns {netns}{by}");
    let Some(following) = following else { return format!("{change}; its sockets were not counted") };
    let Following { sockets, now, later, never_socket, never_off, by } = following;
    let when = by.map_or_else(String::new, |Deadlines { nearest_ns, median_ns, last_ns }| {
        let after = |ns: u64| seconds((ns.saturating_sub(*mono_ns) / 1_000_000) as i64);
        format!(" (the next fires in {}, the median {}, the last {})", after(nearest_ns), after(median_ns), after(last_ns))
    });
    format!(
        "{change}: of {}, {now} follow at once, {later} keep an armed timer{when}, {} never follow ({never_socket} set on the socket, {never_off} without keepalive)",
        counted(*sockets, "socket"),
        following.never()
    )
}

/// `7200 s, 75 s, 9 probes; 12 sockets, 3 with keepalive, 2 of them follow`
pub(super) fn namespace(namespace: &Namespace) -> String {
    let Namespace { netns, host, name, sysctls, sockets, keepalive, follow, findings } = namespace;
    let name = name.as_ref().map_or_else(String::new, |name| format!(" {}", escape(name)));
    let host = if *host == Some(true) { " (host)" } else { "" };
    let Sysctls { time_s, intvl_s, probes } = sysctls;
    let findings = findings.iter().map(|finding| format!("; {}", finding.name())).collect::<String>();
    format!(
        "{netns}{name}{host}: tcp_keepalive_time {time_s} s, intvl {intvl_s} s, probes {probes}; {}, {keepalive} with keepalive, {follow} of them by sysctl{findings}",
        counted(*sockets, "socket")
    )
}

/// `keepalive 7200 s, 75 s, 9 probes (sysctl)`
pub(super) fn in_force(settings: &Settings) -> String {
    let Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms } = settings;
    let mut text = if *keepalive {
        let origins = [time_s.origin, intvl_s.origin, probes.origin];
        let origin = match origins {
            [Origin::Socket, Origin::Socket, Origin::Socket] => " (socket)".to_owned(),
            [Origin::Sysctl, Origin::Sysctl, Origin::Sysctl] => " (sysctl)".to_owned(),
            mixed => format!(" ({})", mixed.map(Origin::name).join(", ")),
        };
        format!("keepalive {} s, {} s, {} probes{origin}", time_s.value, intvl_s.value, probes.value)
    } else {
        "keepalive off".to_owned()
    };
    if *user_timeout_ms > 0 {
        text += &format!(", TCP_USER_TIMEOUT {}", seconds((*user_timeout_ms).into()));
    }
    text
}

pub(super) fn reply(connection: &Connection, reply: &Reply) -> String {
    let of = connection.settings.map(|settings| settings.probes.value);
    format!("probe {} of {} {}", number(reply.n), number(of), answer(reply))
}

/// `answered by ACK after 4.000 ms (to the jiffy), 1 before it missed`
pub(super) fn answer(Reply { n: _, kind, rtt_us, precision, missed }: &Reply) -> String {
    let after = match (rtt_us, precision) {
        (None, _) => String::new(),
        (Some(us), Precision::Exact) => format!(" after {}", short(*us)),
        (Some(0), Precision::Jiffy) => " within the jiffy".to_owned(),
        (Some(us), Precision::Jiffy) => format!(" after {} (to the jiffy)", short(*us)),
    };
    let missed = if *missed > 0 { format!(", {missed} before it missed") } else { String::new() };
    match kind {
        ReplyKind::Ack => format!("answered by ACK{after}{missed}"),
        ReplyKind::Reset => format!("answered by RST{after}{missed}: the peer knows no such connection"),
    }
}

pub(super) fn http(http: &Http) -> String {
    let Http { line, n, connection, promise, idle_before_ms } = http;
    let mut detail = match line {
        Line::Request(method) => {
            let idle = idle_before_ms.and_then(|ms| i64::try_from(ms).ok());
            let idle = idle.map_or_else(String::new, |ms| format!(", idle {} before", seconds(ms)));
            format!("request {n}: {}{idle}", method.name())
        }
        Line::Response(status) => format!("response {n}: {status}"),
    };
    if *connection != Tokens::default() {
        detail += &format!(", {connection}");
    }
    detail + &promised(promise)
}

/// What a server promises, behind what else there is.
pub(super) fn promised(Promise { timeout_s, max }: &Promise) -> String {
    match (timeout_s, max) {
        (Some(timeout), Some(max)) => format!(", promises timeout {timeout} s, max {max}"),
        (Some(timeout), None) => format!(", promises timeout {timeout} s"),
        (None, Some(max)) => format!(", promises max {max}"),
        (None, None) => String::new(),
    }
}

/// One sentence for whoever has to act on it.
pub(super) fn end(
    End { verdict, errno, probes_sent: _, unanswered: _, age_ms, armed_before_sysctl: _, why, http }: &End,
) -> String {
    let dead = if verdict.is_death() { "DEAD, " } else { "" };
    let told = errno.map_or_else(String::new, |errno| format!("; the application got {errno}"));
    let age = age_ms.map_or_else(String::new, |ms| format!("; age {}", seconds(i64::try_from(ms).unwrap_or(i64::MAX))));
    let http = http.as_ref().and_then(|http| http.cause).map_or_else(String::new, |cause| format!(" (HTTP {})", cause.name()));
    format!("{dead}{}{http}: {}{told}{age}", verdict.name(), escape(why))
}

pub(super) fn probe(connection: &Connection, probe: &Probe, hz: u32) -> String {
    let Probe { n, result, next_ms, late_ms, wheel_ms } = probe;
    let of = connection.settings.map(|settings| settings.probes.value);
    let what = match result {
        Some(ProbeResult::Sent) => "",
        Some(ProbeResult::DroppedLocally) => " dropped on this host, counted all the same",
        Some(ProbeResult::Congested) => " held back by a full queue on this host, not counted",
        None => " with unknown result",
    };
    let mut detail = format!(
        "{} of {}{what}, idle {}",
        number(*n),
        number(of),
        seconds_or_unknown(connection.idle_ms.and_then(|ms| i64::try_from(ms).ok()))
    );
    if let Some(next) = next_ms {
        detail += &format!(", next in {}", seconds(*next));
    }
    detail + &lateness(*late_ms, *wheel_ms, hz)
}

pub(super) fn timer(timer: &Timer, hz: u32) -> String {
    let Timer { outcome, next_ms, late_ms, wheel_ms } = timer;
    let why = match outcome {
        Outcome::DataInFlight => "no probe: data in flight, retransmission rules",
        Outcome::UnsentData => "no probe: unsent data waits (closed window or full queue)",
        Outcome::NotIdle => "no probe: not idle long enough",
        Outcome::SocketBusy => "no probe: a process holds the socket",
        Outcome::KeepaliveOff => "no probe: keepalive is off, or the state has none",
        Outcome::FinWait2 => "an orphan in FIN_WAIT2 became a time-wait: not a keepalive",
    };
    let next = match next_ms {
        Some(next) => format!(", next in {}", seconds(*next)),
        None => ", not armed again".to_owned(),
    };
    format!("{why}{next}{}", lateness(*late_ms, *wheel_ms, hz))
}

pub(super) fn reset(connection: &Connection, Reset { reason, cause, task }: &Reset) -> String {
    if cause.is_some() {
        return "RST sent by the keepalive timer".to_owned();
    }
    let by = task.map_or_else(|| ", by the kernel".to_owned(), |task| format!(", by {}", named(task)));
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("RST sent by this host{by}, in {}{reason}", connection.state)
}

pub(super) fn lost(Lost { count, place }: Lost) -> String {
    let (what, remedy) = match place {
        Place::RingBuffer => ("events: the ring buffer was full", "a larger --buffer or a narrower filter helps"),
        Place::SkippedRun => ("runs that the kernel skipped", "another tracer was active on that CPU"),
        Place::ConnectionTable => {
            ("histories forgotten: the table was full", "a larger --max-connections or a narrower filter helps")
        }
        Place::Reader => ("records that made no sense", "a defect: please report it"),
    };
    format!("{count} {what} ({remedy})")
}

/// What `--wide` adds.
pub(super) fn facts(connection: &Connection) -> String {
    let Connection { id, cookie, netns, cgroup, owner, state, settings, .. } = connection;
    let mut facts = format!("{state} conn {id}");
    if let Some(cookie) = cookie {
        facts += &format!(" cookie {cookie}");
    }
    if let Some(netns) = netns {
        facts += &format!(" netns {netns}");
    }
    if let Some(cgroup) = cgroup {
        facts += &format!(" cgroup {}", escape(cgroup));
    }
    if let Some(owner) = owner.filter(|owner| owner.holders > 1) {
        facts += &format!(" held by {} processes", owner.holders);
    }
    if let Some(Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms }) = settings {
        let switch = if *keepalive { "on" } else { "off" };
        facts += &format!(
            " keepalive {switch} time {} intvl {} probes {}",
            sourced(time_s, " s"),
            sourced(intvl_s, " s"),
            sourced(probes, "")
        );
        if *user_timeout_ms > 0 {
            facts += &format!(" user timeout {}", seconds((*user_timeout_ms).into()));
        }
    }
    facts
}

pub(super) fn named(task: Task) -> String {
    format!("{}[{}]", escape(&task.comm.text()), task.pid)
}

fn sourced<T: std::fmt::Display>(sourced: &Sourced<T>, unit: &str) -> String {
    format!("{}{unit} ({})", sourced.value, sourced.origin.name())
}

fn number(value: Option<u32>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}

/// How long after its deadline the timer fired, where somebody would miss that time. What the timer wheel's rounding explains
/// is in order.
fn lateness(late_ms: Option<i64>, wheel_ms: Option<i64>, hz: u32) -> String {
    let Some(late @ 100..) = late_ms else { return String::new() };
    let Some(wheel) = wheel_ms else { return format!(", {} after its time", seconds(late)) };
    // The wheel turns in the tick, which takes its time.
    let jiffy = i64::from(1000 / hz.max(1));
    if late <= wheel + jiffy {
        return format!(", timer wheel +{}", seconds(late));
    }
    format!(", fired {} late (the timer wheel explains {})", seconds(late), seconds(wheel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_timer_wheel_explains_is_not_called_late() {
        assert_eq!(lateness(Some(776), Some(776), 250), ", timer wheel +0.776 s");
        assert_eq!(lateness(Some(2052), Some(2048), 250), ", timer wheel +2.052 s");
        assert_eq!(lateness(Some(2053), Some(2048), 250), ", fired 2.053 s late (the timer wheel explains 2.048 s)");
        assert_eq!(lateness(Some(99), Some(4), 250), "");
        assert_eq!(lateness(Some(500), None, 250), ", 0.500 s after its time");
    }
}
