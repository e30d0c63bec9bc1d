//! What an event's line says in its last column.
use super::escape;
use crate::model::{
    event::{Connection, Lost, Outcome, Place, Probe, ProbeResult, Reset, Timer},
    settings::{Settings, Sourced},
    verdict::Verdict,
    wheel,
};

pub(super) fn probe(connection: &Connection, probe: &Probe, hz: u32) -> String {
    let Probe { n, result, next_ms, late_ms } = probe;
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
        seconds(connection.idle_ms.map(i64::try_from).and_then(Result::ok))
    );
    if next_ms.is_some() {
        detail += &format!(", next in {}", seconds(*next_ms));
    }
    let armed_for =
        connection.settings.map(|settings| if *n == Some(1) { settings.time_s.value } else { settings.intvl_s.value });
    detail + &lateness(*late_ms, armed_for, hz)
}

pub(super) fn timer(connection: &Connection, timer: &Timer, hz: u32) -> String {
    let Timer { outcome, next_ms, late_ms } = timer;
    let why = match outcome {
        Outcome::DataInFlight => "no probe: data in flight, retransmission rules",
        Outcome::UnsentData => "no probe: unsent data waits (closed window or full queue)",
        Outcome::NotIdle => "no probe: not idle long enough",
        Outcome::SocketBusy => "no probe: a process holds the socket",
        Outcome::KeepaliveOff => "no probe: keepalive is off, or the state has none",
        Outcome::FinWait2 => "an orphan in FIN_WAIT2 became a time-wait: not a keepalive",
    };
    let next = match next_ms {
        Some(_) => format!(", next in {}", seconds(*next_ms)),
        None => ", not armed again".to_owned(),
    };
    let armed_for = connection.settings.map(|settings| settings.time_s.value);
    format!("{why}{next}{}", lateness(*late_ms, armed_for, hz))
}

pub(super) fn reset(connection: &Connection, reset: &Reset) -> String {
    let Reset { reason, cause, task } = reset;
    let idle = seconds(connection.idle_ms.map(i64::try_from).and_then(Result::ok));
    let unanswered = number(connection.probes_out);
    let settings = connection.settings;
    match cause {
        Some(Verdict::KeepaliveTimeout) => {
            let of = number(settings.map(|settings| settings.probes.value));
            format!("DEAD: keepalive gave up, {unanswered} of {of} probes unanswered, idle {idle}")
        }
        Some(Verdict::UserTimeout) => {
            let limit = seconds(settings.map(|settings| settings.user_timeout_ms.into()));
            format!("DEAD: TCP_USER_TIMEOUT of {limit} passed, probes unanswered: {unanswered}, idle {idle}")
        }
        Some(Verdict::FinWait2Timeout) => "orphan in FIN_WAIT2 given up by the timer: not a keepalive".to_owned(),
        None => {
            let by = task
                .as_ref()
                .map_or_else(|| ", by the kernel".to_owned(), |task| format!(", by {}[{}]", escape(&task.comm), task.pid));
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            format!("reset sent by this host{by}, in {}{reason}", connection.state)
        }
    }
}

pub(super) fn lost(Lost { count, place }: Lost) -> String {
    let (what, remedy) = match place {
        Place::RingBuffer => ("events: the ring buffer was full", "a larger --buffer or a narrower filter helps"),
        Place::SkippedRun => ("runs that the kernel skipped", "another tracer was active on that CPU"),
        Place::ConnectionTable => ("connections forgotten: the table was full", "a narrower filter helps"),
        Place::Reader => ("records that made no sense", "a defect: please report it"),
    };
    format!("{count} {what} ({remedy})")
}

/// What `--wide` adds.
pub(super) fn facts(connection: &Connection) -> String {
    let Connection { id, cookie, netns, cgroup_id: _, state, settings, .. } = connection;
    let mut facts = format!("{state} conn {id}");
    if let Some(cookie) = cookie {
        facts += &format!(" cookie {cookie}");
    }
    if let Some(netns) = netns {
        facts += &format!(" netns {netns}");
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
            facts += &format!(" user timeout {}", seconds(Some((*user_timeout_ms).into())));
        }
    }
    facts
}

fn sourced<T: std::fmt::Display>(sourced: &Sourced<T>, unit: &str) -> String {
    format!("{}{unit} ({})", sourced.value, sourced.origin.name())
}

fn number(value: Option<u32>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}

/// Milliseconds, as seconds with their unit.
fn seconds(ms: Option<i64>) -> String {
    ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{:.3} s", ms as f64 / 1000.0))
}

/// How long after its deadline the timer fired, where somebody would miss that time. What the timer wheel's step for the
/// delay explains is in order.
fn lateness(late_ms: Option<i64>, armed_for_s: Option<i64>, hz: u32) -> String {
    let Some(late @ 100..) = late_ms else { return String::new() };
    let Some(step) = armed_for_s.filter(|_| hz > 0).map(|delay| wheel::step_ms(delay, hz)) else {
        return format!(", {} after its time", seconds(Some(late)));
    };
    let jiffy = i64::from(1000 / hz.max(1));
    if late <= step + jiffy {
        return format!(", timer wheel +{}", seconds(Some(late)));
    }
    format!(", fired {} late (the timer wheel explains {})", seconds(Some(late)), seconds(Some(step)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_timer_wheel_explains_is_not_called_late() {
        assert_eq!(lateness(Some(776), Some(75), 250), ", timer wheel +0.776 s");
        assert_eq!(lateness(Some(2052), Some(75), 250), ", timer wheel +2.052 s");
        assert_eq!(lateness(Some(2053), Some(75), 250), ", fired 2.053 s late (the timer wheel explains 2.048 s)");
        assert_eq!(lateness(Some(99), Some(1), 250), "");
        assert_eq!(lateness(Some(500), None, 250), ", 0.500 s after its time");
    }

    #[test]
    fn seconds_are_never_mistaken_for_milliseconds() {
        assert_eq!(seconds(Some(3996)), "3.996 s");
        assert_eq!(seconds(None), "unknown");
    }
}
