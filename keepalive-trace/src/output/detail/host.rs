//! Events that are about a host and not about a connection.
use super::by;
use crate::{
    model::{
        event::{Lost, Namespace, Place},
        sysctl::{Deadlines, Following, Sysctls, Write},
    },
    output::append::Append as _,
};

/// `net.ipv4.tcp_keepalive_time 7200 s -> 600 s in netns 4026531840, by sysctl[77]: ...`
pub(in crate::output) fn sysctl(out: &mut Vec<u8>, write: &Write, following: Option<&Following>) {
    let Write { mono_ns, netns, name, old, new, refused, by: task } = write;
    let value = |out: &mut Vec<u8>, value: i64| {
        out.signed(value);
        out.text(name.unit());
    };
    let place = |out: &mut Vec<u8>| {
        out.text(" in netns ");
        out.number((*netns).into());
    };
    out.text(name.name());
    if let Some(errno) = refused {
        out.text(" stays ");
        value(out, *old);
        place(out);
        out.text(": the kernel refused a write");
        by(out, ", by ", task.as_ref());
        out.text(" (");
        out.errno(*errno);
        return out.text(")");
    }
    if old == new {
        out.text(" is written again and stays ");
        value(out, *old);
        place(out);
        return by(out, ", by ", task.as_ref());
    }
    out.text(" ");
    value(out, *old);
    out.text(" -> ");
    value(out, *new);
    place(out);
    by(out, ", by ", task.as_ref());
    let Some(following) = following else { return out.text("; its sockets were not counted") };
    let Following { sockets, now, later, never_socket, never_off, by: deadlines } = following;
    out.text(": of ");
    out.counted(*sockets, "socket");
    out.text(", ");
    out.number(*now);
    out.text(" follow at once, ");
    out.number(*later);
    out.text(" keep an armed timer");
    if let Some(Deadlines { nearest_ns, median_ns, last_ns }) = deadlines {
        let names = [(" (the next fires in ", nearest_ns), (", the median ", median_ns), (", the last ", last_ns)];
        for (name, ns) in names {
            out.text(name);
            out.seconds((ns.saturating_sub(*mono_ns) / 1_000_000) as i64);
        }
        out.text(")");
    }
    out.text(", ");
    out.number(following.never());
    out.text(" never follow (");
    out.number(*never_socket);
    out.text(" set on the socket, ");
    out.number(*never_off);
    out.text(" without keepalive)");
}

/// `7200 s, 75 s, 9 probes; 12 sockets, 3 with keepalive, 2 of them follow`
pub(in crate::output) fn namespace(out: &mut Vec<u8>, namespace: &Namespace) {
    let Namespace { netns, host, name, sysctls, sockets, keepalive, follow, findings } = namespace;
    let Sysctls { time_s, intvl_s, probes } = *sysctls;
    out.number((*netns).into());
    if let Some(name) = name {
        out.text(" ");
        out.escaped(name);
    }
    if *host == Some(true) {
        out.text(" (host)");
    }
    out.text(": tcp_keepalive_time ");
    out.signed(time_s);
    out.text(" s, intvl ");
    out.signed(intvl_s);
    out.text(" s, probes ");
    out.number(probes.into());
    out.text("; ");
    out.counted(*sockets, "socket");
    out.text(", ");
    out.number(*keepalive);
    out.text(" with keepalive, ");
    out.number(*follow);
    out.text(" of them by sysctl");
    for finding in findings {
        out.text("; ");
        out.text(finding.name());
    }
}

pub(in crate::output) fn lost(out: &mut Vec<u8>, Lost { count, place }: Lost) {
    let (what, remedy) = match place {
        Place::RingBuffer => ("events: the ring buffer was full", "a larger --buffer or a narrower filter helps"),
        Place::SkippedRun => ("runs that the kernel skipped", "another tracer was active on that CPU"),
        Place::ConnectionTable => {
            ("histories forgotten: the table was full", "a larger --max-connections or a narrower filter helps")
        }
        Place::Reader => ("records that made no sense", "a defect: please report it"),
    };
    out.number(count);
    for text in [" ", what, " (", remedy, ")"] {
        out.text(text);
    }
}
