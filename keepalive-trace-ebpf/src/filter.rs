//! Whether anybody wants to hear of a socket: the shared filters, decided before anything else is read.
use aya_ebpf::maps::lpm_trie::Key;
use keepalive_trace_ebpf::{PORT_WORDS, end, filter};

use crate::{
    fields::Fields,
    maps::{ADDRESSES, CGROUPS, NETNS, PORTS, config},
    sock::{AF_INET, AF_INET6, Sock},
};

/// How far up a cgroup filter looks. Deeper trees than this are not met in practice.
const CGROUP_DEPTH: u32 = 16;

/// A value that a filter asks for and that this kernel can't give does not match.
#[inline(always)]
pub fn wanted<F: Fields>(sk: F) -> bool {
    let filters = config!(filters);
    if filters == 0 {
        return true;
    }
    matches(sk, filters).unwrap_or(false)
}

#[inline(always)]
fn matches<F: Fields>(sk: F, filters: u32) -> Option<bool> {
    let family = sk.family()?;
    if filters & filter::IPV4 != 0 && family != AF_INET {
        return Some(false);
    }
    if filters & filter::IPV6 != 0 && family != AF_INET6 {
        return Some(false);
    }
    if filters & filter::LOCAL_PORT != 0 && !port(end::LOCAL, sk.lport()?) {
        return Some(false);
    }
    if filters & filter::REMOTE_PORT != 0 && !port(end::REMOTE, sk.rport()?) {
        return Some(false);
    }
    if filters & filter::LOCAL_ADDR != 0 && !address(end::LOCAL, sk.laddr()?) {
        return Some(false);
    }
    if filters & filter::REMOTE_ADDR != 0 && !address(end::REMOTE, sk.raddr()?) {
        return Some(false);
    }
    if filters & filter::NETNS != 0 && !namespace_wanted(sk.netns()?) {
        return Some(false);
    }
    if filters & filter::CGROUP != 0 && !cgroup(Sock::at(sk.address()))? {
        return Some(false);
    }
    Some(true)
}

/// Whether anybody wants to hear of this network namespace.
#[inline(always)]
pub fn namespace_wanted(inum: u32) -> bool {
    // SAFETY: a value that is never changed once the programs run.
    config!(filters) & filter::NETNS == 0 || unsafe { NETNS.get(inum) }.is_some()
}

#[inline(always)]
fn port(end: u32, port: u16) -> bool {
    let word = end * PORT_WORDS + u32::from(port) / 64;
    PORTS.get(word).is_some_and(|bits| bits & (1 << (port % 64)) != 0)
}

#[inline(always)]
fn address(end: u32, address: [u64; 2]) -> bool {
    let [high, low] = address;
    let words = [end, low_half(high), high_half(high), low_half(low), high_half(low)];
    let data: [u8; 20] = zerocopy::transmute!(words);
    ADDRESSES.get(Key::new(160, data)).is_some()
}

/// The four bytes that come first in memory, on a little-endian machine.
#[inline(always)]
fn low_half(word: u64) -> u32 {
    word as u32
}

#[inline(always)]
fn high_half(word: u64) -> u32 {
    (word >> 32) as u32
}

#[inline(never)]
fn cgroup(sock: Sock) -> Option<bool> {
    let mut cgroup = sock.cgroup()?;
    for _ in 0..CGROUP_DEPTH {
        // SAFETY: a value that is never changed once the programs run.
        if unsafe { CGROUPS.get(cgroup.id()?) }.is_some() {
            return Some(true);
        }
        let Some(parent) = cgroup.parent() else { break };
        cgroup = parent;
    }
    Some(false)
}
