//! The kernel's own count of keepalive probes: where kprobes are skipped without a count, it says how many.
//!
//! The kernel side compares the counts with each probe that it sees. What is missed after the last probe on a CPU is found from here:
//! the counters are looked at, and what is unseen in two looks and unchanged between them was lost.
use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap as Map, MapData},
    programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use keepalive_trace_ebpf::{WAKE_NS, look};

use super::{facts, pace::Pace};

/// The program that looks.
const PROGRAM: &str = "look";

/// From the first look to the second. A run of the timer takes microseconds.
const REST: Duration = Duration::from_nanos(WAKE_NS);

/// A key of the map `PROBES`: the address of a `struct net`, and a CPU.
type Key = [u64; 2];

/// Has the kernel side compare counts, once there is something to compare, and looks at them.
pub struct Witness {
    offsets: Option<Array<MapData, u64>>,
    /// Only its keys are read. To read a value, the kernel skips kprobes for a moment.
    probes: Map<MapData, Key, [u64; 2]>,
    /// The program is loaded.
    can_look: bool,
    found: Found,
    /// When to look again at what the last look found.
    again: Option<Instant>,
    pace: Pace,
}

impl Witness {
    /// # Errors
    /// When a map is missing.
    pub fn of(ebpf: &mut Ebpf) -> Result<Self> {
        let offsets = ebpf.take_map("PER_CPU_OFFSETS").context("the map PER_CPU_OFFSETS is missing")?;
        let probes = ebpf.take_map("PROBES").context("the map PROBES is missing")?;
        Ok(Self {
            offsets: Some(offsets.try_into().context("the map PER_CPU_OFFSETS is of another kind")?),
            probes: probes.try_into().context("the map PROBES is of another kind")?,
            can_look: false,
            found: Found::default(),
            again: None,
            pace: Pace::default(),
        })
    }

    /// A probe was seen: counts are compared from the next one on. Where the kernel hides its symbols, they are not.
    pub fn begin(&mut self, ebpf: &mut Ebpf) {
        let Some(mut map) = self.offsets.take() else { return };
        let Some(address) = facts::symbol("__per_cpu_offset") else {
            log::info!("the kernel's own count of probes is not compared with ours: /proc/kallsyms is hidden");
            return;
        };
        if let Err(error) = map.set(0, address, 0) {
            log::warn!("the kernel's own count of probes is not compared with ours: {error:#}");
            return;
        }
        match load(ebpf) {
            Ok(()) => self.can_look = true,
            Err(error) => blind(&error),
        }
    }

    /// The first look, at all counters.
    pub fn look(&mut self, ebpf: &Ebpf) {
        if !self.can_look {
            return;
        }
        let Self { probes, found, pace, .. } = self;
        found.suspects.clear();
        // All keys before the first look, which may remove its own.
        let looked = pace.spend(|| -> Result<()> {
            for key in probes.keys().collect::<Result<Vec<_>, _>>()? {
                found.first(key, Look::at(key, ebpf)?);
            }
            Ok(())
        });
        self.check(looked.unwrap_or(Ok(())));
        self.again = (!self.found.suspects.is_empty()).then(|| Instant::now() + REST);
    }

    /// When the second look is due.
    pub fn due(&self) -> Option<Instant> {
        self.again
    }

    /// The second look, when it is due, at what the first one found. True when something was lost.
    pub fn look_again(&mut self, ebpf: &Ebpf) -> bool {
        if self.again.is_none_or(|again| Instant::now() < again) {
            return false;
        }
        self.again = None;
        let looked = self.found.again(|key| Look::at(key, ebpf)).and_then(|same| {
            if !same {
                return Ok(false);
            }
            // A hypervisor may stop a CPU in the middle of a run for longer than this took.
            wait_for_handlers();
            self.found.confirm(|key| Look::at(key, ebpf))
        });
        let lost = looked.as_ref().is_ok_and(|lost| *lost);
        self.check(looked.map(drop));
        lost
    }

