//! How often a function was really called, where the kernel does not say how many of a program's runs it skipped: a kprobe
//! without a program counts every call, however busy BPF is.
use std::{ffi::CString, io, os::fd::OwnedFd};

use anyhow::{Context as _, Result};

use super::{descriptor::owned, facts};

const PMU_TYPE: &str = "/sys/bus/event_source/devices/kprobe/type";
const ANY_PROCESS: libc::pid_t = -1;
const NO_GROUP: libc::c_int = -1;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// The beginning of `struct perf_event_attr`, up to PERF_ATTR_SIZE_VER1.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    /// For a kprobe: a pointer to the function's name.
    function: u64,
    offset: u64,
}

/// Counters of one function's calls, one a CPU. Closing them removes the probe.
pub struct Hits(Vec<OwnedFd>);

impl Hits {
    /// Counts from now.
    ///
    /// # Errors
    /// When the kernel refuses the counter (`perf_event_open`).
    pub fn of(function: &str) -> Result<Self> {
        let kind = facts::line(PMU_TYPE).and_then(|text| text.parse().ok()).with_context(|| format!("cannot read {PMU_TYPE}"))?;
        let name = CString::new(function).context("a function's name has no NUL")?;
        let attributes = Attributes {
            kind,
            size: size_of::<Attributes>() as u32,
            function: name.as_ptr().addr() as u64,
            ..Attributes::default()
        };
        let cpus = aya::util::online_cpus().map_err(|(_, error)| error).context("cannot list the CPUs")?;
        let open = |cpu| open(&attributes, cpu).with_context(|| format!("cannot count the calls of {function}"));
        Ok(Self(cpus.into_iter().map(open).collect::<Result<_>>()?))
    }

    /// # Errors
    /// When a counter can't be read.
    pub fn count(&self) -> Result<u64> {
        let mut total = 0;
        for fd in &self.0 {
            let mut value = [0; 8];
            nix::unistd::read(fd, &mut value).context("cannot read a counter of calls")?;
            total += u64::from_ne_bytes(value);
        }
        Ok(total)
    }
}

fn open(attributes: &Attributes, cpu: u32) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as long as they say, and the name that they point to outlives the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const *attributes, ANY_PROCESS, cpu, NO_GROUP, PERF_FLAG_FD_CLOEXEC)
    };
    owned(fd)
}
