//! The lines that are about sysctls and not about a connection.
use serde::Serialize;
use serde_with::skip_serializing_none;

use super::wall_time;
use crate::model::{
    event::Namespace,
    sysctl::{Deadlines, Following, Sysctls, Write},
};

/// Every key of a write, in the order in which it is printed. The key names are the contract.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(super) struct WriteLine {
    event: &'static str,
    time: String,
    mono_ns: u64,
    name: &'static str,
    old: i64,
    new: Option<i64>,
    errno: Option<String>,
    netns: u32,
    task_pid: Option<u32>,
    task_comm: Option<String>,
    sockets: Option<u64>,
    follow_now: Option<u64>,
    follow_later: Option<u64>,
    follow_never: Option<u64>,
    never_socket: Option<u64>,
    never_off: Option<u64>,
    nearest_at: Option<String>,
    median_at: Option<String>,
    last_at: Option<String>,
}

/// The same of a namespace.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(super) struct NamespaceLine<'a> {
    event: &'static str,
    time: String,
    mono_ns: u64,
    netns: u32,
    host: Option<bool>,
    name: Option<&'a str>,
    time_s: i64,
    intvl_s: i64,
    probes: u32,
    sockets: u64,
    keepalive: u64,
    follow: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<&'static str>,
}

pub(super) fn write(write: &Write, following: Option<&Following>, wall_offset_ns: i64) -> WriteLine {
    let Write { mono_ns, netns, name, old, new, refused, by } = write;
    let at = |moment: fn(&Deadlines) -> u64| {
        following.and_then(|following| following.by.as_ref()).map(|by| wall_time(moment(by), wall_offset_ns))
    };
    WriteLine {
        event: "sysctl",
        time: wall_time(*mono_ns, wall_offset_ns),
        mono_ns: *mono_ns,
        name: name.name(),
        old: *old,
        new: refused.is_none().then_some(*new),
        errno: refused.map(|errno| errno.to_string()),
        netns: *netns,
        task_pid: by.map(|task| task.pid),
        task_comm: by.map(|task| task.comm.to_string()),
        sockets: following.map(|following| following.sockets),
        follow_now: following.map(|following| following.now),
        follow_later: following.map(|following| following.later),
        follow_never: following.map(Following::never),
        never_socket: following.map(|following| following.never_socket),
        never_off: following.map(|following| following.never_off),
        nearest_at: at(|by| by.nearest_ns),
        median_at: at(|by| by.median_ns),
        last_at: at(|by| by.last_ns),
    }
}

pub(super) fn namespace(namespace: &Namespace, mono_ns: u64, wall_offset_ns: i64) -> NamespaceLine<'_> {
    let Namespace { netns, host, name, sysctls, sockets, keepalive, follow, findings } = namespace;
    let Sysctls { time_s, intvl_s, probes } = *sysctls;
    NamespaceLine {
        event: "namespace",
        time: wall_time(mono_ns, wall_offset_ns),
        mono_ns,
        netns: *netns,
        host: *host,
        name: name.as_deref(),
        time_s,
        intvl_s,
        probes,
        sockets: *sockets,
        keepalive: *keepalive,
        follow: *follow,
        findings: findings.iter().map(|finding| finding.name()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::event::{Body, Event},
        output::samples,
    };

    fn printed(event: &Event) -> String {
        match &event.body {
            Body::Sysctl(written, following) => serde_json::to_string(&write(written, following.as_ref(), 0)).unwrap(),
            Body::Namespace(it) => serde_json::to_string(&namespace(it, event.mono_ns, 0)).unwrap(),
            _ => panic!("{event:?}"),
        }
    }

    #[test]
    fn a_write_says_who_and_what_and_who_follows_when() {
        let [written, refused] = samples::writes();
        assert_eq!(
            printed(&written),
            concat!(
                r#"{"event":"sysctl","time":"1970-01-01T00:00:04.100000007Z","mono_ns":4100000007,"name":"net.ipv4.tcp_keepalive_time","#,
                r#""old":7200,"new":600,"netns":4026531840,"task_pid":77,"task_comm":"sysctl","sockets":12,"follow_now":1,"#,
                r#""follow_later":2,"follow_never":9,"never_socket":2,"never_off":7,"nearest_at":"1970-01-01T00:00:13.000000000Z","#,
                r#""median_at":"1970-01-01T00:10:04.000000000Z","last_at":"1970-01-01T01:58:24.000000000Z"}"#
            )
        );
        assert!(printed(&refused).contains(r#""old":9,"errno":"EINVAL","netns""#), "{}", printed(&refused));
    }

    #[test]
    fn a_namespace_says_its_values_and_whom_they_matter_to() {
        let expected = concat!(
            r#"{"event":"namespace","time":"1970-01-01T00:00:01.000000008Z","mono_ns":1000000008,"netns":4026531840,"host":true,"#,
            r#""time_s":7200,"intvl_s":0,"probes":9,"sockets":12,"keepalive":5,"follow":3,"findings":["dangerous-sysctl"]}"#
        );
        assert_eq!(printed(&samples::namespace()), expected);
    }
}
