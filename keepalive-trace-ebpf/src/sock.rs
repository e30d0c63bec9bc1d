//! The only place that reads kernel memory: typed getters over the offsets that BTF gave.
use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::{bpf_jiffies64, bpf_probe_read_kernel as read_kernel, generated::bpf_probe_read_kernel};
use keepalive_trace_ebpf::{HEAD_BYTES, Record, has};

use crate::{
    fields::{Copied, Fields as _},
    maps::{offset, present},
};

/// `sk_state`: `enum` in `net/tcp_states.h`.
pub mod state {
    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;
}

/// A state that only a connection has, or one that is being made.
#[inline(always)]
pub fn is_connection(state: u8) -> bool {
    matches!(state, state::ESTABLISHED..=state::FIN_WAIT2 | state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING)
}

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

/// Bits of `skc_flags`: `enum sock_flags`.
pub const SOCK_DEAD: u64 = 1 << 0;
/// A FIN was received.
pub const SOCK_DONE: u64 = 1 << 1;
pub const SOCK_KEEPOPEN: u64 = 1 << 3;
pub const SOCK_LINGER: u64 = 1 << 4;

/// `TIMER_ARRAYSHIFT`: the bits of `timer_list.flags` from here on are the slot's number in the wheel.
const SLOT_SHIFT: u32 = 22;

/// `LVL_BITS`: each level of the wheel has so many slots, as a power of two.
const SLOTS_SHIFT: u32 = 6;

/// Low bits of `sk_cgrp_data` that are not part of the pointer (kernels before 5.15), and the one that says it is no pointer.
pub const CGROUP_TAGS: u64 = 3;
pub const CGROUP_IS_DATA: u64 = 1;

/// Reads a `T` at `base + offset`; none where the kernel lacks the field or the read faults.
#[inline(always)]
pub fn read<T>(base: u64, offset: u32) -> Option<T> {
    let offset = present(offset)?;
    // SAFETY: the helper checks the address itself and faults into an error.
    unsafe { read_kernel((base as usize + offset) as *const T) }.ok()
}

/// The port of a `struct sockaddr_in` or `sockaddr_in6` in the kernel, host order; 0 where it cannot be read.
#[inline(always)]
pub fn port_of_address(address: u64) -> u16 {
    /// `sin_port` and `sin6_port`.
    const PORT: u32 = 2;
    read::<u16>(address, PORT).map_or(0, u16::from_be)
}

/// Low half of jiffies: the clock of `rcv_tstamp` and `lrcvtime`.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: no arguments, no effect.
    unsafe { bpf_jiffies64() }
}

/// A `timer_list` in the kernel.
#[derive(Clone, Copy)]
pub struct Timer(u64);

impl Timer {
    pub fn at(address: u64) -> Self {
        Self(address)
    }

    /// The socket around it. A pointer below the offset is not a timer of ours.
    #[inline(always)]
    pub fn sock(self) -> Option<Sock> {
        let offset = present(offset!(keepalive_timer))? as u64;
        (self.0 > offset).then(|| Sock(self.0 - offset))
    }

    /// `expires`, jiffies: the deadline that was asked for, not rounded to the wheel.
    #[inline(always)]
    pub fn expires(self) -> Option<u64> {
        read(self.0, offset!(timer_expires))
    }

    /// Mirrors `timer_pending`.
    #[inline(always)]
    pub fn pending(self) -> Option<bool> {
        read::<u64>(self.0, offset!(timer_pprev)).map(|pprev| pprev != 0)
    }

    /// The level of the wheel in which it waits, or has waited: mirrors `timer_get_idx`.
    #[inline(always)]
    pub fn level(self) -> Option<u8> {
        read::<u32>(self.0, offset!(timer_flags)).map(|flags| (flags >> SLOT_SHIFT >> SLOTS_SHIFT) as u8)
    }
}

/// The first bytes of a socket, `struct sock_common`: who it is, read at once since each read costs as much as a small
/// program. The loader has made sure that they hold what is looked for.
pub struct Head([u64; HEAD_BYTES / 8]);

impl Head {
    /// Reads it into this place: returned by value, it would be on the stack twice.
    #[inline(always)]
    pub fn of(sock: Sock, place: &mut MaybeUninit<Self>) -> Option<&Self> {
        // SAFETY: the helper fills exactly these bytes, and checks the other address itself.
        let failed = unsafe { bpf_probe_read_kernel(place.as_mut_ptr().cast(), HEAD_BYTES as u32, sock.0 as *const c_void) };
        // SAFETY: filled, where that did not fail.
        (failed == 0).then(|| unsafe { place.assume_init_ref() })
    }

    /// A place for one.
    #[inline(always)]
    pub fn place() -> MaybeUninit<Self> {
        MaybeUninit::uninit()
    }

