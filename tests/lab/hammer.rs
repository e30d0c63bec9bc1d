//! Keeps the kernel's BPF busy: while a map is being changed, the kernel runs no kprobe program on that CPU, and skips those
//! that a timer would have run meanwhile.
use std::{
    ffi::c_long,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context, Result};

use crate::bpf;

const MAP_CREATE: c_long = 0;
const MAP_UPDATE_ELEM: c_long = 2;
const HASH: u32 = 1;
const ENTRIES: u32 = 1024;

/// The beginning of `union bpf_attr` for MAP_CREATE.
#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

/// The beginning of `union bpf_attr` for MAP_UPDATE_ELEM.
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
        let mut create = Create { map_type: HASH, key_size: 4, value_size: Self::VALUE as u32, max_entries: ENTRIES, flags: 0 };
        let map = bpf::create(MAP_CREATE, &mut create).context("cannot create a BPF map")?;
        Ok(Self { map })
    }

    /// Changes the map so many times.
    pub fn strike(&self, times: u32) -> Result<()> {
        let value = [1_u8; Self::VALUE];
        for index in 0..times {
            let key = index % ENTRIES;
            let mut update = Update {
                map: u32::try_from(self.map.as_raw_fd())?,
                key: (&raw const key).addr() as u64,
                value: value.as_ptr().addr() as u64,
                flags: 0,
            };
            bpf::call(MAP_UPDATE_ELEM, &mut update).context("cannot change a BPF map")?;
        }
        Ok(())
    }
}