    /// Both looks at once. It takes [`REST`] where the first one finds something.
    pub fn look_twice(&mut self, ebpf: &Ebpf) {
        self.pace = Pace::default();
        self.look(ebpf);
        if let Some(again) = self.again {
            thread::sleep(again.saturating_duration_since(Instant::now()));
            self.look_again(ebpf);
        }
    }

    /// Probes that were lost, beyond those that the kernel side has counted.
    pub fn at_rest(&mut self, ebpf: &Ebpf) -> u64 {
        let total = self.found.total(|key| run(ebpf, key, look::SEEN));
        self.check(total);
        self.found.gone + self.found.held()
    }

    /// Where it fails, the kernel side's own comparison remains.
    fn check(&mut self, looked: Result<()>) {
        if let Err(error) = looked
            && std::mem::take(&mut self.can_look)
        {
            blind(&error);
            // It is not known any more when the kernel side counts them too.
            self.found.held.clear();
        }
    }
}

fn blind(error: &anyhow::Error) {
    log::info!("probes that are missed after the last one seen are not counted: {error:#}");
}

fn load(ebpf: &mut Ebpf) -> Result<()> {
    let program: &mut RawTracePoint = ebpf.program_mut(PROGRAM).context("the program is missing")?.try_into()?;
    program.load()?;
    Ok(())
}

/// Runs the program, on this CPU.
fn run(ebpf: &Ebpf, key: Key, which: u64) -> Result<u32> {
    let program: &RawTracePoint = ebpf.program(PROGRAM).context("the program is missing")?.try_into()?;
    let mut options = RawTracePointRunOptions::new();
    let [net, cpu] = key;
    options.args[..3].copy_from_slice(&[net, cpu, which]);
    let ran: Result<_, ProgramError> = program.test_run(options);
    Ok(ran.context("cannot run the program that looks")?.return_value)
}

/// Returns when each handler of a timer that was running has returned. Where the kernel lacks the call, or refuses it with
/// `nohz_full`, at once.
fn wait_for_handlers() {
    /// `MEMBARRIER_CMD_GLOBAL`: it waits for a grace period of RCU, which no softirq outlasts. With one CPU this thread is proof enough.
    const GLOBAL: libc::c_int = 1;
    // SAFETY: it takes numbers, and touches no memory.
    unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0) };
}

/// One look: the low halves of the counter as it was after the last probe seen, and as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// 0: the namespace is gone.
    seen: u32,
    counted: u32,
}

impl Look {
    /// In this order: equal in two looks, nothing was seen and nothing counted from the one to the other.
    fn at(key: Key, ebpf: &Ebpf) -> Result<Self> {
        Ok(Self { seen: run(ebpf, key, look::SEEN)?, counted: run(ebpf, key, look::COUNTED)? })
    }

    /// Probes that were not seen, or not yet: one may be on its way.
    fn unseen(self) -> u64 {
        if self.seen == 0 {
            return 0;
        }
        // Less than was seen: the namespace went meanwhile.
        u64::try_from(self.counted.wrapping_sub(self.seen).cast_signed()).unwrap_or(0)
    }
}

/// What the looks have found.
#[derive(Debug, Default)]
struct Found {
    /// Of the first look, or of the second where that is the same.
    suspects: Vec<(Key, Look)>,
    /// Lost. The kernel side counts them too, with the next probe that it sees on that CPU.
    held: HashMap<Key, Look>,
    /// Lost in namespaces that are gone since: the kernel side counts them no more.
    gone: u64,
}

impl Found {
    fn first(&mut self, key: Key, look: Look) {
        if look.unseen() > 0 && self.held.get(&key) != Some(&look) {
            self.suspects.push((key, look));
        }
    }

    /// Keeps those suspects that look the same. True when there are any.
    fn again(&mut self, mut look: impl FnMut(Key) -> Result<Look>) -> Result<bool> {
        let mut same = Vec::new();
        for (key, before) in self.suspects.drain(..) {
            if look(key)? == before {
                same.push((key, before));
            }
        }
        self.suspects = same;
        Ok(!self.suspects.is_empty())
    }

