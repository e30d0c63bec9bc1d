//! The kernel's own count of keepalive probes, compared with ours: probes that the kernel skipped without a count are counted here.
use aya_ebpf::{
    helpers::generated::bpf_get_smp_processor_id,
    macros::map,
    maps::{Array, HashMap},
};
use keepalive_trace_ebpf::{counter, look};

use crate::{
    maps::{add, offset},
    sock::{Net, Sock, read},
};

/// A namespace's counter of probes on one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
struct Key {
    /// Address of the `struct net`.
    net: u64,
    cpu: u64,
}

/// What was found with the last probe that was seen.
#[repr(C)]
#[derive(Clone, Copy)]
struct Seen {
    /// The counter, that probe included.
    count: u64,
    /// `LINUX_MIB_TCPKEEPALIVE`: the counter's index.
    mib: u32,
    /// The namespace's inode: another one has the address once the first is freed.
    inum: u32,
}

#[map]
static PROBES: HashMap<Key, Seen> = HashMap::with_max_entries(16_384, 0);

/// Address of the kernel's `__per_cpu_offset`, an array of u64; 0 until the reader has set it, after the first probe.
#[map]
static PER_CPU_OFFSETS: Array<u64> = Array::with_max_entries(1, 0);

/// A probe was seen, on the CPU that counted it (`LINUX_MIB_TCPKEEPALIVE`, whose index `tcp_write_wakeup` has as its argument).
/// Whatever else was counted since the last one was not seen.
#[inline(always)]
pub fn compare(sock: Sock, mib: u32) {
    if let Some((key, now)) = counted(sock, mib) {
        if let Some(seen) = PROBES.get_ptr_mut(key) {
            // SAFETY: an entry of a map; only this CPU writes to this key.
            let seen = unsafe { &mut *seen };
            let count = &raw mut seen.count;
            // SAFETY: as above.
            let unseen = now.wrapping_sub(unsafe { count.read_volatile() }).wrapping_sub(1);
            if unseen == 0 || Net::at(key.net).inum() == Some(seen.inum) {
                // A probe that found no memory is not counted.
                if unseen.cast_signed() > 0 {
                    add(counter::UNSEEN_PROBES, unseen);
                }
                // SAFETY: as above.
                unsafe { count.write_volatile(now) };
                return;
            }
        }
        let inum = Net::at(key.net).inum().unwrap_or(0);
        let _ = PROBES.insert(key, Seen { count: now, mib, inum }, 0);
    }
}

#[inline(always)]
fn counted(sock: Sock, mib: u32) -> Option<(Key, u64)> {
    let offsets = *PER_CPU_OFFSETS.get(0)?;
    if offsets == 0 {
        return None;
    }
    // SAFETY: no arguments, no effect.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
    let key = Key { net: read(sock.address(), offset!(net))?, cpu };
    Some((key, count(key, offsets, mib)?))
}

/// The kernel's counter as it is now.
#[inline(always)]
fn count(key: Key, offsets: u64, mib: u32) -> Option<u64> {
    let counters: u64 = read(key.net, offset!(net_statistics))?;
    let this_cpu: u64 = read(offsets.wrapping_add(key.cpu * 8), 0)?;
    read(counters.wrapping_add(this_cpu).wrapping_add(u64::from(mib) * 8), 0)
}

/// Run by the reader, on any CPU: one of [`look`]. The entry of a namespace that is gone is removed.
#[inline(always)]
pub fn look(net: u64, cpu: u64, which: u64) -> u32 {
    let key = Key { net, cpu };
    let (Some(&offsets), Some(seen)) = (PER_CPU_OFFSETS.get(0), PROBES.get_ptr(key)) else { return 0 };
    // SAFETY: an entry of a map, which lives as long as the program.
    let seen = unsafe { &*seen };
    let before = &raw const seen.count;
    // SAFETY: as above.
    let before = unsafe { before.read_volatile() };
    let now = count(key, offsets, seen.mib);
    // Last: while the namespace is there, so are its counters.
    let is_there = read::<u32>(net, offset!(net_count)).is_some_and(|count| count != 0);
    if !is_there || Net::at(net).inum() != Some(seen.inum) {
        let _ = PROBES.remove(key);
        return 0;
    }
    match which {
        look::SEEN => before as u32,
        _ => now.unwrap_or(0) as u32,
    }
}
