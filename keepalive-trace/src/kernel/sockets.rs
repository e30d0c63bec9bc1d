//! The sockets that are there, in every network namespace, with who holds them.
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use keepalive_trace_ebpf::{Held, Record};

use super::{namespaces::Namespaces, owner::Owners, probes::Probes, walk};

/// What was there at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// One namespace's after the other's.
    pub sockets: Vec<Record>,
    pub holders: Vec<Held>,
    /// Those that were looked into, or tried.
    pub namespaces: Namespaces,
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
        let walkers = Mutex::new(probes);
        let sockets = Mutex::new(Vec::new());
        let (_, refused) = namespaces.visit(|_| {
            let walker = walkers.lock().unwrap_or_else(PoisonError::into_inner).walker("sockets")?;
            let Some(walker) = walker else { return Ok(()) };
            let listed = walk::all::<Record>(walker).context("cannot list the sockets (iter/tcp)")?;
            let mut all = sockets.lock().unwrap_or_else(PoisonError::into_inner);
            if all.is_empty() {
                *all = listed;
            } else {
                all.extend(listed);
            }
            Ok(())
        });
        failures.extend(refused);
        Ok(Self { sockets: sockets.into_inner().unwrap_or_else(PoisonError::into_inner), holders, namespaces, failures })
    }
}
