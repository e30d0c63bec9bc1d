//! Which connections, and which of their events, somebody wants to see of what is already known.
use std::net::SocketAddr;

use ipnet::IpNet;

use super::{
    event::{Body, ConnId, Connection, Event, Family, Uneventful},
    history::History,
    owner::{Owners, Task},
    selection::PortRange,
    verdict::Verdict,
};

/// An empty list selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub connections: Vec<ConnId>,
    pub owners: Owners,
    pub local_ports: Vec<PortRange>,
    pub remote_ports: Vec<PortRange>,
    pub local_addresses: Vec<IpNet>,
    pub remote_addresses: Vec<IpNet>,
    pub family: Option<Family>,
    /// Inodes.
    pub netns: Vec<u32>,
    /// Paths from the hierarchy's root: these and all below.
    pub cgroups: Vec<String>,
    pub hosts: Vec<String>,
    /// None stands for a connection that has not ended.
    pub verdicts: Vec<Option<Verdict>>,
    /// Nanoseconds since 1970.
    pub since_ns: Option<i64>,
    pub until_ns: Option<i64>,
}

/// What a connection is chosen by.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    id: ConnId,
    family: Family,
    local: SocketAddr,
    remote: SocketAddr,
    netns: Option<u32>,
    cgroup: Option<&'a str>,
    task: Option<Task>,
}

impl<'a> Subject<'a> {
    pub fn of_history(history: &History, cgroup: Option<&'a str>) -> Self {
        Self {
            id: history.id,
            family: history.family,
            local: history.local(),
            remote: history.remote(),
            netns: history.netns(),
            cgroup,
            task: history.owner().map(|owner| owner.task),
        }
    }

    pub fn of_connection(connection: &'a Connection) -> Self {
        Self {
            id: connection.id,
            family: connection.family,
            local: connection.local,
            remote: connection.remote,
            netns: connection.netns,
            cgroup: connection.cgroup.as_deref(),
            task: connection.owner.map(|owner| owner.task),
        }
    }
}

fn any<T>(list: &[T], fits: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(fits)
}

impl Choice {
    pub fn host(&self, name: &str) -> bool {
        any(&self.hosts, |host| host == name)
    }

    pub fn verdict(&self, verdict: Option<Verdict>) -> bool {
        any(&self.verdicts, |wanted| *wanted == verdict)
    }

    pub fn connection(&self, subject: &Subject) -> bool {
        let port = |ports: &[PortRange], port: u16| any(ports, |range| (range.first..=range.last).contains(&port));
        let address = |blocks: &[IpNet], address: SocketAddr| any(blocks, |block| block.contains(&address.ip()));
        any(&self.connections, |id| *id == subject.id)
            && self.owners.wants(subject.task.as_ref())
            && port(&self.local_ports, subject.local.port())
            && port(&self.remote_ports, subject.remote.port())
            && address(&self.local_addresses, subject.local)
            && address(&self.remote_addresses, subject.remote)
            && self.family.is_none_or(|family| family == subject.family)
            && any(&self.netns, |netns| Some(*netns) == subject.netns)
            && self.cgroup(subject.cgroup)
    }

    /// Whether connections that ended like this on a host, of which nothing else is known, are selected.
    pub fn uneventful(&self, host: &str, ended: &Uneventful) -> bool {
        let Uneventful { verdict, cgroup, count: _ } = ended;
        let Self {
            connections,
            owners,
            local_ports,
            remote_ports,
            local_addresses,
            remote_addresses,
            family,
            netns,
            cgroups: _,
            hosts: _,
            verdicts: _,
            since_ns: _,
            until_ns: _,
        } = self;
        let by_tuple = !connections.is_empty()
            || !owners.wants(None)
            || [local_ports, remote_ports].iter().any(|ports| !ports.is_empty())
            || [local_addresses, remote_addresses].iter().any(|blocks| !blocks.is_empty())
            || family.is_some()
            || !netns.is_empty();
        !by_tuple && self.host(host) && self.verdict(Some(*verdict)) && self.cgroup(cgroup.as_deref())
    }

