//! Who holds a socket: looked up in the kernel's own tables of open files, and not too often.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keepalive_trace_ebpf::Held;

use super::{probes::Probes, walk};

/// The shortest time between two looks, and how many times as long as a look itself takes: 2 % of a CPU at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSES: u32 = 50;

/// Looks around when somebody wants to know and it is time.
#[derive(Debug, Default)]
pub struct Owners {
    next: Option<Instant>,
}

impl Owners {
    pub fn is_due(&self) -> bool {
        self.next.is_none_or(|next| Instant::now() >= next)
    }

    /// Every process that holds a TCP socket, once a socket: by socket, then by pid.
    ///
    /// # Errors
    /// When the kernel's list can't be read.
    pub fn look(&mut self, probes: &mut Probes) -> Result<Vec<Held>> {
        let started = Instant::now();
        let mut held: Vec<Held> = match probes.walker("holders")? {
            Some(walker) => walk::all(walker).context("cannot read who holds which socket (iter/task_file)")?,
            None => Vec::new(),
        };
        held.sort_unstable_by_key(|held| (held.sk, held.pid));
        held.dedup_by_key(|held| (held.sk, held.pid));
        self.next = Some(Instant::now() + PAUSE.max(started.elapsed() * PAUSES));
        Ok(held)
    }
}
