//! How connections begin and end: the state changes, and who was behind them.
use aya_ebpf::{EbpfContext, helpers::bpf_ktime_get_ns};
use aya_log_ebpf::debug;
use keepalive_trace_ebpf::{Record, counter, flag, has, kind};

use crate::{
    filter, http,
    maps::{DEEDS, Deed, LEAVING, config, count, emit},
    replies,
    sock::{Head, Sock, state},
    task::current_process,
    tell::{emit_all_of, sign},
    timer,
};

/// `inet_sock_set_state`: two records a connection, at its birth and at its death. What lies between is remembered here.
#[inline(always)]
pub fn state_changes(ctx: &impl EbpfContext, sock: Sock, old: u8, new: u8) {
    match (old, new) {
        (_, state::SYN_SENT)
        | (state::ESTABLISHED | state::SYN_RECV, state::FIN_WAIT1)
        | (state::CLOSE_WAIT, state::LAST_ACK) => {
            remember(sock);
        }
        (state::SYN_SENT | state::SYN_RECV, state::ESTABLISHED) => connected(sock, old),
        (state::ESTABLISHED..=state::FIN_WAIT2 | state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING, state::CLOSE) => {
            closed(ctx, sock, old);
        }
        _ => {}
    }
}

/// `security_sock_graft`: `accept()` gives the socket to the process that called it.
#[inline(always)]
pub fn accepted(sock: Sock) {
    count(counter::RUNS);
    let Some(head) = Head::of(sock) else { return };
    if !head.is_inet() || !sock.is_tcp() {
        return;
    }
    emit_all_of(sock, &head, |record| {
        record.kind = kind::ACCEPTED;
        sign(record, current_process());
    });
}

/// `tcp_time_wait`: the socket's state becomes CLOSE at the end of it, while a time-wait socket goes on in its place.
#[inline(always)]
pub fn leaves(sock: Sock) {
    if let Some(leaving) = LEAVING.get_ptr_mut(0) {
        // SAFETY: this CPU's own word.
        unsafe { leaving.write(sock.address()) };
    }
}

/// A process connects, or sends the FIN: only processes do, in `connect()`, `shutdown()` and `close()`.
#[inline(always)]
fn remember(sock: Sock) {
    if !sock.is_tcp() {
        return;
    }
    let (pid, comm) = current_process().unwrap_or_default();
    // SAFETY: no arguments, no effect.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    // It fails only where the map has been full of what is being written just now: then nobody is remembered.
    let _ = DEEDS.insert(sock.address(), Deed { at_ns, pid: pid.into(), comm }, 0);
}

/// What a socket's process did; nothing, at no time, where it did nothing. (An `Option` leaves words undefined, which the
/// verifier does not let anybody copy.)
#[inline(always)]
fn recall(sock: Sock) -> Deed {
    // SAFETY: only this socket's own events write the entry, and they come one after the other.
    unsafe { DEEDS.get(sock.address()) }.copied().unwrap_or(Deed { at_ns: 0, pid: 0, comm: [0; 2] })
}

#[inline(always)]
fn forget(sock: Sock) {
    // Nothing is there for most.
    let _ = DEEDS.remove(sock.address());
}

/// A child of a listener comes this way too, and is told when it is accepted.
#[inline(always)]
fn connected(sock: Sock, old: u8) {
    let deed = recall(sock);
    if deed.at_ns == 0 && old == state::SYN_RECV || !sock.is_tcp() {
        return;
    }
    forget(sock);
    let Some(head) = Head::of(sock) else { return };
    emit_all_of(sock, &head, |record| {
        record.kind = kind::CONNECTED;
        // The tracepoint comes before the change.
        record.state = state::ESTABLISHED;
        since(record, &deed);
        sign_deed(record, &deed);
    });
}

#[inline(always)]
fn since(record: &mut Record, deed: &Deed) {
    if deed.at_ns != 0 {
        record.since_ns = record.mono_ns.wrapping_sub(deed.at_ns);
        record.has |= has::SINCE;
    }
}

#[inline(always)]
fn sign_deed(record: &mut Record, deed: &Deed) {
    if deed.pid != 0 {
        sign(record, Some((deed.pid as u32, deed.comm)));
    }
}

#[inline(always)]
fn closed(ctx: &impl EbpfContext, sock: Sock, old: u8) {
    if !sock.is_tcp() {
        return;
    }
    let deed = recall(sock);
    if deed.at_ns != 0 {
        forget(sock);
    } else if old == state::SYN_RECV {
        // A child of a listener that never was a connection.
        return;
    }
    replies::give_up(sock);
    if config!(http) != 0 {
        http::forget(sock);
    }
    let in_timer = timer::current(sock).is_some();
    let time_wait = left(sock);
    let Some(head) = Head::of(sock) else { return };
    debug!(ctx, "inet_sock_set_state: {} to CLOSE, in_timer {}", old, u32::from(in_timer));
    let err = sock.err();
    let orderly = err == Some(0) && (time_wait || old == state::LAST_ACK && sock.all_acked());
    if !filter::wanted(sock, &head) {
        return;
    }
    emit(|record| {
        if orderly {
            sock.identify(&head, record);
        } else {
            sock.describe(&head, record);
        }
        record.kind = kind::CLOSED;
        record.old_state = old;
        record.state = state::CLOSE;
        if let Some(err) = err {
            record.err = err;
            record.has |= has::ERR;
        }
        if in_timer {
            record.flags |= flag::IN_TIMER;
        }
        if time_wait {
            record.flags |= flag::TIME_WAIT;
        } else if !orderly {
            sock.describe_left(&head, record);
        }
        if old == state::SYN_SENT {
            since(record, &deed);
        }
        // Where a process gives up or aborts, it is the one that runs. An error comes in whatever task is there; then whoever
        // had connected, or had sent the FIN, is known.
        let by_process = matches!(old, state::SYN_SENT | state::ESTABLISHED | state::CLOSE_WAIT) && record.err == 0 && !in_timer;
        if by_process {
            sign(record, current_process());
            if sock.is_unaccepted(&head) {
                record.flags |= flag::UNACCEPTED;
            }
        } else {
            sign_deed(record, &deed);
        }
    });
}

/// Whether `tcp_time_wait` is at work on this socket.
#[inline(always)]
fn left(sock: Sock) -> bool {
    let Some(leaving) = LEAVING.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own word.
    let last = unsafe { leaving.read() };
    // SAFETY: as above.
    unsafe { leaving.write(0) };
    last == sock.address()
}