    fn cgroup(&self, path: Option<&str>) -> bool {
        let below = |path: &str, folder: &String| {
            let folder = folder.trim_end_matches('/');
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        any(&self.cgroups, |folder| path.is_some_and(|path| below(path, folder)))
    }

    /// Whether something of a run, between these moments of CLOCK_MONOTONIC, lies in the time that is wanted.
    pub fn overlaps(&self, from_ns: u64, to_ns: u64, wall_offset_ns: i64) -> bool {
        let wall = |ns: u64| wall_offset_ns.saturating_add_unsigned(ns);
        self.since_ns.is_none_or(|since| wall(to_ns) >= since) && self.until_ns.is_none_or(|until| wall(from_ns) <= until)
    }

    /// Whether an event is shown by itself. What is of no connection is shown in any case, but for sysctls of other namespaces.
    pub fn event(&self, event: &Event, wall_offset_ns: i64) -> bool {
        let of_it = match &event.body {
            Body::Sysctl(write, _) => any(&self.netns, |netns| *netns == write.netns),
            Body::End(connection, end) => self.connection(&Subject::of_connection(connection)) && self.verdict(Some(end.verdict)),
            body => body.connection().is_none_or(|connection| self.connection(&Subject::of_connection(connection))),
        };
        of_it && self.overlaps(event.mono_ns, event.mono_ns, wall_offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject<'static> {
        Subject {
            id: ConnId(1),
            family: Family::V4,
            local: SocketAddr::from(([10, 0, 0, 5], 51334)),
            remote: SocketAddr::from(([10, 0, 0, 9], 5432)),
            netns: Some(7),
            cgroup: Some("/system.slice/app.service"),
            task: None,
        }
    }

    #[test]
    fn everything_is_chosen_unless_somebody_says_what() {
        let choice = Choice::default();
        assert!(choice.connection(&subject()) && choice.host("db1") && choice.verdict(None) && choice.overlaps(0, 1, 0));
    }

    #[test]
    fn each_filter_leaves_out_what_does_not_fit() {
        let fits = |choice: Choice| choice.connection(&subject());
        let none = Choice::default;
        assert!(fits(Choice { remote_ports: vec![PortRange { first: 5000, last: 6000 }], ..none() }));
        assert!(!fits(Choice { local_ports: vec![PortRange { first: 5000, last: 6000 }], ..none() }));
        assert!(fits(Choice { remote_addresses: vec!["10.0.0.0/8".parse().unwrap()], ..none() }));
        assert!(!fits(Choice { local_addresses: vec!["192.168.0.0/16".parse().unwrap()], ..none() }));
        assert!(!fits(Choice { family: Some(Family::V6), ..none() }));
        assert!(!fits(Choice { netns: vec![8], ..none() }) && fits(Choice { netns: vec![8, 7], ..none() }));
        assert!(fits(Choice { cgroups: vec!["/system.slice/".to_owned()], ..none() }));
        assert!(!fits(Choice { cgroups: vec!["/system".to_owned()], ..none() }), "a folder is no prefix of a name");
        assert!(!fits(Choice { owners: Owners { pids: vec![1], comms: Vec::new() }, ..none() }));
        assert!(!fits(Choice { connections: vec![ConnId(2)], ..none() }));
    }

    #[test]
    fn a_history_is_of_a_time_when_it_has_a_part_in_it() {
        let choice = Choice { since_ns: Some(1000), until_ns: Some(2000), ..Choice::default() };
        let overlaps = |from, to| choice.overlaps(from, to, 500);
        assert!(overlaps(0, 500) && overlaps(0, 5000) && overlaps(1500, 9999));
        assert!(!overlaps(0, 499) && !overlaps(1501, 9999));
    }
}
