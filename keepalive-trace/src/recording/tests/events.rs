//! Events of any kind, with anything in them: also what no kernel would ever say. Every strategy is boxed: as they are, they take
//! more than a test's stack.
use std::net::{IpAddr, SocketAddr};

use proptest::{option, prelude::*, sample::select};

use super::super::words::Word;
use crate::model::{
    errno::Errno,
    event::{
        Body, Changed, ConnId, Connection, End, Event, Family, How, Lost, Open, Outcome, Place, Precision, Probe, ProbeResult,
        Reply, ReplyKind, Reset, Timer, Uneventful, Via,
    },
    http::{self, Cause, Finding, Findings, Http, Line, Method, Promise, Saved, SavedFrom, Tokens},
    owner::{Comm, Owner, Task},
    settings::{Origin, Settings, Sourced},
    state::State,
    sysctl::{Deadlines, Following, Name, Write},
    verdict::Verdict,
};

fn known<W: Word + std::fmt::Debug>() -> BoxedStrategy<W> {
    select(W::KNOWN.to_vec()).boxed()
}

/// Numbers, with the extreme ones more often than they come.
fn number() -> BoxedStrategy<u64> {
    prop_oneof![select(vec![0, 1, u64::MAX, i64::MAX as u64, 1 << 63]), any::<u64>()].boxed()
}

fn signed() -> BoxedStrategy<i64> {
    number().prop_map(u64::cast_signed).boxed()
}

fn small() -> BoxedStrategy<u32> {
    prop_oneof![select(vec![0, 1, u32::MAX, 1 << 31]), any::<u32>()].boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![
        select(vec!["", "\\", "\\xff", "\0", "\u{1b}[2J", "a\nb", "\"", ",", "=1+1", "\u{202e}"]).prop_map(str::to_owned),
        any::<String>(),
    ]
    .boxed()
}

fn comm() -> BoxedStrategy<Comm> {
    prop_oneof![
        select(vec!["", "\\", "\\x41", "\\\\", "ev\u{1b}il", "nginx"]).prop_map(Comm::from),
        any::<[u8; 16]>().prop_map(Comm::from),
    ]
    .boxed()
}

fn task() -> BoxedStrategy<Task> {
    (small(), comm()).prop_map(|(pid, comm)| Task { pid, comm }).boxed()
}

fn address() -> BoxedStrategy<SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|v4| std::net::Ipv4Addr::from(v4).to_ipv6_mapped().into()),
        any::<[u8; 4]>().prop_map(|v4| std::net::Ipv4Addr::from(v4).to_ipv6_compatible().into()),
        select(vec!["::", "::1", "0.0.0.0", "255.255.255.255", "fe80::1"]).prop_map(|ip| ip.parse().unwrap()),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from).boxed()
}

fn settings() -> BoxedStrategy<Settings> {
    (any::<bool>(), any::<[i32; 2]>(), small(), small(), [known::<Origin>(), known(), known()])
        .prop_map(|(keepalive, [time, intvl], probes, user_timeout_ms, [one, two, three])| Settings {
            keepalive,
            time_s: Sourced { value: time, origin: one },
            intvl_s: Sourced { value: intvl, origin: two },
            probes: Sourced { value: probes, origin: three },
            user_timeout_ms,
        })
        .boxed()
}

fn connection() -> BoxedStrategy<Connection> {
    let about = (number(), option::of(number()), select(vec![Family::V4, Family::V6]), address(), address());
    let owner = option::of((task(), small()).prop_map(|(task, holders)| Owner { task, holders }));
    let place = (option::of(small()), option::of(text()), owner, any::<u8>());
    (about, place, option::of(settings()), option::of(number()), option::of(small()))
        .prop_map(|((id, cookie, family, local, remote), (netns, cgroup, owner, state), settings, idle_ms, probes_out)| {
            Connection {
                id: ConnId(id),
                cookie,
                family,
                local,
                remote,
                netns,
                cgroup: cgroup.map(Into::into),
                owner,
                state: State(state),
                settings,
                idle_ms,
                probes_out,
            }
        })
        .boxed()
}

