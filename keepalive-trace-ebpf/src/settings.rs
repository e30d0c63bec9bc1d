//! Settings that a process changes on a socket.
use aya_ebpf::{EbpfContext, helpers::bpf_get_current_pid_tgid};
use aya_log_ebpf::debug;
use keepalive_trace_ebpf::{flag, kind};

use crate::{
    fields::Copied,
    maps::CALLS,
    sock::{Head, Sock, is_connection, state},
    task::current_process,
    tell::{emit_all_of, is_told, sign},
};

const SOL_TCP: u32 = 6;
const TCP_KEEPIDLE: u32 = 4;
const TCP_KEEPINTVL: u32 = 5;
const TCP_KEEPCNT: u32 = 6;
const TCP_USER_TIMEOUT: u32 = 18;

/// `tcp_set_keepalive`: SO_KEEPALIVE. The flag itself is set right after it.
#[inline(always)]
pub fn keepalive(ctx: &impl EbpfContext, sock: Sock, on: bool) {
    set(ctx, sock, Some(on));
}

/// Whether a `setsockopt()` is about what we show.
#[inline(always)]
pub fn concerns(level: u32, option: u32) -> bool {
    level == SOL_TCP && matches!(option, TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_KEEPCNT | TCP_USER_TIMEOUT)
}

/// `tcp_setsockopt` succeeded.
#[inline(always)]
pub fn option(ctx: &impl EbpfContext, sock: Sock) {
    set(ctx, sock, None);
}

/// `tcp_setsockopt` begins: a kretprobe does not see the arguments.
#[inline(always)]
pub fn enter(sock: Sock) {
    // A thread that finds no room has its change noticed by the next look at the socket.
    let _ = CALLS.insert(bpf_get_current_pid_tgid(), sock.address(), 0);
}

/// `tcp_setsockopt` returns.
#[inline(always)]
pub fn exit(ctx: &impl EbpfContext, ret: i32) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only this thread writes the entry.
    let Some(sock) = unsafe { CALLS.get(thread) }.copied() else { return };
    let _ = CALLS.remove(thread);
    if ret == 0 {
        set(ctx, Sock::at(sock), None);
    }
}

/// What is set before there is a connection is told with its opening.
#[inline(always)]
fn set(ctx: &impl EbpfContext, sock: Sock, keepalive: Option<bool>) {
    let mut head = Head::place();
    let Some(head) = Head::of(sock, &mut head) else { return };
    let sk = Copied { sock, head };
    if !head.state().is_some_and(|now| now != state::SYN_SENT && is_connection(now)) || !is_told(sk) {
        return;
    }
    debug!(ctx, "setsockopt: state {}", head.state().unwrap_or(0));
    emit_all_of(sk, |record| {
        record.kind = kind::SET;
        match keepalive {
            Some(true) => record.flags |= flag::KEEPOPEN,
            Some(false) => record.flags &= !flag::KEEPOPEN,
            None => {}
        }
        sign(record, current_process());
    });
}
