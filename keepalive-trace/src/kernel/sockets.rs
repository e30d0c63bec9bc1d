//! The sockets that are there, in every network namespace, with who holds them.
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use keepalive_trace_ebpf::{Held, Record};

use super::{
    namespaces::Namespaces,
    owner::Owners,
    probes::Probes,
    record::{Reader, holding},
    walk,
};
use crate::model::{
    holding::{Holding, Use, chosen, holders_of},
    listing::Listed,
    owner::Owners as Wanted,
};

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

/// What was there, read and with its owners: one at a time, since there may be a million.
pub struct Inventory<'a> {
    reader: &'a mut Reader,
    wanted: &'a Wanted,
    /// By socket.
    holders: Vec<Holding>,
    /// Records that made no sense.
    pub senseless: u64,
}

impl<'a> Inventory<'a> {
    pub fn new(reader: &'a mut Reader, wanted: &'a Wanted, holders: &[Held]) -> Self {
        Self { reader, wanted, holders: holders.iter().map(holding).collect(), senseless: 0 }
    }

    /// Says what is missing, where something is.
    pub fn complain(&self) {
        if self.senseless > 0 {
            log::warn!("{} sockets are missing: their records made no sense (a defect: please report it)", self.senseless);
        }
    }

    /// None where nobody asked for its owner, or where it makes no sense.
    pub fn listed(&mut self, record: &Record) -> Option<Listed> {
        let of = Use { netns: Some(record.netns), local_port: record.lport, remote_port: record.rport, opener: None };
        let owner = chosen(self.wanted, holders_of(&self.holders, record.sk), of);
        if !self.wanted.wants(owner.as_ref().map(|owner| &owner.task)) {
            return None;
        }
        let listed = self.reader.listed(record, owner);
        self.senseless += u64::from(listed.is_none());
        listed
    }
}
