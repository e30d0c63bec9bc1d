//! Orderly ends that the kernel side only counts, in quiet mode.
use std::collections::HashMap;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues},
};
use keepalive_trace_ebpf::{CGROUP_SLOTS_BITS, orderly};

use super::cgroups::Cgroups;
use crate::model::{event::Uneventful, verdict::Verdict};

/// [`keepalive_trace_ebpf::EndKey`], in words: the cgroup's id, then the verdict.
type Key = [u64; 2];

/// What ends are counted under whose cgroup has no entry of its own: it is unknown, or the map is full.
const UNKNOWN_CGROUP: u64 = 0;

/// The entry of the per-CPU array: of each place a cgroup's id, then counts by verdict.
type Entry = [u64; PLACE << CGROUP_SLOTS_BITS];
const PLACE: usize = 4;

/// Reads the counts, and keeps what was reported of them.
pub struct Ends {
    /// Of most cgroups.
    entries: PerCpuArray<MapData, Entry>,
    /// Of the others.
    counts: PerCpuHashMap<MapData, Key, u64>,
    reported: HashMap<Key, u64>,
}

impl Ends {
    /// Makes the entries that must have room whatever comes.
    ///
    /// # Errors
    /// When the map is missing, or can't be written.
    pub fn watch(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf.take_map("ENDS").context("the map ENDS is missing")?;
        let mut counts: PerCpuHashMap<_, Key, u64> = map.try_into().context("the map ENDS is of another kind")?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).context("cannot count the CPUs")?;
        for verdict in [orderly::LOCAL_CLOSE, orderly::PEER_CLOSE] {
            let zero = PerCpuValues::try_from(vec![0; cpus]).context("no CPU")?;
            counts.insert([UNKNOWN_CGROUP, verdict.into()], zero, 0).context("cannot write the map ENDS")?;
        }
        let entries = ebpf.take_map("CGROUP_ENDS").context("the map CGROUP_ENDS is missing")?;
        let entries = entries.try_into().context("the map CGROUP_ENDS is of another kind")?;
        Ok(Self { entries, counts, reported: HashMap::new() })
    }

    /// What was counted since the last call.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn take(&mut self, cgroups: &mut Cgroups) -> Result<Vec<Uneventful>> {
        let mut totals: HashMap<Key, u64> = HashMap::new();
        let values = self.entries.get(&0, 0).context("cannot read the map CGROUP_ENDS")?;
        for [cgroup, _, local, peer] in values.iter().flat_map(|entry| entry.as_chunks::<PLACE>().0) {
            if local + peer > 0 {
                *totals.entry([*cgroup, orderly::LOCAL_CLOSE.into()]).or_default() += local;
                *totals.entry([*cgroup, orderly::PEER_CLOSE.into()]).or_default() += peer;
            }
        }
        for key in self.counts.keys().collect::<Result<Vec<Key>, MapError>>().context("cannot read the map ENDS")? {
            let total: u64 = self.counts.get(&key, 0).context("cannot read the map ENDS")?.iter().sum();
            *totals.entry(key).or_default() += total;
        }
        let mut new = Vec::new();
        for (key, total) in totals {
            let reported = self.reported.entry(key).or_default();
            let count = total - std::mem::replace(reported, total);
            let [cgroup, verdict] = key;
            if count > 0 {
                let verdict = if verdict == u64::from(orderly::LOCAL_CLOSE) { Verdict::LocalClose } else { Verdict::PeerClose };
                new.push(Uneventful { verdict, cgroup: cgroups.path(cgroup), count });
            }
        }
        new.sort_by(|one, other| (&one.cgroup, one.verdict).cmp(&(&other.cgroup, other.verdict)));
        Ok(new)
    }
}
