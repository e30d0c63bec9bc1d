//! A kprobe whose program takes its time. While it runs, the kernel handles no other kprobe on that CPU: those that timers hit
//! meanwhile are missed whole.
use std::{
    ffi::c_long,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};

use crate::bpf;

const PROG_LOAD: c_long = 5;
const KPROBE: u32 = 2;
const PMU_TYPE: &str = "/sys/bus/event_source/devices/kprobe/type";
/// `PERF_EVENT_IOC_SET_BPF`: `_IOW('$', 8, __u32)`.
const SET_BPF: libc::Ioctl = 0x4004_2408_u32 as libc::Ioctl;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// Where `getppid()` begins: no test needs it for anything else.
#[cfg(target_arch = "x86_64")]
const FUNCTION: &std::ffi::CStr = c"__x64_sys_getppid";
#[cfg(target_arch = "aarch64")]
const FUNCTION: &std::ffi::CStr = c"__arm64_sys_getppid";

/// How many times the program goes round, in two instructions. The verifier follows each of them, up to a million.
const ROUNDS: i32 = 100_000;

/// `r0 = ROUNDS; do r0 -= 1 while r0 != 0; exit`
const PROGRAM: [u64; 4] =
    [instruction(0xb7, 0, ROUNDS), instruction(0x17, 0, 1), instruction(0x55, -2, 0), instruction(0x95, 0, 0)];

/// One instruction on `r0`: operation, offset, immediate value.
const fn instruction(operation: u8, offset: i16, value: i32) -> u64 {
    operation as u64 | (offset.cast_unsigned() as u64) << 16 | (value.cast_unsigned() as u64) << 32
}

/// The beginning of `union bpf_attr` for PROG_LOAD.
#[repr(C)]
struct Load {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
}

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
    /// A pointer to the function's name.
    function: u64,
    offset: u64,
}

/// The probe, on the calling thread. Dropping it removes it.
pub struct Detour {
    /// Held for its drop.
    _event: OwnedFd,
}

impl Detour {
    /// Sets it up.
    pub fn new() -> Result<Self> {
        let mut load = Load {
            program_type: KPROBE,
            count: PROGRAM.len() as u32,
            instructions: PROGRAM.as_ptr().addr() as u64,
            license: c"GPL".as_ptr().addr() as u64,
        };
        let program = bpf::create(PROG_LOAD, &mut load).context("cannot load a BPF program")?;
        let kind = std::fs::read_to_string(PMU_TYPE).with_context(|| format!("cannot read {PMU_TYPE}"))?;
        let attributes = Attributes {
            kind: kind.trim().parse().with_context(|| format!("what {PMU_TYPE} has is no number"))?,
            size: size_of::<Attributes>() as u32,
            function: FUNCTION.as_ptr().addr() as u64,
            ..Attributes::default()
        };
        let event = this_thread(&attributes).with_context(|| format!("cannot hook {FUNCTION:?}"))?;
        // SAFETY: it takes a number, and touches no memory of ours.
        let attached = unsafe { libc::ioctl(event.as_raw_fd(), SET_BPF, program.as_raw_fd()) };
        ensure!(attached == 0, "cannot attach a program to {FUNCTION:?}: {}", io::Error::last_os_error());
        Ok(Self { _event: event })
    }

    /// Takes it so many times: each is some 200,000 instructions within a kprobe.
    pub fn take(&self, times: u32) {
        (0..times).for_each(|_| _ = nix::unistd::getppid());
    }
}

fn this_thread(attributes: &Attributes) -> io::Result<OwnedFd> {
    let (this, any_cpu, no_group): (libc::pid_t, libc::c_int, libc::c_int) = (0, -1, -1);
    // SAFETY: the attributes are as long as they say, and the name that they point to is static.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const *attributes, this, any_cpu, no_group, PERF_FLAG_FD_CLOEXEC)
    };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made, and that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