    /// The same, and what remains was lost.
    fn confirm(&mut self, look: impl FnMut(Key) -> Result<Look>) -> Result<bool> {
        let lost = self.again(look)?;
        self.held.extend(self.suspects.drain(..));
        Ok(lost)
    }

    /// Drops what the kernel side has counted itself meanwhile: it has seen a probe there.
    fn total(&mut self, mut seen: impl FnMut(Key) -> Result<u32>) -> Result<()> {
        let now = self.held.iter().map(|(key, look)| Ok((*key, *look, seen(*key)?))).collect::<Result<Vec<_>>>()?;
        for (key, look, seen) in now {
            if seen != look.seen {
                self.held.remove(&key);
            }
            if seen == 0 {
                self.gone += look.unseen();
            }
        }
        Ok(())
    }

    fn held(&self) -> u64 {
        self.held.values().map(|look| look.unseen()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [0xffff_8880_0000_0000, 1];

    fn look(seen: u32, counted: u32) -> Look {
        Look { seen, counted }
    }

    /// What is lost where the three looks find this.
    fn lost(looks: [Look; 3]) -> u64 {
        let mut found = Found::default();
        found.first(KEY, looks[0]);
        if found.again(|_| Ok(looks[1])).expect("nothing fails here") {
            found.confirm(|_| Ok(looks[2])).expect("nothing fails here");
        }
        found.held()
    }

    #[test]
    fn what_is_unseen_in_all_looks_is_lost() {
        assert_eq!(lost([look(10, 50); 3]), 40);
        assert_eq!(lost([look(u32::MAX - 1, 3); 3]), 5);
        assert_eq!(lost([look(10, 10); 3]), 0);
    }

    #[test]
    fn a_run_in_progress_is_not_lost() {
        // It comes to its end, and another one is in progress in the next look.
        assert_eq!(lost([look(10, 11), look(11, 11), look(11, 11)]), 0);
        assert_eq!(lost([look(10, 11), look(11, 12), look(12, 13)]), 0);
        // It takes longer than the looks are apart.
        assert_eq!(lost([look(10, 11), look(10, 11), look(11, 11)]), 0);
        // More come on top of what is lost: the next looks tell.
        assert_eq!(lost([look(10, 50), look(10, 51), look(10, 51)]), 0);
    }

    #[test]
    fn a_counter_of_another_namespace_says_nothing() {
        assert_eq!(lost([look(10, 3); 3]), 0);
        assert_eq!(lost([look(0, 0); 3]), 0);
    }

    #[test]
    fn what_is_lost_is_counted_once() {
        let mut found = Found::default();
        for counted in [50, 50, 70] {
            found.first(KEY, look(10, counted));
            assert_eq!(found.suspects.len(), usize::from(found.held() + 10 != u64::from(counted)));
            found.confirm(|_| Ok(look(10, counted))).expect("nothing fails here");
            found.total(|_| Ok(10)).expect("nothing fails here");
            assert_eq!((found.held(), found.gone), (u64::from(counted) - 10, 0));
        }
        // The next probe is seen, and the kernel side counts all 60.
        found.total(|_| Ok(71)).expect("nothing fails here");
        assert_eq!((found.held(), found.gone), (0, 0));
    }

    #[test]
    fn what_was_lost_in_a_namespace_that_is_gone_stays_lost() {
        let mut found = Found { held: HashMap::from([(KEY, look(10, 12)), ([1, 0], look(7, 8))]), ..Found::default() };
        found.total(|key| Ok(if key == KEY { 0 } else { 7 })).expect("nothing fails here");
        assert_eq!((found.held(), found.gone), (1, 2));
    }

    #[test]
    fn a_look_that_fails_confirms_nothing() {
        let mut found = Found::default();
        found.first(KEY, look(10, 50));
        assert!(found.confirm(|_| anyhow::bail!("refused")).is_err());
        assert_eq!((found.held(), found.suspects.len()), (0, 0));
    }
}
