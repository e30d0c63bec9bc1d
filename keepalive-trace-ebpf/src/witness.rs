//! The kernel's own count of keepalive probes, held against ours: what the kernel skipped without a count is counted here.
use aya_ebpf::{
    helpers::generated::bpf_get_smp_processor_id,
    macros::map,
    maps::{Array, HashMap},
};
use keepalive_trace_ebpf::counter;

use crate::{
    maps::{add, offset},
    sock::{Sock, read},
};

/// A namespace's counter of probes on one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
struct Key {
    /// Address of the `struct net`.
    net: u64,
    cpu: u64,
}

/// The counter as it was after the last probe that we saw.
#[map]
static PROBES: HashMap<Key, u64> = HashMap::with_max_entries(16_384, 0);

/// Address of the kernel's `__per_cpu_offset`, an array of u64; 0 until the reader has set it, after the first probe.
#[map]
static PER_CPU_OFFSETS: Array<u64> = Array::with_max_entries(1, 0);

/// A probe was seen, on the CPU that counted it (`LINUX_MIB_TCPKEEPALIVE`, whose index `tcp_write_wakeup` has as its argument).
/// Whatever else was counted since the last one was not seen.
#[inline(always)]
pub fn compare(sock: Sock, mib: u32) {
    if let Some((key, now)) = counted(sock, mib) {
        if let Some(before) = PROBES.get_ptr(key) {
            // SAFETY: an aligned word of a map; only this CPU has this key.
            let unseen = now.wrapping_sub(unsafe { before.read() }).wrapping_sub(1);
            // A probe that found no memory is not counted.
            if unseen.cast_signed() > 0 {
                add(counter::UNSEEN_PROBES, unseen);
            }
        }
        let _ = PROBES.insert(key, now, 0);
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
    let net: u64 = read(sock.address(), offset!(net))?;
    let counters: u64 = read(net, offset!(net_statistics))?;
    let this_cpu: u64 = read(offsets.wrapping_add(cpu * 8), 0)?;
    let now = read(counters.wrapping_add(this_cpu).wrapping_add(u64::from(mib) * 8), 0)?;
    Some((Key { net, cpu }, now))
}
