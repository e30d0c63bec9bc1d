//! What was lost on the way, counted wherever it can be.
use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use keepalive_trace_ebpf::counter;

use super::hits::Hits;
use crate::model::event::{Lost, Place};

/// Counters at one moment; all only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    ring_buffer: u64,
    skipped: u64,
    table: u64,
}

/// Watches the kernel side's counters, and the kernel's own count of skipped runs.
pub struct Losses {
    counters: PerCpuArray<MapData, u64>,
    /// Each loaded program's name, and where the kernel tells of it.
    fdinfo: Vec<(String, String)>,
    /// How often the hooked functions were called, where the kernel does not count what it skips.
    hits: Vec<Hits>,
    /// What was counted while the programs were being attached one by one: these are no losses.
    unpaired_at_start: u64,
    unfinished_at_start: u64,
    unseen_at_start: i64,
    /// Probes that the kernel counted and that were not seen.
    probes: u64,
    /// All skipped runs, once no more are counted.
    skipped_in_all: Option<u64>,
    told: Totals,
    unsure_told: u64,
    unreadable: u64,
}

impl Losses {
    /// Starts from now. Call it when everything is attached.
    ///
    /// # Errors
    /// When the map of counters is missing or unreadable.
    pub fn watch(ebpf: &mut Ebpf, hits: Vec<Hits>) -> Result<Self> {
        let counters = ebpf.take_map("COUNTERS").context("the map COUNTERS is missing")?;
        let fds = ebpf.programs().filter_map(|(name, program)| Some((name.to_owned(), program.fd().ok()?.as_fd().as_raw_fd())));
        let fdinfo = fds.map(|(name, fd)| (name, format!("/proc/self/fdinfo/{fd}"))).collect();
        let mut losses = Self {
            counters: counters.try_into().context("the map COUNTERS is of another kind")?,
            fdinfo,
            hits,
            unpaired_at_start: 0,
            unfinished_at_start: 0,
            unseen_at_start: 0,
            probes: 0,
            skipped_in_all: None,
            told: Totals::default(),
            unsure_told: 0,
            unreadable: 0,
        };
        losses.unpaired_at_start = losses.counter(counter::UNPAIRED)?;
        losses.unfinished_at_start = losses.counter(counter::UNFINISHED)?;
        losses.unseen_at_start = at_rest(|| losses.counter(counter::RUNS), || losses.unseen())?;
        Ok(losses)
    }

    /// Takes over the kernel's own count of probes: what the kernel side found unseen, and what it has not found yet.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn count_probes(&mut self, at_rest: impl FnOnce() -> u64) -> Result<()> {
        // In this order: what the kernel side finds in between is not counted twice.
        let found = self.counter(counter::UNSEEN_PROBES)?;
        self.probes = self.probes.max(found + at_rest());
        Ok(())
    }

    /// The programs are about to be detached one by one: what one of them sees from now on and another doesn't is no loss.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn last_skips(&mut self) -> Result<()> {
        self.skipped_in_all = Some(self.skipped()?);
        Ok(())
    }

    /// A record that made no sense.
    pub fn unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// What was lost since the last call.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn take(&mut self) -> Result<Vec<Lost>> {
        let ring_buffer = self.counter(counter::RING_FULL)? + self.counter(counter::HEADS_FULL)?;
        let table = self.counter(counter::FLOWS_FULL)? + self.counter(counter::ENDS_FULL)?;
        let now = Totals { ring_buffer, skipped: self.skipped()?, table };
        let new = [
            (now.ring_buffer - self.told.ring_buffer, Place::RingBuffer),
            (now.skipped.saturating_sub(self.told.skipped), Place::SkippedRun),
            (now.table - self.told.table, Place::ConnectionTable),
            (std::mem::take(&mut self.unreadable), Place::Reader),
        ];
        self.told = Totals { skipped: now.skipped.max(self.told.skipped), ..now };
        Ok(new.into_iter().filter(|(count, _)| *count > 0).map(|(count, place)| Lost { count, place }).collect())
    }

    /// Runs that the kernel skipped. Newer kernels count them per program. On older ones calls are compared with runs, and those
    /// that began and whose exit never came are counted beside; without such a comparison, exits whose entry never came are.
    fn skipped(&self) -> Result<u64> {
        if let Some(skipped) = self.skipped_in_all {
            return Ok(skipped);
        }
        let unpaired = self.counter(counter::UNPAIRED)?.saturating_sub(self.unpaired_at_start);
        let unfinished = self.counter(counter::UNFINISHED)?.saturating_sub(self.unfinished_at_start);
        let missed: u64 =
            self.fdinfo.iter().filter(|(name, _)| !is_made_up_for(name)).filter_map(missed_of).map(|(_, missed)| missed).sum();
        let unseen = u64::try_from(self.unseen()? - self.unseen_at_start).unwrap_or(0);
        // The kernel's own count of probes knows no programs.
        Ok(missed.max(unpaired.max(unseen) + unfinished).max(self.probes))
    }

    /// Skipped runs since the last call that may have lost an end: they have where no other hook saw it.
    pub fn unsure_ends(&mut self) -> u64 {
        let now = self.missed().filter(|(name, _)| *name == LAST_RESORT).map(|(_, missed)| missed).sum();
        now - std::mem::replace(&mut self.unsure_told, now)
    }

    /// Connections of which the kernel side keeps nothing, for lack of room: how they began, and who closed them, is unknown.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn unkept(&self) -> Result<u64> {
        self.counter(counter::CONNS_FULL)
    }

    /// How many runs of each program the kernel says that it skipped.
    pub fn missed(&self) -> impl Iterator<Item = (&str, u64)> {
        self.fdinfo.iter().filter_map(missed_of)
    }

    /// Calls of the hooked functions that our programs did not see. The calls are read first: a call that comes between then
    /// is taken for seen, and not for lost.
    fn unseen(&self) -> Result<i64> {
        if self.hits.is_empty() {
            return Ok(0);
        }
        let calls = self.hits.iter().map(Hits::count).sum::<Result<u64>>()?;
        Ok(i64::try_from(calls)? - i64::try_from(self.counter(counter::RUNS)?)?)
    }

    fn counter(&self, which: u32) -> Result<u64> {
        let values = self.counters.get(&which, 0).context("cannot read the kernel side's counters")?;
        Ok(values.iter().sum())
    }
}

