//! A network that has gone silent: what is sent is lost on the way, and nobody learns it.
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};

use crate::{bpf, netns::Netns};

const PROG_LOAD: std::ffi::c_long = 5;
const LINK_CREATE: std::ffi::c_long = 28;
const XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// Before the network layer, without a driver's help: `XDP_FLAGS_SKB_MODE`.
const GENERIC: u32 = 1 << 1;
const LOOPBACK: u32 = 1;

/// Nothing arrives on a namespace's loopback, or nothing for one TCP port of IPv4, until this is dropped.
pub struct Silence {
    _link: OwnedFd,
}

impl Silence {
    /// Whatever is sent is lost.
    pub fn whole(netns: &Netns) -> Result<Self> {
        Self::begin(netns, &DROP)
    }

    /// What is sent to this port is lost.
    pub fn towards(netns: &Netns, port: u16) -> Result<Self> {
        let [high, low] = port.to_be_bytes();
        // As the machine reads it: the first byte is the lowest.
        let wanted = [high, low, 0, 0];
        let mut program: Vec<[u8; 8]> = vec![
            [0x61, 0x12, 0, 0, 0, 0, 0, 0],                                 // r2 = data
            [0x61, 0x13, 4, 0, 0, 0, 0, 0],                                 // r3 = data_end
            [0xbf, 0x24, 0, 0, 0, 0, 0, 0],                                 // r4 = r2
            [0x07, 0x04, 0, 0, 38, 0, 0, 0],                                // r4 += 14 of Ethernet, 20 of IPv4, 4 of TCP's ports
            [0x2d, 0x34, 2, 0, 0, 0, 0, 0],                                 // if r4 > r3 goto pass
            [0x69, 0x25, 36, 0, 0, 0, 0, 0],                                // r5 = the port to which it goes
            [0x15, 0x05, 2, 0, wanted[0], wanted[1], wanted[2], wanted[3]], // if it is that one goto drop
        ];
        program.extend(PASS);
        program.extend(DROP);
        Self::begin(netns, &program)
    }

    fn begin(netns: &Netns, program: &[[u8; 8]]) -> Result<Self> {
        let program = load(program).context("cannot load a program that drops packets")?;
        netns.enter(|| Ok(Self { _link: link(&program).context("cannot put a program before lo")? }))
    }
}

/// `return XDP_PASS`
const PASS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
/// `return XDP_DROP`
const DROP: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

fn load(instructions: &[[u8; 8]]) -> io::Result<OwnedFd> {
    /// As much of `union bpf_attr` as PROG_LOAD needs to know.
    #[repr(C)]
    struct Attribute {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u64; 2],
        kernel: u32,
        flags: u32,
    }
    let mut attribute = Attribute {
        kind: XDP,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log: [0; 2],
        kernel: 0,
        flags: 0,
    };
    bpf::create(PROG_LOAD, &mut attribute)
}

/// Before the loopback of the calling thread's namespace.
fn link(program: &OwnedFd) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` that LINK_CREATE uses.
    #[repr(C)]
    struct Attribute {
        program: u32,
        interface: u32,
        attach: u32,
        flags: u32,
    }
    let program = u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?;
    bpf::create(LINK_CREATE, &mut Attribute { program, interface: LOOPBACK, attach: ATTACH_XDP, flags: GENERIC })
}
