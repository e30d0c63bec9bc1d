//! How connections begin, and which process closes them.
//!
//! Each hook is a program of its own, and runs either in tasks or in softirqs: the kernel skips a program that is at work on
//! that CPU already, and a task that was preempted or interrupted in the middle of one would hide what happens to others.
use keepalive_trace_ebpf::{has, kind};

use crate::{
    conns::{self, Conn, NOTHING, mark, now},
    fields::Fields,
    filter,
    maps::{config, emit, offset},
    sock::{is_connection, state},
    task::current_process,
    tell::{handshake, sign, sign_as, tell_from_now},
};

/// `tcp_v4_connect` and `tcp_v6_connect` have returned 0: the SYN was sent, and the socket is still locked.
#[inline(always)]
pub fn connecting<F: Fields>(sk: F) {
    if sk.state() != Some(state::SYN_SENT) || !filter::wanted(sk) {
        return;
    }
    let conn = opened_by_current(clock(sk), mark::CONNECTS);
    conns::put(sk, &conn);
}

/// They failed after the state had become SYN_SENT. The remote port is gone from the socket already.
#[inline(always)]
pub fn connect_failed<F: Fields>(sk: F, rport: u16) {
    // Where the way was not known, the state never was SYN_SENT, and the socket has no remote address.
    if rport == 0 || sk.state() != Some(state::CLOSE) || !sk.raddr().is_some_and(is_specified) || !filter::wanted(sk) {
        return;
    }
    emit(|record| {
        sk.describe(record);
        record.kind = kind::CLOSED;
        record.old_state = state::SYN_SENT;
        record.rport = rport;
        record.has |= has::ERR;
        sk.describe_left(record);
        sign(record, current_process());
    });
}

/// `tcp_finish_connect`: SYN_SENT becomes ESTABLISHED.
#[inline(always)]
pub fn established<F: Fields>(sk: F) {
    let kept = conns::get(sk);
    let mut conn = Conn { marks: mark::CONNECTS, ..NOTHING };
    if let Some(kept) = kept {
        kept.established_ns = clock(sk);
        if config!(quiet) == 0 {
            kept.marks |= mark::TOLD;
        }
        conn = *kept;
    }
    if config!(quiet) != 0 && conn.marks & mark::TOLD == 0 || !filter::wanted(sk) {
        return;
    }
    emit(|record| {
        sk.describe(record);
        record.kind = kind::CONNECTED;
        record.state = state::ESTABLISHED;
        handshake(record, &conn);
    });
}

/// `security_sock_graft`: `accept()` gives the socket to the process that called it.
#[inline(always)]
pub fn accepted<F: Fields>(sk: F) {
    if !sk.is_inet() || !filter::wanted(sk) {
        return;
    }
    let mut conn = opened_by_current(now(), mark::ACCEPTED);
    let before = conns::get(sk);
    // One that was waiting to be accepted, and had something happen to it.
    let told = before.is_some_and(|before| before.marks & mark::TOLD != 0);
    let tells = config!(quiet) == 0 || told;
    if tells {
        conn.marks |= mark::TOLD;
    }
    // One that died before was told already.
    if sk.state().is_some_and(is_connection) {
        conns::put(sk, &conn);
    }
    if tells {
        emit(|record| {
            sk.describe(record);
            record.kind = kind::ACCEPTED;
            sign_as(record, conn.opener, conn.opener_comm);
        });
    }
}

/// `__tcp_close`, and `tcp_shutdown` of the sending side: the process that sends the FIN, or aborts. `whole` gives all of the socket,
/// of which `sk` may be the common part only.
#[inline(always)]
pub fn closing<F: Fields, W: Fields>(sk: F, whole: impl FnOnce() -> Option<W>, for_good: bool) {
    let Some(from) = sk.state().filter(|from| is_connection(*from)) else { return };
    let sends_fin = matches!(from, state::ESTABLISHED | state::SYN_RECV | state::CLOSE_WAIT);
    if !sends_fin && !for_good {
        return;
    }
    if let Some(conn) = conns::get(sk) {
        note_close(conn, from, sends_fin, for_good);
        // This close aborts: `tcp_disconnect` clears the addresses, and the hooks that see them may be skipped.
        if for_good
            && sk.aborts_at_close()
            && let Some(sk) = whole()
        {
            tell_from_now(sk);
        }
        return;
    }
    if !whole().is_some_and(filter::wanted) {
        return;
    }
    let mut conn = NOTHING;
    note_close(&mut conn, from, sends_fin, for_good);
    conns::put(sk, &conn);
}

#[inline(always)]
fn note_close(conn: &mut Conn, from: u8, sends_fin: bool, for_good: bool) {
    if for_good {
        conn.closed_from = from.into();
    }
    if sends_fin {
        let (pid, comm) = current_process().unwrap_or_default();
        conn.marks |= mark::CLOSED;
        conn.closer = pid;
        conn.closer_comm = comm;
    }
}

/// CLOCK_MONOTONIC, nanoseconds, as TCP has just read it for what it does in this moment.
#[inline(always)]
fn clock<F: Fields>(sk: F) -> u64 {
    sk.get::<u64>(offset!(clock_cache)).filter(|ns| *ns != 0).unwrap_or_else(now)
}

/// Whether an address is not 0.0.0.0 or `::`.
fn is_specified(address: [u64; 2]) -> bool {
    const NONE4: [u64; 2] = [0, u64::from_be(0xffff_0000_0000)];
    address != [0, 0] && address != NONE4
}

#[inline(always)]
fn opened_by_current(began_ns: u64, how: u16) -> Conn {
    let (opener, opener_comm) = current_process().unwrap_or_default();
    Conn { began_ns, opener, opener_comm, marks: how, ..NOTHING }
}
