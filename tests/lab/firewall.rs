//! A firewall on this host, without nf_tables.
use std::{
    ffi::{CStr, c_long},
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};

use crate::bpf;

const PROG_LOAD: c_long = 5;
const PROG_ATTACH: c_long = 8;
const PROG_DETACH: c_long = 9;

const CGROUP_SKB: u32 = 8;
const CGROUP_INET_EGRESS: u32 = 1;

/// A firewall before a cgroup's sockets: what they send is dropped on this host, and the sender learns it (EPERM). It is a
/// BPF program that says no, because nf_tables is a module that a bare kernel lacks. Taken away when dropped.
pub struct Firewall {
    cgroup: File,
    program: OwnedFd,
}

impl Firewall {
    /// Puts it before the cgroup at this path.
    pub fn before(cgroup: &Path) -> Result<Self> {
        let program = refusal().context("cannot load a program that refuses all packets")?;
        let cgroup = File::open(cgroup).with_context(|| format!("cannot open {}", cgroup.display()))?;
        let firewall = Self { cgroup, program };
        firewall.change(PROG_ATTACH).context("cannot put a firewall before a cgroup")?;
        Ok(firewall)
    }

    fn change(&self, command: c_long) -> io::Result<()> {
        /// The part of `union bpf_attr` that PROG_ATTACH and PROG_DETACH use.
        #[repr(C)]
        struct Attribute {
            cgroup: u32,
            program: u32,
            kind: u32,
            flags: u32,
        }
        let number = |fd: i32| u32::try_from(fd).map_err(io::Error::other);
        let (cgroup, program) = (number(self.cgroup.as_raw_fd())?, number(self.program.as_raw_fd())?);
        bpf::call(command, &mut Attribute { cgroup, program, kind: CGROUP_INET_EGRESS, flags: 0 }).map(drop)
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        // Where it stays, it goes with its cgroup.
        let _ = self.change(PROG_DETACH);
    }
}

/// Loads `return 0`.
fn refusal() -> Result<OwnedFd> {
    /// As much of `union bpf_attr` as PROG_LOAD needs to know: `expected_attach_type` comes last.
    #[repr(C)]
    struct Attribute {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u64; 2],
        kernel: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach: u32,
    }
    const LICENSE: &CStr = c"MIT";
    // BPF_ALU64 | BPF_MOV | BPF_K, r0, 0; BPF_JMP | BPF_EXIT.
    const INSTRUCTIONS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut attribute = Attribute {
        kind: CGROUP_SKB,
        count: INSTRUCTIONS.len() as u32,
        instructions: INSTRUCTIONS.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log: [0; 2],
        kernel: 0,
        flags: 0,
        name: *b"lab_firewall\0\0\0\0",
        interface: 0,
        attach: CGROUP_INET_EGRESS,
    };
    Ok(bpf::create(PROG_LOAD, &mut attribute)?)
}
