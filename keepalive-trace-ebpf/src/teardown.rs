//! How connections break: resets sent and received, and kills from outside.
use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use keepalive_trace_ebpf::{flag, has, kind};

use crate::{
    fields::Fields,
    filter,
    maps::{config, emit, step},
    sock::{Sock, is_connection, state},
    task::current_process,
    tell::{NO_REASON, emit_all_of, sign, tell_from_now, timer_reset_record},
    timer,
};

/// `tcp_send_active_reset`, but in a run of the keepalive timer on this socket, which has a program of its own.
///
/// `reason` is the argument where kernels that have a reason have it; whether this one does is in the configuration.
#[inline(always)]
pub fn active_reset<F: Fields>(ctx: &impl EbpfContext, sk: F, reason: Option<u32>) {
    if timer::current(Sock::at(sk.address())).is_some() || !filter::wanted(sk) {
        return;
    }
    let reason = reason.filter(|_| config!(has_reason) != 0);
    debug!(ctx, "tcp_send_active_reset: reason {}", reason.unwrap_or(0));
    tell_from_now(sk);
    emit(|record| {
        sk.identify(record);
        record.kind = kind::RESET;
        if let Some(reason) = reason {
            record.reason = reason;
            record.has |= has::REASON;
        }
        if record.state == state::CLOSE || record.flags & flag::DEAD == 0 {
            // A process closes, disconnects or aborts. An orphan's other resets come from timers, in whatever task was there.
            sign(record, current_process());
        }
    });
}

/// `tcp_send_active_reset` in a run of the keepalive timer: a death, or the end of an orphan in FIN_WAIT2.
#[inline(always)]
pub fn timer_reset<F: Fields>(ctx: &impl EbpfContext, sk: F, reason: Option<u32>) {
    let Some(run) = timer::current(Sock::at(sk.address())) else { return };
    run.steps |= step::RESET;
    if run.wanted == 0 {
        return;
    }
    let reason = reason.filter(|_| config!(has_reason) != 0);
    debug!(ctx, "tcp_send_active_reset: by the timer, reason {}", reason.unwrap_or(0));
    timer_reset_record(sk, reason.map_or(NO_REASON, u64::from));
}

/// `tcp_reset`, by its tracepoint: a RST came. One that answers a SYN is told by the end of the handshake.
#[inline(always)]
pub fn peer_reset<F: Fields>(ctx: &impl EbpfContext, sk: F) {
    if sk.state() == Some(state::SYN_SENT) {
        return;
    }
    debug!(ctx, "tcp_receive_reset: state {}", sk.state().unwrap_or(0));
    emit_all_of(sk, |record| {
        record.kind = kind::PEER_RESET;
        sk.describe_left(record);
    });
}

/// `tcp_abort`. It is called on listeners, requests and time-wait sockets too: none of them is a connection.
#[inline(always)]
pub fn aborted<F: Fields>(ctx: &impl EbpfContext, sk: F) {
    if !sk.state().is_some_and(is_connection) {
        return;
    }
    debug!(ctx, "tcp_abort: state {}", sk.state().unwrap_or(0));
    emit_all_of(sk, |record| {
        record.kind = kind::ABORTED;
        sign(record, current_process());
    });
}