/// What is read while nothing else moves: the count that says so is the same before and after. Taken over again where it isn't, since a
/// call that is read in one count and not yet in the other would be missing ever after.
fn at_rest<T>(count: impl Fn() -> Result<u64>, read: impl Fn() -> Result<T>) -> Result<T> {
    /// Where it never rests: a loss too many is told then, and none too few.
    const TRIES: u32 = 1000;
    let mut before = count()?;
    for _ in 1..TRIES {
        let (value, after) = (read()?, count()?);
        if before == after {
            return Ok(value);
        }
        before = after;
    }
    read()
}

/// The program that sees an end where no other did.
const LAST_RESORT: &str = "destroy_sock";

/// Whether a skipped run of the program loses no event: another hook sees the same, or what is missing is a detail.
///
/// An end is seen by `tcp_done` or `tcp_disconnect`, and else by `tcp_destroy_sock`, whose skipped runs are [`Losses::unsure_ends`]; a death by the timer's run, with or without
/// its reset; a RST by the error that it leaves; who connected, accepted or closed, by either of the two others, and by a walk.
fn is_made_up_for(program: &str) -> bool {
    const MADE_UP_FOR: [&str; 11] = [
        "connect",
        "finish_connect",
        "sock_graft",
        "close",
        "shutdown",
        "disconnect",
        "done",
        "active_reset",
        "timer_reset",
        "receive_reset",
        LAST_RESORT,
    ];
    MADE_UP_FOR.iter().any(|name| program.starts_with(name))
}

/// How many runs of a program the kernel says that it skipped, with the program's name.
fn missed_of((name, path): &(String, String)) -> Option<(&str, u64)> {
    Some((name, misses(&fs::read_to_string(path).ok()?)?))
}

/// `recursion_misses` of a program's fdinfo: since 5.12.
fn misses(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_moves_while_it_is_read_is_read_again() {
        let moments = [1, 2, 2, 3, 3];
        let (now, reads) = (Cell::new(0), Cell::new(0));
        let count = || Ok(moments[now.replace(now.get() + 1)]);
        let read = || Ok(reads.replace(reads.get() + 1));
        assert_eq!(at_rest(count, read).expect("nothing fails here"), 1);
        assert_eq!((now.get(), reads.get()), (3, 2));
    }

    #[test]
    fn the_kernels_own_count_is_found_where_it_is() {
        assert_eq!(misses("prog_type:\t2\nrecursion_misses:\t17\n"), Some(17));
        assert_eq!(misses("prog_type:\t2\n"), None);
    }
}
