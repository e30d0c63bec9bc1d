//! What an event's line says in its last column.
mod facts;
mod host;

pub(super) use facts::{facts, in_force};
pub(super) use host::{lost, namespace, sysctl};

use super::append::Append as _;
use crate::model::{
    event::{Changed, Connection, End, How, Open, Outcome, Precision, Probe, ProbeResult, Reply, ReplyKind, Reset, Timer, Via},
    http::{Http, Line, Promise, Tokens},
    owner::{Owner, Task},
    settings::Settings,
    state::State,
};

pub(super) fn open(out: &mut Vec<u8>, connection: &Connection, Open { how, connect_us }: &Open) {
    out.text(match how {
        How::Snapshot => "there at the start",
        How::Connect if connection.state == State::CLOSE => "tried to connect",
        How::Connect => "connected",
        How::Accept => "accepted",
        How::FirstEvent => "first seen",
    });
    if let Some(us) = connect_us {
        out.text(" in ");
        out.short(*us);
    }
    out.text(", ");
    match &connection.settings {
        Some(settings) => in_force(out, settings),
        None => out.text("settings unknown"),
    }
}

pub(super) fn owner(out: &mut Vec<u8>, owner: Option<Owner>) {
    let Some(Owner { task, holders }) = owner else { return out.text("unknown") };
    out.text("held by ");
    out.task(&task);
    if holders > 1 {
        out.text(", ");
        out.number(holders.into());
        out.text(" processes in all");
    }
}

pub(super) fn settings(out: &mut Vec<u8>, settings: Option<&Settings>, Changed { by, via }: &Changed) {
    out.text("now ");
    match settings {
        Some(settings) => in_force(out, settings),
        None => out.text("unknown"),
    }
    changed(out, by.as_ref(), *via);
}

/// `, by app[812]`; of a sysctl, how long before it was written.
pub(super) fn changed(out: &mut Vec<u8>, task: Option<&Task>, via: Option<Via>) {
    match (task, via) {
        (None, None) => {}
        (Some(task), None | Some(Via::Setsockopt)) => by(out, ", by ", Some(task)),
        (None, Some(Via::Setsockopt)) => out.text(", by setsockopt"),
        (task, Some(Via::Sysctl { waited_ms })) => {
            out.text(", picked up from the sysctl, written ");
            out.seconds(waited_ms.into());
            out.text(" before");
            by(out, " by ", task);
        }
    }
}

fn by(out: &mut Vec<u8>, by: &str, task: Option<&Task>) {
    if let Some(task) = task {
        out.text(by);
        out.task(task);
    }
}

pub(super) fn reply(out: &mut Vec<u8>, connection: &Connection, reply: &Reply) {
    out.text("probe ");
    of(out, reply.n, connection);
    out.text(" ");
    answer(out, reply);
}

/// `answered by ACK after 4.000 ms (to the jiffy), 1 before it missed`
pub(super) fn answer(out: &mut Vec<u8>, Reply { n: _, kind, rtt_us, precision, missed }: &Reply) {
    out.text(match kind {
        ReplyKind::Ack => "answered by ACK",
        ReplyKind::Reset => "answered by RST",
    });
    match (rtt_us, precision) {
        (None, _) => {}
        (Some(0), Precision::Jiffy) => out.text(" within the jiffy"),
        (Some(us), precision) => {
            out.text(" after ");
            out.short(*us);
            out.text(if *precision == Precision::Jiffy { " (to the jiffy)" } else { "" });
        }
    }
    if *missed > 0 {
        out.text(", ");
        out.number((*missed).into());
        out.text(" before it missed");
    }
    if *kind == ReplyKind::Reset {
        out.text(": the peer knows no such connection");
    }
}

pub(super) fn http(out: &mut Vec<u8>, http: &Http) {
    let Http { line, n, connection, promise, idle_before_ms } = http;
    match line {
        Line::Request(method) => {
            out.text("request ");
            out.number((*n).into());
            out.text(": ");
            out.text(method.name());
            if let Some(ms) = idle_before_ms.and_then(|ms| i64::try_from(ms).ok()) {
                out.text(", idle ");
                out.seconds(ms);
                out.text(" before");
            }
        }
        Line::Response(status) => {
            out.text("response ");
            out.number((*n).into());
            out.text(": ");
            out.number((*status).into());
        }
    }
    if *connection != Tokens::default() {
        out.text(", ");
        out.display(connection);
    }
    promised(out, promise);
}

/// What a server promises, behind what else there is.
pub(super) fn promised(out: &mut Vec<u8>, Promise { timeout_s, max }: &Promise) {
    if let Some(timeout) = timeout_s {
        out.text(", promises timeout ");
        out.number((*timeout).into());
        out.text(" s");
    }
    if let Some(max) = max {
        out.text(if timeout_s.is_some() { ", max " } else { ", promises max " });
        out.number((*max).into());
    }
}

