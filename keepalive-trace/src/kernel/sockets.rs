//! The connections that are there already, in every network namespace, with who holds them.
use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use keepalive_trace_ebpf::{Held, Record};

use super::{namespaces::Namespaces, owner::Owners, probes::Probes, walk};

/// What was there at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// In the order of their times.
    pub connections: Vec<Record>,
    pub holders: Vec<Held>,
    /// Why some may be missing.
    pub failures: Vec<anyhow::Error>,
}

impl Snapshot {
    /// Looks into these namespaces, or all that can be found.
    ///
    /// # Errors
    /// When the kernel's list of open files can't be read.
    pub fn take(probes: &mut Probes, owners: &mut Owners, netns: &[u32]) -> Result<Self> {
        let holders = owners.look(probes)?;
        let mut namespaces = Namespaces::find();
        let mut failures = Vec::new();
        let by_socket: BTreeMap<u32, &Held> = holders.iter().map(|held| (held.netns, held)).collect();
        for (inode, held) in by_socket {
            // Somebody who closes it meanwhile takes the need along.
            if inode != 0
                && !namespaces.has(inode)
                && let Err(error) = namespaces.add_of_socket(inode, held.pid, held.fd)
            {
                failures.push(anyhow::Error::new(error).context(format!("cannot open the network namespace {inode}")));
            }
        }
        let namespaces = namespaces.only(netns);
        let walkers = std::sync::Mutex::new(probes);
        let (connections, refused) = namespaces.visit(|| {
            let walker = walkers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).walker("sockets")?;
            walker.map_or_else(|| Ok(Vec::new()), walk::all::<Record>).context("cannot list the connections (iter/tcp)")
        });
        failures.extend(refused);
        let mut connections = connections.concat();
        connections.sort_by_key(|record| record.mono_ns);
        Ok(Self { connections, holders, failures })
    }
}
