//! The verdict's evidence as one sentence.
use super::Evidence;
use crate::model::{
    errno::Errno,
    owner::Task,
    settings::Settings,
    sighting::Left,
    state::State,
    units::{counted, seconds, seconds_or_unknown, short},
    verdict::Verdict,
};

/// One English sentence: what was seen that makes this the verdict. Names of tasks are as the kernel has them: escape them
/// before a terminal sees them.
pub fn why(verdict: Verdict, evidence: &Evidence<'_>) -> String {
    let mut why = known(verdict, evidence);
    if verdict != Verdict::Unknown && evidence.closed.is_unseen() {
        why += "; the end itself was lost with other events";
    }
    why
}

fn known(verdict: Verdict, evidence: &Evidence<'_>) -> String {
    let Evidence { signs, closed, .. } = evidence;
    let left = closed.left.unwrap_or_default();
    match verdict {
        Verdict::KeepaliveTimeout => keepalive_timeout(evidence),
        Verdict::UserTimeout => user_timeout(evidence),
        Verdict::PeerResetOnProbe => on_probe(evidence),
        Verdict::RetransmitTimeout => format!(
            "{} never acknowledged, and {}; keepalive had no say while data was in flight",
            bytes_were(left.unacked, "sent and"),
            limit(evidence.settings, "retransmission went on until the kernel gave up")
        ),
        Verdict::ZeroWindowTimeout => format!(
            "the peer's receive window stayed closed with {} waiting, and {}; keepalive had no say",
            counted(u64::from(left.unacked) + u64::from(left.unsent), "byte"),
            limit(evidence.settings, "its window was probed until the kernel gave up")
        ),
        Verdict::OutOfMemory => format!(
            "the kernel gave up {}: too many orphans (net.ipv4.tcp_max_orphans) or no memory for TCP (net.ipv4.tcp_mem)",
            closed_by("an orphan", closed.by)
        ),
        Verdict::AdminKill => admin_kill(evidence),
        Verdict::PeerReset => {
            let phase = if closed.from == State::CLOSE_WAIT { ", after it had closed its side" } else { "" };
            let probes = match evidence.unanswered {
                0 => "no probe was unanswered",
                _ => "it answers what was sent after the last probe",
            };
            format!("the peer sent RST{phase}, idle for {}; {probes}", idle(evidence))
        }
        Verdict::NeverEstablished => never_established(evidence),
        Verdict::OrphanTimeout => {
            format!("{} and left {} unacknowledged to the end of its retries", closer(closed.by), what_is_left(left))
        }
        Verdict::FinWait2Timeout => format!(
            "{}; the peer never sent its FIN, and the keepalive timer ended the orphan in FIN_WAIT2: not a keepalive",
            closer(closed.by)
        ),
        Verdict::LocalAbort => local_abort(evidence),
        Verdict::PeerClose => {
            let cut = if signs.peer_reset.is_some() { "; its RST cut the goodbye short" } else { "" };
            around_closer("the peer closed first, with FIN, then ", closed.by, cut)
        }
        Verdict::LocalClose => {
            let cut = if signs.peer_reset.is_some() || closed.errno.is_some() {
                " first, with FIN; the peer answered with RST, or with data that nobody reads any more"
            } else {
                " first, with FIN"
            };
            around_closer("", closed.by, cut)
        }
        Verdict::Unknown => unknown(evidence),
    }
}

fn keepalive_timeout(evidence: &Evidence<'_>) -> String {
    let of = evidence.settings.map(|settings| settings.probes.value);
    if of == Some(0) {
        return "tcp_keepalive_probes is 0: the kernel gives up as soon as the connection is idle, without a probe".to_owned();
    }
    let of = of.map_or_else(|| "?".to_owned(), |of| of.to_string());
    let dropped = match evidence.dropped {
        0 => String::new(),
        dropped => format!(" ({dropped} of them dropped on this host: no route, or a firewall)"),
    };
    format!(
        "{} of {of} keepalive probes went unanswered{dropped}, nothing heard for {}: the kernel reset the connection",
        evidence.unanswered,
        idle(evidence)
    )
}

fn user_timeout(evidence: &Evidence<'_>) -> String {
    let limit = seconds_or_unknown(evidence.settings.map(|settings| settings.user_timeout_ms.into()));
    let count = evidence.settings.map_or_else(String::new, |settings| format!(" ({})", settings.probes.value));
    format!(
        "TCP_USER_TIMEOUT of {limit} passed with {} unanswered, nothing heard for {}: it overrules the count of probes{count}",
        counted(evidence.unanswered.into(), "keepalive probe"),
        idle(evidence)
    )
}

fn on_probe(evidence: &Evidence<'_>) -> String {
    format!(
        "the peer answered keepalive probe {} with RST after {} of silence: it, or a middlebox, had forgotten the connection",
        evidence.signs.peer_reset.and_then(|reset| reset.on_probe).unwrap_or(1),
        idle(evidence)
    )
}

fn admin_kill(evidence: &Evidence<'_>) -> String {
    let task = evidence.signs.aborted.flatten().or_else(|| evidence.signs.reset.as_ref().and_then(|reset| reset.task));
    let who = task.or(evidence.closed.by).map_or_else(|| "somebody".to_owned(), named);
    format!("{who} destroyed it from outside (tcp_abort: `ss -K`, or BPF)")
}