/// One sentence for whoever has to act on it.
pub(super) fn end(
    out: &mut Vec<u8>,
    End { verdict, errno, probes_sent: _, unanswered: _, age_ms, armed_before_sysctl: _, why, http }: &End,
) {
    out.text(if verdict.is_death() { "DEAD, " } else { "" });
    out.text(verdict.name());
    if let Some(cause) = http.as_ref().and_then(|http| http.cause) {
        out.text(" (HTTP ");
        out.text(cause.name());
        out.text(")");
    }
    out.text(": ");
    out.escaped(why);
    if let Some(errno) = errno {
        out.text("; the application got ");
        out.errno(*errno);
    }
    if let Some(ms) = age_ms {
        out.text("; age ");
        out.seconds(i64::try_from(*ms).unwrap_or(i64::MAX));
    }
}

pub(super) fn probe(out: &mut Vec<u8>, connection: &Connection, probe: &Probe, hz: u32) {
    let Probe { n, result, next_ms, late_ms, wheel_ms } = probe;
    of(out, *n, connection);
    out.text(match result {
        Some(ProbeResult::Sent) => "",
        Some(ProbeResult::DroppedLocally) => " dropped on this host, counted all the same",
        Some(ProbeResult::Congested) => " held back by a full queue on this host, not counted",
        None => " with unknown result",
    });
    out.text(", idle ");
    match connection.idle_ms.and_then(|ms| i64::try_from(ms).ok()) {
        Some(ms) => out.seconds(ms),
        None => out.text("unknown"),
    }
    if let Some(next) = next_ms {
        out.text(", next in ");
        out.seconds(*next);
    }
    lateness(out, *late_ms, *wheel_ms, hz);
}

pub(super) fn timer(out: &mut Vec<u8>, timer: &Timer, hz: u32) {
    let Timer { outcome, next_ms, late_ms, wheel_ms } = timer;
    out.text(match outcome {
        Outcome::DataInFlight => "no probe: data in flight, retransmission rules",
        Outcome::UnsentData => "no probe: unsent data waits (closed window or full queue)",
        Outcome::NotIdle => "no probe: not idle long enough",
        Outcome::SocketBusy => "no probe: a process holds the socket",
        Outcome::KeepaliveOff => "no probe: keepalive is off, or the state has none",
        Outcome::FinWait2 => "an orphan in FIN_WAIT2 became a time-wait: not a keepalive",
    });
    match next_ms {
        Some(next) => {
            out.text(", next in ");
            out.seconds(*next);
        }
        None => out.text(", not armed again"),
    }
    lateness(out, *late_ms, *wheel_ms, hz);
}

pub(super) fn reset(out: &mut Vec<u8>, connection: &Connection, Reset { reason, cause, task }: &Reset) {
    if cause.is_some() {
        return out.text("RST sent by the keepalive timer");
    }
    out.text("RST sent by this host, by ");
    match task {
        Some(task) => out.task(task),
        None => out.text("the kernel"),
    }
    out.text(", in ");
    out.state(connection.state);
    if let Some(reason) = reason {
        out.text(" (");
        out.text(reason);
        out.text(")");
    }
}

/// `2 of 3`, of a round of probes.
fn of(out: &mut Vec<u8>, n: Option<u32>, connection: &Connection) {
    number(out, n);
    out.text(" of ");
    number(out, connection.settings.map(|settings| settings.probes.value));
}

fn number(out: &mut Vec<u8>, value: Option<u32>) {
    match value {
        Some(value) => out.number(value.into()),
        None => out.text("?"),
    }
}

/// How long after its deadline the timer fired, where somebody would miss that time. What the timer wheel's rounding explains
/// is in order.
fn lateness(out: &mut Vec<u8>, late_ms: Option<i64>, wheel_ms: Option<i64>, hz: u32) {
    let Some(late @ 100..) = late_ms else { return };
    let Some(wheel) = wheel_ms else {
        out.text(", ");
        out.seconds(late);
        return out.text(" after its time");
    };
    // The wheel turns in the tick, which takes its time.
    let jiffy = i64::from(1000 / hz.max(1));
    if late <= wheel + jiffy {
        out.text(", timer wheel +");
        return out.seconds(late);
    }
    out.text(", fired ");
    out.seconds(late);
    out.text(" late (the timer wheel explains ");
    out.seconds(wheel);
    out.text(")");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::append::appended;

    #[test]
    fn what_the_timer_wheel_explains_is_not_called_late() {
        let lateness = |late_ms, wheel_ms| appended(|out| lateness(out, late_ms, wheel_ms, 250));
        assert_eq!(lateness(Some(776), Some(776)), ", timer wheel +0.776 s");
        assert_eq!(lateness(Some(2052), Some(2048)), ", timer wheel +2.052 s");
        assert_eq!(lateness(Some(2053), Some(2048)), ", fired 2.053 s late (the timer wheel explains 2.048 s)");
        assert_eq!(lateness(Some(99), Some(4)), "");
        assert_eq!(lateness(Some(500), None), ", 0.500 s after its time");
    }
}
