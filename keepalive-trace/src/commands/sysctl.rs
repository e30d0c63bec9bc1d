//! `sysctl`: the values of every network namespace, who writes them, and which connections follow when.
use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Result;

use super::{
    live::{Session, start},
    sockets::scope,
};
use crate::{
    cli::SysctlArgs,
    kernel::{
        cgroups::Cgroups,
        facts,
        filters::Filters,
        layout, namespaces,
        owner::Owners,
        probes::{Options, Probes},
        record::Reader,
        sockets::{Inventory, Snapshot},
        sysctls,
    },
    model::{
        event::{Body, Event, Namespace, Via},
        findings, owner,
        settings::Origin,
        state::State,
    },
    output::{self, Printer},
};

pub fn run(args: &SysctlArgs) -> Result<ExitCode> {
    output::log_to_stderr(args.kernel.verbose);
    let filters = scope(&args.filters, &args.scope)?;
    if args.once {
        return match once(args, &filters) {
            Err(error) if output::is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
            result => result.map(|()| ExitCode::SUCCESS),
        };
    }
    let wanted = args.filters.owners();
    Session {
        subject: "writes to net.ipv4.tcp_keepalive_*",
        args: &args.filters,
        opening: &|probes| compare(probes, &filters, &wanted),
        filters: filters.clone(),
        look: Some(args.output.look()),
        duration: args.output.duration,
        count: args.output.count,
        kernel: &args.kernel,
        exact_replies: false,
        http: false,
        quiet: false,
        max_connections: args.max_connections as usize,
        shows: &shows,
        histories: None,
        record: None,
        report: None,
    }
    .run()
}

/// What is about sysctls: the writes, the connections that come to follow, and those that ended before they did.
fn shows(event: &Event) -> bool {
    match &event.body {
        Body::Settings(_, changed) => matches!(changed.via, Some(Via::Sysctl { .. })),
        Body::End(_, end) => end.armed_before_sysctl,
        Body::Start(_) | Body::Namespace(_) | Body::Sysctl(..) | Body::Uneventful(_) | Body::Lost(_) | Body::Stop(_) => true,
        Body::Open(..)
        | Body::Owner(_)
        | Body::Probe(..)
        | Body::Timer(..)
        | Body::Reply(..)
        | Body::Reset(..)
        | Body::Http(..) => false,
    }
}

/// Prints the comparison, and hooks nothing.
fn once(args: &SysctlArgs, filters: &Filters) -> Result<()> {
    let hz = facts::hz()?;
    let layout = layout::of_running_kernel()?;
    let mut probes = Probes::walk_only(&Options::to_walk(hz, &layout, filters, &State::CONNECTIONS))?;
    let mut screen = Printer::new(&args.output.look());
    let (mono_ns, start) = start(hz, None);
    screen.show(&Event { mono_ns, body: Body::Start(start) })?;
    for event in compare(&mut probes, filters, &args.filters.owners())? {
        screen.show(&event)?;
    }
    screen.flush()
}

/// Every namespace's values, and how many connections follow them.
fn compare(probes: &mut Probes, filters: &Filters, wanted: &owner::Owners) -> Result<Vec<Event>> {
    let Snapshot { sockets, holders, namespaces, failures } = Snapshot::take(probes, &mut Owners::default(), &filters.netns)?;
    let (values, refused) = sysctls::of(&namespaces);
    for failure in failures.iter().chain(&refused) {
        log::warn!("some namespaces are not shown, or their sockets not counted: {failure:#}");
    }
    let (names, host) = (namespaces::named(), sysctls::of_host());
    let mut shown: BTreeMap<u32, Namespace> = BTreeMap::new();
    for (netns, sysctls) in values {
        let namespace = Namespace {
            netns,
            host: host.map(|(inode, _)| inode == netns),
            name: names.get(&netns).cloned(),
            sysctls,
            sockets: 0,
            keepalive: 0,
            follow: 0,
            findings: findings::of_namespace(netns, &sysctls, host.as_ref()),
        };
        shown.insert(netns, namespace);
    }
    let mut reader = Reader { hz: facts::hz()?, reasons: BTreeMap::new(), cgroups: Cgroups::default() };
    let mut inventory = Inventory::new(&mut reader, wanted, &holders);
    for record in &sockets {
        let (Some(listed), Some(namespace)) = (inventory.listed(record), shown.get_mut(&record.netns)) else { continue };
        namespace.sockets += 1;
        let Some(settings) = listed.socket.settings.filter(|settings| settings.keepalive) else { continue };
        namespace.keepalive += 1;
        let origins = [settings.time_s.origin, settings.intvl_s.origin, settings.probes.origin];
        namespace.follow += u64::from(origins.contains(&Origin::Sysctl));
    }
    inventory.complain();
    let now = facts::mono_ns();
    Ok(shown.into_values().map(|namespace| Event { mono_ns: now, body: Body::Namespace(namespace) }).collect())
}
