//! What leaves the kernel side: a record of a socket that somebody wants to hear of, signed by who did it.
use keepalive_trace_ebpf::{Record, has};

use crate::{
    filter,
    maps::emit,
    sock::{Head, Sock},
};

/// Tells of a socket that somebody wants to hear of, with all that is to be known of it.
#[inline(always)]
pub fn emit_all_of(sock: Sock, head: &Head, fill: impl FnOnce(&mut Record)) {
    if filter::wanted(sock, head) {
        emit(|record| {
            sock.describe(head, record);
            fill(record);
        });
    }
}

/// The same of a socket whose settings don't matter any more.
#[inline(always)]
pub fn emit_of(sock: Sock, head: &Head, fill: impl FnOnce(&mut Record)) {
    if filter::wanted(sock, head) {
        emit(|record| {
            sock.identify(head, record);
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
