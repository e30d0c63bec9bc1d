//! What leaves the kernel side: a record of a socket that somebody wants to hear of, signed by who did it.
use keepalive_trace_ebpf::{Record, has};

use crate::{fields::Fields, filter, lifecycle, maps::emit};

/// Sends a record of a socket that passes the filters, with all that is to be known of it.
#[inline(always)]
pub fn emit_all_of<F: Fields>(sk: F, fill: impl FnOnce(&mut Record)) {
    if filter::wanted(sk) {
        lifecycle::tell_from_now(sk);
        emit(|record| {
            sk.describe(record);
            fill(record);
        });
    }
}

/// The same of a socket whose settings do not matter any more.
#[inline(always)]
pub fn emit_of<F: Fields>(sk: F, fill: impl FnOnce(&mut Record)) {
    if filter::wanted(sk) {
        lifecycle::tell_from_now(sk);
        emit(|record| {
            sk.identify(record);
            fill(record);
        });
    }
}

/// Notes which process did it.
#[inline(always)]
pub fn sign(record: &mut Record, process: Option<(u32, [u64; 2])>) {
    if let Some((pid, comm)) = process {
        record.task_pid = pid;
        record.task_comm = comm;
        record.has |= has::TASK;
    }
}
