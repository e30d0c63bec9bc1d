//! How connections break: resets sent and received, and those who kill from outside.
use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use keepalive_trace_ebpf::{counter, flag, has, kind};

use crate::{
    filter,
    maps::{config, count, emit, step},
    sock::{Head, Sock, state},
    task::current_process,
    tell::{emit_all_of, sign},
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
        if late.is_some() {
            sock.describe(&head, record);
        } else {
            sock.identify(&head, record);
        }
        record.kind = kind::RESET;
        if let Some(reason) = reason {
            record.reason = reason;
            record.has |= has::REASON;
        }
        if let Some((known, late)) = late {
            record.flags |= flag::IN_TIMER;
            record.has |= known;
            record.late = late;
        } else if record.state == state::CLOSE || record.flags & flag::DEAD == 0 {
            // A process closes, disconnects or aborts. An orphan's other resets come from timers, in whatever task was there.
            sign(record, current_process());
        }
    });
}

/// `tcp_reset`, by its tracepoint: a RST came. One that answers a SYN is told by the end of the handshake.
#[inline(always)]
pub fn peer_reset(ctx: &impl EbpfContext, sock: Sock) {
    let Some(head) = Head::of(sock) else { return };
    if head.state() == Some(state::SYN_SENT) {
        return;
    }
    debug!(ctx, "tcp_receive_reset: state {}", head.state().unwrap_or(0));
    emit_all_of(sock, &head, |record| {
        record.kind = kind::PEER_RESET;
        sock.describe_left(&head, record);
    });
}

/// `tcp_abort`. It is called on listeners, requests and time-wait sockets too: none of them is a connection.
#[inline(always)]
pub fn aborted(ctx: &impl EbpfContext, sock: Sock) {
    count(counter::RUNS);
    let Some(head) = Head::of(sock) else { return };
    let Some(state::ESTABLISHED..=state::FIN_WAIT2 | state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING) = head.state() else {
        return;
    };
    debug!(ctx, "tcp_abort: state {}", head.state().unwrap_or(0));
    emit_all_of(sock, &head, |record| {
        record.kind = kind::ABORTED;
        sign(record, current_process());
    });
}