fn never_established(evidence: &Evidence<'_>) -> String {
    let closed = evidence.closed;
    let after = closed.trying_us.map_or_else(String::new, |us| format!(" after {}", short(us)));
    match closed.errno {
        Some(Errno::CONNREFUSED) => format!("refused{after}: the peer answered the SYN with RST, nobody listens there"),
        Some(Errno::TIMEDOUT) => format!("nobody answered the SYN, which was sent again until the kernel gave up{after}"),
        Some(error) => format!("the handshake failed{after}: the SYN met {error}"),
        // A SYN takes a number.
        None if closed.left.is_some_and(|left| left.unacked == 0) => {
            format!("connect() failed on this host before a SYN was sent, for want of a local port, a route or memory{after}")
        }
        None => format!("{} while the handshake was under way{after}", closer(closed.by)),
    }
}

fn local_abort(evidence: &Evidence<'_>) -> String {
    let closed = evidence.closed;
    let left = closed.left.unwrap_or_default();
    let reason = evidence.signs.reset.as_ref().and_then(|reset| reset.reason.as_deref());
    // Where the kernel names no reason, what was left on the socket tells.
    let unread = match reason {
        Some(reason) => reason == "TCP_ABORT_ON_CLOSE",
        None => left.unread > 0,
    };
    let patience = match reason {
        Some(reason) => reason == "TCP_ABORT_ON_LINGER",
        None => left.no_linger2 && closed.from == State::FIN_WAIT2,
    };
    if closed.unaccepted {
        return format!("no process had accepted it, and {} the listener, so the kernel sent RST", closer(closed.by));
    }
    let how = if evidence.signs.reset.is_none() {
        "without FIN, and no RST of this host was seen (TCP_REPAIR, or its reset was missed)".to_owned()
    } else if unread {
        format!("with {} unread, so the kernel sent RST instead of FIN", counted(left.unread.into(), "byte"))
    } else if patience {
        "with TCP_LINGER2 below 0, so the kernel sent RST instead of waiting in FIN_WAIT2".to_owned()
    } else if reason == Some("TCP_DISCONNECT_WITH_DATA") || left.unsent > 0 && closed.from == State::LAST_ACK {
        format!("by disconnecting with {} unsent, so the kernel sent RST", counted(left.unsent.into(), "byte"))
    } else if left.linger_zero {
        "with SO_LINGER 0, so the kernel sent RST instead of FIN".to_owned()
    } else {
        "by disconnecting, so the kernel sent RST".to_owned()
    };
    format!("{} {how}", closer(closed.by))
}

fn unknown(evidence: &Evidence<'_>) -> String {
    let closed = evidence.closed;
    if closed.is_unseen() {
        return "its end was lost with other events, and nothing that was seen before tells why it ended".to_owned();
    }
    let error = closed.errno.map_or_else(|| "no error".to_owned(), |error| error.to_string());
    let left = closed.left.map_or_else(
        || "nothing known of what was left".to_owned(),
        |left| format!("{} unacknowledged, {} unsent", left.unacked, left.unsent),
    );
    format!("it closed from {} with {error}, {left}: please report this", closed.from)
}

fn limit(settings: Option<Settings>, otherwise: &str) -> String {
    match settings.map(|settings| settings.user_timeout_ms) {
        Some(ms @ 1..) => format!("TCP_USER_TIMEOUT of {} ended it", seconds(ms.into())),
        _ => otherwise.to_owned(),
    }
}

fn what_is_left(left: Left) -> String {
    match left.unacked.saturating_add(left.unsent) {
        0 | 1 => "its FIN".to_owned(),
        more => format!("{} and its FIN", counted((more - 1).into(), "byte")),
    }
}

fn bytes_were(count: u32, done: &str) -> String {
    format!("{} {} {done}", counted(count.into(), "byte"), if count == 1 { "was" } else { "were" })
}

fn idle(evidence: &Evidence<'_>) -> String {
    seconds_or_unknown(evidence.idle_ms.and_then(|ms| i64::try_from(ms).ok()))
}

fn named(task: Task) -> String {
    [&task.comm.text(), "[", itoa::Buffer::new().format(task.pid), "]"].concat()
}

/// `nginx[812] closed`
fn closer(task: Option<Task>) -> String {
    around_closer("", task, "")
}

/// The same, and what stands around it.
fn around_closer(before: &str, task: Option<Task>, after: &str) -> String {
    let Some(Task { comm, pid }) = task else { return [before, "this side closed", after].concat() };
    // Every end that is told has one of these, and formatting costs more than all else of it.
    let (comm, mut digits) = (comm.text(), itoa::Buffer::new());
    let (pid, closed) = (digits.format(pid), "] closed");
    let mut why = String::with_capacity(before.len() + comm.len() + 1 + pid.len() + closed.len() + after.len());
    why += before;
    why += &comm;
    why.push('[');
    why += pid;
    why += closed;
    why += after;
    why
}

fn closed_by(what: &str, task: Option<Task>) -> String {
    task.map_or_else(|| what.to_owned(), |task| format!("{what} that {} had closed", named(task)))
}
