//! Keeps the kernel's BPF busy: while a map is being changed, the kernel runs no kprobe program on that CPU, and skips those
//! that a timer would have run meanwhile.
use std::{
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context, Result};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_TYPE_HASH: u32 = 1;
const ENTRIES: u32 = 1024;

/// The beginning of `union bpf_attr` for BPF_MAP_CREATE.
#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

/// The beginning of `union bpf_attr` for BPF_MAP_UPDATE_ELEM.
#[repr(C)]
struct Update {
    map: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A map that nobody needs.
pub struct Hammer {
    map: OwnedFd,
}

impl Hammer {
    /// Values are large, so that a change takes its time.
    const VALUE: usize = 8192;

    /// Creates the map.
    pub fn new() -> Result<Self> {
        // Before 5.11 maps are charged to this limit.
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).context("RLIMIT_MEMLOCK")?;
        let create =
            Create { map_type: BPF_MAP_TYPE_HASH, key_size: 4, value_size: Self::VALUE as u32, max_entries: ENTRIES, flags: 0 };
        let fd = bpf(BPF_MAP_CREATE, &create).context("cannot create a BPF map")?;
        // SAFETY: the kernel has just given it to us, and to nobody else.
        Ok(Self { map: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Changes the map so many times.
    pub fn strike(&self, times: u32) -> Result<()> {
        let value = [1_u8; Self::VALUE];
        for index in 0..times {
            let key = index % ENTRIES;
            let update = Update {
                map: u32::try_from(self.map.as_raw_fd())?,
                key: (&raw const key).addr() as u64,
                value: value.as_ptr().addr() as u64,
                flags: 0,
            };
            bpf(BPF_MAP_UPDATE_ELEM, &update).context("cannot change a BPF map")?;
        }
        Ok(())
    }
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    let pointer = &raw const *attributes;
    // SAFETY: the attributes are what the command wants, and as long as it is told.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, mem::size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