fn ends() -> BoxedStrategy<End> {
    let saved = (number(), known::<SavedFrom>()).prop_map(|(us, from)| Saved { us, from });
    let findings = proptest::collection::vec(select(Finding::ALL.to_vec()), 0..4).prop_map(Findings::from_iter);
    let http = (option::of(known::<Cause>()), small(), small(), option::of(saved), findings).prop_map(
        |(cause, requests, responses, saved, findings)| Box::new(http::End { cause, requests, responses, saved, findings }),
    );
    let end = (known::<Verdict>(), option::of(any::<u16>()), small(), small(), option::of(number()), any::<bool>(), text());
    (end, option::of(http))
        .prop_map(|((verdict, errno, probes_sent, unanswered, age_ms, armed_before_sysctl, why), http)| End {
            verdict,
            errno: errno.map(Errno),
            probes_sent,
            unanswered,
            age_ms,
            armed_before_sysctl,
            why,
            http,
        })
        .boxed()
}

fn writes(mono_ns: u64) -> BoxedStrategy<Body> {
    let by =
        option::of(any::<[u64; 3]>().prop_map(|[nearest_ns, median_ns, last_ns]| Deadlines { nearest_ns, median_ns, last_ns }));
    let following = option::of(([number(), number(), number(), number(), number()], by).prop_map(
        |([sockets, now, later, never_socket, never_off], by)| Following { sockets, now, later, never_socket, never_off, by },
    ));
    let write = (small(), known::<Name>(), signed(), signed(), option::of(any::<u16>()), option::of(task()));
    (write, following)
        .prop_map(move |((netns, name, old, new, refused, by), following)| {
            Body::Sysctl(Write { mono_ns, netns, name, old, new, refused: refused.map(Errno), by }, following)
        })
        .boxed()
}

fn messages() -> BoxedStrategy<Http> {
    let line = prop_oneof![known::<Method>().prop_map(Line::Request), any::<u16>().prop_map(Line::Response)];
    let tokens = any::<[bool; 3]>().prop_map(|[close, keep_alive, upgrade]| Tokens { close, keep_alive, upgrade });
    let promise = (option::of(small()), option::of(small())).prop_map(|(timeout_s, max)| Promise { timeout_s, max });
    (line, small(), tokens, promise, option::of(number()))
        .prop_map(|(line, n, connection, promise, idle_before_ms)| Http { line, n, connection, promise, idle_before_ms })
        .boxed()
}

fn body(mono_ns: u64) -> BoxedStrategy<Body> {
    let via = option::of(prop_oneof![Just(Via::Setsockopt), small().prop_map(|waited_ms| Via::Sysctl { waited_ms })]);
    let late = || (option::of(signed()), option::of(signed()), option::of(signed()));
    prop_oneof![
        (connection(), known::<How>(), option::of(number()))
            .prop_map(|(it, how, connect_us)| Body::Open(it, Open { how, connect_us })),
        connection().prop_map(Body::Owner),
        (connection(), option::of(task()), via).prop_map(|(it, by, via)| Body::Settings(it, Changed { by, via })),
        (connection(), option::of(small()), option::of(known::<ProbeResult>()), late()).prop_map(
            |(it, n, result, (next_ms, late_ms, wheel_ms))| Body::Probe(it, Probe { n, result, next_ms, late_ms, wheel_ms })
        ),
        (connection(), known::<Outcome>(), late()).prop_map(|(it, outcome, (next_ms, late_ms, wheel_ms))| Body::Timer(
            it,
            Timer { outcome, next_ms, late_ms, wheel_ms }
        )),
        (connection(), option::of(small()), known::<ReplyKind>(), option::of(number()), known::<Precision>(), small())
            .prop_map(|(it, n, kind, rtt_us, precision, missed)| Body::Reply(it, Reply { n, kind, rtt_us, precision, missed })),
        (connection(), option::of(text()), option::of(known::<Verdict>()), option::of(task()))
            .prop_map(|(it, reason, cause, task)| Body::Reset(it, Reset { reason: reason.map(Into::into), cause, task })),
        (connection(), messages()).prop_map(|(it, http)| Body::Http(it, http)),
        (connection(), ends()).prop_map(|(it, end)| Body::End(it, end)),
        writes(mono_ns),
        (known::<Verdict>(), option::of(text()), number()).prop_map(|(verdict, cgroup, count)| {
            Body::Uneventful(Uneventful { verdict, cgroup: cgroup.map(Into::into), count })
        }),
        (number(), known::<Place>()).prop_map(|(count, place)| Body::Lost(Lost { count, place })),
    ]
    .boxed()
}

pub(super) fn event() -> BoxedStrategy<Event> {
    number().prop_flat_map(|mono_ns| body(mono_ns).prop_map(move |body| Event { mono_ns, body })).boxed()
}
