//! `sockets`: every socket now, what is in force on it, and what is wrong with it.
use std::{cmp::Reverse, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use keepalive_trace_ebpf::Record;

use crate::{
    cli::{FilterArgs, ScopeArgs, SocketsArgs, Sort, Switch},
    kernel::{
        cgroups::Cgroups,
        facts,
        filters::Filters,
        layout,
        namespaces::Namespaces,
        owner::Owners,
        probes::{Options, Probes},
        record::Reader,
        sockets::{Inventory, Snapshot},
        sysctls,
    },
    model::{
        deadlines,
        findings::{self, Limits},
        inventory::{Row, Sum},
        state::State,
    },
    output::{self, Listing, Look},
};

pub fn run(args: &SocketsArgs) -> Result<ExitCode> {
    output::log_to_stderr(args.verbose);
    match list(args) {
        Err(error) if output::is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        Ok(sum) if args.fail && sum.found() > 0 => Ok(ExitCode::FAILURE),
        result => result.map(|_| ExitCode::SUCCESS),
    }
}

fn list(args: &SocketsArgs) -> Result<Sum> {
    let filters = scope(&args.filters, &args.scope)?;
    let hz = facts::hz()?;
    let layout = layout::of_running_kernel()?;
    let listeners: &[State] = if args.listen { &[State::LISTEN] } else { &[] };
    let listed = [&State::CONNECTIONS[..], listeners].concat();
    let mut probes = Probes::walk_only(&Options::to_walk(hz, &layout, &filters, &listed))?;
    if !probes.lists().any(|list| list == "tcp") {
        bail!("this kernel can't list its sockets for us (iter/tcp: Linux 5.9, CONFIG_BPF_SYSCALL=y, CONFIG_DEBUG_INFO_BTF=y)");
    }
    let Snapshot { sockets, holders, namespaces: _, failures } =
        Snapshot::take(&mut probes, &mut Owners::default(), &filters.netns)?;
    drop(probes);
    for failure in &failures {
        log::warn!("some sockets are not listed: {failure:#}");
    }
    let host = sysctls::of_host();
    if args.lint && host.is_none() {
        log::warn!("netns-differs is not looked for: the first process's network namespace can't be read (/proc/1/ns/net)");
    }
    let mut reader = Reader { hz, reasons: layout.reset_reasons, cgroups: Cgroups::mounted() };
    let wanted = args.filters.owners();
    let mut rows = Rows {
        inventory: Inventory::new(&mut reader, &wanted, &holders),
        limits: Limits { hz, idle_limit_ms: args.idle_limit.map(ms), detect_within_ms: args.detect_within.map(ms), host },
    };
    drop(holders);
    let order = rows.order(&sockets, args.sort);
    let look = Look { json: args.json, wide: args.wide, reports: false, wall_clock: false, colors: args.color.into() };
    let mut listing = Listing::begin(&look, facts::wall_offset_ns(), args.lint)?;
    let mut sum = Sum::default();
    for place in order {
        let Some(row) = rows.row(&sockets[place as usize]) else { continue };
        sum.add(&row);
        if !args.lint || !row.found.is_empty() {
            listing.row(&row)?;
        }
    }
    rows.inventory.complain();
    listing.end(&sum, facts::mono_ns())?;
    Ok(sum)
}

/// The filters, with the namespaces that are looked into.
pub(super) fn scope(filters: &FilterArgs, scope: &ScopeArgs) -> Result<Filters> {
    let mut selection = filters.selection();
    if scope.all_netns == Switch::Off {
        let own = Namespaces::own().context("cannot tell which network namespace this is (/proc/thread-self/ns/net)")?;
        selection.netns = vec![own.to_string()];
    }
    Filters::resolve(&selection)
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// What makes rows of records.
struct Rows<'a> {
    inventory: Inventory<'a>,
    limits: Limits,
}

impl Rows<'_> {
    fn row(&mut self, record: &Record) -> Option<Row> {
        let listed = self.inventory.listed(record)?;
        let hz = self.limits.hz;
        Some(Row {
            hz,
            fires: listed.fires(hz),
            detect_ms: deadlines::detection(&listed, hz),
            found: findings::lint(&listed, &self.limits),
            listed,
        })
    }

    /// In which order they come, by their places: records stay where they are, and records until they are printed, since there
    /// may be a million.
    fn order(&mut self, sockets: &[Record], by: Sort) -> Vec<u32> {
        let mut order: Vec<u32> = (0..).take(sockets.len()).collect();
        let at = |place: &u32| &sockets[*place as usize];
        let local = |record: &Record| (record.laddr.map(u64::to_be), record.lport);
        let remote = |record: &Record| (record.raddr.map(u64::to_be), record.rport);
        match by {
            Sort::Local => order.sort_unstable_by_key(|place| (at(place).netns, local(at(place)), remote(at(place)))),
            Sort::Remote => order.sort_unstable_by_key(|place| (at(place).netns, remote(at(place)), local(at(place)))),
            Sort::Idle => order.sort_by_key(|place| Reverse(at(place).ack_age.min(at(place).data_age))),
            Sort::Probes => order.sort_by_key(|place| Reverse(at(place).probes_out)),
            Sort::Pid | Sort::Timer | Sort::Detect => order.sort_by_cached_key(|place| {
                let row = self.row(at(place))?;
                Some(match by {
                    Sort::Pid => row.listed.owner.map_or(i64::MAX, |owner| owner.task.pid.into()),
                    Sort::Timer => row.fires.map_or(i64::MAX, |fires| fires.latest_ms),
                    _ => row.detect_ms.map_or(i64::MIN, |ms| -ms),
                })
            }),
        }
        // They are counted when they are to be printed.
        self.inventory.senseless = 0;
        order
    }
}
