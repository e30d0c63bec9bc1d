//! What is said of a run, and of no connection: its beginning and its end, its namespaces, and its losses.
use std::{collections::BTreeMap, sync::Arc};

use crate::model::{finding::Finding, sysctl::Sysctls, verdict::Verdict};

/// The facts that make a run explain itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub version: String,
    pub host: String,
    /// The kernel's release, as `uname -r` has it.
    pub kernel: String,
    /// Jiffies a second.
    pub hz: u32,
    /// None where nothing is hooked.
    pub attach: Option<Attach>,
    pub cmdline: String,
    /// The sysctls of the namespace that the tool runs in, where it could read them.
    pub sysctls: Option<Sysctls>,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC at the start, nanoseconds.
    pub wall_offset_ns: i64,
}

/// What a namespace's sysctls are, and how many connections they matter to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its inode.
    pub netns: u32,
    /// Whether it is the first process's.
    pub host: Option<bool>,
    /// As `ip netns` knows it.
    pub name: Option<String>,
    pub sysctls: Sysctls,
    pub sockets: u64,
    /// With SO_KEEPALIVE.
    pub keepalive: u64,
    /// Of these, those that have a value from the sysctls.
    pub follow: u64,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
}

/// How the kernel's functions are hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    Kprobe,
    Fentry,
}

impl Attach {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobe",
            Self::Fentry => "fentry",
        }
    }
}

/// Connections that ended since the last such event, and on which nothing had happened: no probe, no RST, no error, and no
/// second without data before the end. The kernel side counts them, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uneventful {
    /// [`Verdict::LocalClose`] or [`Verdict::PeerClose`].
    pub verdict: Verdict,
    /// The sockets' cgroup v2, as its path from the hierarchy's root; `None` where it is not known.
    pub cgroup: Option<Arc<str>>,
    /// How many.
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub count: u64,
    pub place: Place,
}

/// Where events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The ring buffer was full.
    RingBuffer,
    /// The kernel skipped a probe program.
    SkippedRun,
    /// The table of connections was full, and forgot a history.
    ConnectionTable,
    /// Records that the reader could not understand.
    Reader,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::RingBuffer => "ring-buffer",
            Self::SkippedRun => "skipped-run",
            Self::ConnectionTable => "connection-table",
            Self::Reader => "reader",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// Events shown.
    pub events: u64,
    pub lost: u64,
    /// Connections that the events were about.
    pub connections: u64,
    /// Of these, those that ended in order with nothing to report.
    pub uneventful: u64,
    pub verdicts: BTreeMap<Verdict, u64>,
}