    #[inline(always)]
    pub fn get<T: Copy>(&self, offset: u32) -> Option<T> {
        let offset = present(offset)?;
        if offset + size_of::<T>() > HEAD_BYTES {
            return None;
        }
        let field = self.0.as_ptr().cast::<u8>().wrapping_add(offset).cast::<T>();
        // SAFETY: within the array, as just seen; the kernel aligns its members, and the array begins like the socket does.
        Some(unsafe { field.read_volatile() })
    }

    /// `sk_state`.
    #[inline(always)]
    pub fn state(&self) -> Option<u8> {
        self.get(offset!(state))
    }

    /// Host order.
    #[inline(always)]
    pub fn rport(&self) -> Option<u16> {
        self.get::<u16>(offset!(dport)).map(u16::from_be)
    }
}

/// A `struct sock` of TCP in the kernel.
#[derive(Clone, Copy)]
pub struct Sock(u64);

impl Sock {
    pub fn at(address: u64) -> Self {
        Self(address)
    }

    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub fn timer(self) -> Option<Timer> {
        Some(Timer(self.0 + present(offset!(keepalive_timer))? as u64))
    }

    #[inline(always)]
    pub fn lport(self) -> Option<u16> {
        read::<u16>(self.0, offset!(sport)).map(u16::from_be)
    }

    /// Where the kernel does not say, the hook does: only TCP comes there.
    #[inline(always)]
    pub fn is_tcp(self) -> bool {
        read::<u16>(self.0, offset!(protocol)).is_none_or(|protocol| protocol == IPPROTO_TCP)
    }

    #[inline(always)]
    pub fn state(self) -> Option<u8> {
        read(self.0, offset!(state))
    }

    #[inline(always)]
    pub fn probes_out(self) -> Option<u8> {
        read(self.0, offset!(probes_out))
    }

    #[inline(always)]
    pub fn owned(self) -> Option<u32> {
        read(self.0, offset!(owned))
    }

    #[inline(always)]
    pub fn mstamp(self) -> Option<u64> {
        read(self.0, offset!(mstamp))
    }

    #[inline(always)]
    pub fn packets_out(self) -> Option<u32> {
        read(self.0, offset!(packets_out))
    }

    /// Bytes queued that were never sent.
    #[inline(always)]
    pub fn unsent(self) -> Option<u32> {
        let written: u32 = read(self.0, offset!(write_seq))?;
        let next: u32 = read(self.0, offset!(snd_nxt))?;
        Some(written.wrapping_sub(next))
    }

    /// The socket's `struct cgroup`.
    #[inline(always)]
    pub fn cgroup(self) -> Option<Cgroup> {
        let data: u64 = read(self.0, offset!(cgroup))?;
        let pointer = data & !CGROUP_TAGS;
        (data & CGROUP_IS_DATA == 0 && pointer != 0).then_some(Cgroup(pointer))
    }

    /// Fills in everything about the socket itself. What can't be read is left zero, and its bit of `has` unset.
    #[inline(always)]
    pub fn describe(self, head: &Head, record: &mut Record) {
        Copied { sock: self, head }.describe(record);
    }

    /// Fills in when the keepalive timer will fire, where it is armed: against the reading of the clock that the record has.
    #[inline(always)]
    pub fn describe_timer(self, record: &mut Record) -> Option<()> {
        let timer = self.timer()?;
        if timer.pending()? {
            record.next = (timer.expires()? as u32).wrapping_sub(record.jiffies).cast_signed();
            record.has |= has::NEXT;
            record.level = timer.level()?;
            record.has |= has::LEVEL;
        }
        Some(())
    }
}

/// A `struct net` in the kernel.
#[derive(Clone, Copy)]
pub struct Net(u64);

impl Net {
    pub fn at(address: u64) -> Self {
        Self(address)
    }

    #[inline(always)]
    pub fn inum(self) -> Option<u32> {
        read(self.0, offset!(net_inum))
    }
}

/// A `struct cgroup` of the default hierarchy.
#[derive(Clone, Copy)]
pub struct Cgroup(u64);

impl Cgroup {
    /// What `bpf_get_current_cgroup_id` and the inode of the folder in cgroupfs are.
    #[inline(always)]
    pub fn id(self) -> Option<u64> {
        let node: u64 = read(self.0, offset!(cgroup_kn))?;
        read(node, offset!(kernfs_id))
    }

    /// `cgroup.self` is its first member, so a parent's `cgroup_subsys_state` is the parent cgroup.
    #[inline(always)]
    pub fn parent(self) -> Option<Self> {
        let parent: u64 = read(self.0, offset!(cgroup_parent))?;
        (parent != 0).then_some(Self(parent))
    }
}
