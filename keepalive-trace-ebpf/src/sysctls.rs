//! Writes to `net.ipv4.tcp_keepalive_*`, however they are made: all end in the handlers of `/proc/sys`.
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use keepalive_trace_ebpf::{Write, counter, name};

use crate::{
    filter,
    maps::{Pending, WRITES, config, count, emit_write, offset, present, sysctl_was_written},
    sock::{Net, read},
    task::current_process,
};

/// A handler of `/proc/sys` begins: `proc_dointvec_jiffies` for times, `proc_dou8vec_minmax` for the number of probes.
#[inline(always)]
pub fn enter(table: u64, write: bool) {
    if !write {
        return;
    }
    let Some(pending) = pending(table) else { return };
    // A thread that finds no room has its write noticed by the sockets that follow it.
    if WRITES.insert(bpf_get_current_pid_tgid(), pending, 0).is_err() {
        count(counter::UNPAIRED);
    }
}

/// The handler returns.
#[inline(always)]
pub fn exit(ret: i32) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only this thread writes the entry.
    let Some(pending) = unsafe { WRITES.get(thread) }.copied() else { return };
    let _ = WRITES.remove(thread);
    let Some(write) = written(&pending, ret) else { return };
    if write.new != write.old {
        sysctl_was_written();
    }
    if filter::namespace_wanted(write.netns) {
        emit_write(write);
    }
}

/// What is about to be written, if it is one of ours.
#[inline(always)]
fn pending(table: u64) -> Option<Pending> {
    let name = named(read(table, offset!(ctl_procname))?)?;
    let data = read(table, offset!(ctl_data))?;
    Some(Pending { data, name, old: value(data, name)? })
}

/// Which of ours is called so.
#[inline(always)]
fn named(procname: u64) -> Option<u32> {
    const TIME: [u64; 3] = zerocopy::transmute!(*b"tcp_keepalive_time\0\0\0\0\0\0");
    const INTVL: [u64; 3] = zerocopy::transmute!(*b"tcp_keepalive_intvl\0\0\0\0\0");
    const PROBES: [u64; 3] = zerocopy::transmute!(*b"tcp_keepalive_probes\0\0\0\0");
    let [first, second, third]: [u64; 3] = read(procname, 0)?;
    // What follows the NUL is another string.
    let is =
        |name: [u64; 3], bytes: u32| first == name[0] && second == name[1] && third & (u64::MAX >> (64 - 8 * bytes)) == name[2];
    if is(TIME, 3) {
        return Some(name::TIME);
    }
    if is(INTVL, 4) {
        return Some(name::INTVL);
    }
    is(PROBES, 5).then_some(name::PROBES)
}

#[inline(always)]
fn value(data: u64, name: u32) -> Option<i32> {
    let is_byte = name == name::PROBES && config!(probes_is_int) == 0;
    if is_byte { read::<u8>(data, 0).map(i32::from) } else { read(data, 0) }
}

#[inline(always)]
fn written(Pending { data, name, old }: &Pending, ret: i32) -> Option<Write> {
    let within = present(match *name {
        name::TIME => offset!(sysctl_time),
        name::INTVL => offset!(sysctl_intvl),
        _ => offset!(sysctl_probes),
    })?;
    let (task_pid, task_comm) = current_process().unwrap_or_default();
    Some(Write {
        // SAFETY: no arguments, no effect.
        mono_ns: unsafe { bpf_ktime_get_ns() },
        netns: Net::at(data.wrapping_sub(within as u64)).inum()?,
        name: *name,
        old: *old,
        new: value(*data, *name)?,
        ret,
        task_pid,
        task_comm,
    })
}
