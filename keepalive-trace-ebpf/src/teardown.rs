//! How connections end: `tcp_send_active_reset`.
use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_comm},
};
use aya_log_ebpf::debug;
use keepalive_trace_ebpf::{counter, flag, has, kind};

use crate::{
    filter,
    maps::{config, count, emit, step},
    sock::{Head, Sock, TCP_CLOSE},
    timer,
};

/// `reason` is the argument where kernels that have a reason have it; whether this one does is in the configuration.
#[inline(always)]
pub fn active_reset(ctx: &impl EbpfContext, sock: Sock, reason: Option<u32>) {
    count(counter::RUNS);
    let late = timer::current(sock).map(|run| {
        run.steps |= step::RESET;
        (run.record.has & has::LATE, run.record.late)
    });
    let Some(head) = Head::of(sock) else { return };
    if !filter::wanted(sock, &head) {
        return;
    }
    let reason = reason.filter(|_| config!(has_reason) != 0);
    debug!(ctx, "tcp_send_active_reset: in_timer {} reason {}", u32::from(late.is_some()), reason.unwrap_or(0));
    emit(|record| {
        sock.describe(&head, record);
        record.kind = kind::RESET;
        if let Some(reason) = reason {
            record.reason = reason;
            record.has |= has::REASON;
        }
        if let Some((known, late)) = late {
            record.flags |= flag::IN_TIMER;
            record.has |= known;
            record.late = late;
        } else if record.state == TCP_CLOSE || record.flags & flag::DEAD == 0 {
            // A process closes, disconnects or aborts. An orphan's other resets come from timers, in whatever task was there.
            record.task_pid = (bpf_get_current_pid_tgid() >> 32) as u32;
            let comm = (&raw mut record.task_comm).cast();
            // SAFETY: the helper fills exactly these 16 bytes.
            unsafe { bpf_get_current_comm(comm, size_of_val(&record.task_comm) as u32) };
            record.has |= has::TASK;
        }
    });
}
