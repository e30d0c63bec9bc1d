//! What leaves the kernel side: a record of a connection that passes the filters, signed by who did it; and, in quiet mode, before
//! the first of them, the record of how the connection began.
use keepalive_trace_ebpf::{Record, flag, has, kind};

use crate::{
    conns::{self, Conn, NOTHING, mark},
    fields::Fields,
    filter,
    maps::{config, emit},
    sock::state,
};

/// Sends a record of a socket that passes the filters, with all that is to be known of it.
#[inline(always)]
pub fn emit_all_of<F: Fields>(sk: F, fill: impl FnOnce(&mut Record)) {
    if filter::wanted(sk) {
        tell_from_now(sk);
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
        tell_from_now(sk);
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

/// Something happens on a connection, and the reader learns first how it began, where that was seen and not told yet.
#[inline(always)]
pub fn birth<F: Fields>(sk: F, conn: &Conn) {
    if conn.marks & mark::CONNECTS == 0 {
        if conn.marks & mark::ACCEPTED == 0 {
            return;
        }
    } else if conn.established_ns == 0 && matches!(sk.state(), Some(state::SYN_SENT | state::SYN_RECV | state::CLOSE)) {
        // Not established. In other states both sides had connected at once, or the hook was skipped.
        return;
    }
    birth_record(sk, conn);
}

/// The record has the time of the beginning, and the settings as they are now. A function of its own: a call is where the verifier
/// finds that it has been here before. It forgets that while a record is reserved.
#[inline(never)]
fn birth_record<F: Fields>(sk: F, conn: &Conn) {
    emit(|record| {
        sk.describe(record);
        record.has &= !has::CLOCKS;
        record.state = state::ESTABLISHED;
        record.kind = if conn.marks & mark::CONNECTS != 0 { kind::CONNECTED } else { kind::ACCEPTED };
        record.flags &= !flag::DEAD;
        record.flags |= flag::LATE;
        record.mono_ns = conn.began_ns;
        if conn.established_ns != 0 {
            record.mono_ns = conn.established_ns;
            record.since_ns = conn.established_ns.wrapping_sub(conn.began_ns);
            record.has |= has::SINCE;
        }
        sign_as(record, conn.opener, conn.opener_comm);
    });
}

/// Before a record of this socket: its connection is told from now on.
#[inline(never)]
pub fn tell_from_now<F: Fields>(sk: F) {
    if let Some(conn) = conns::get(sk) {
        if conn.marks & mark::TOLD == 0 {
            conn.marks |= mark::TOLD;
            birth(sk, conn);
        }
    } else if config!(quiet) != 0 && sk.state() != Some(state::CLOSE) {
        conns::put(sk, &Conn { marks: mark::TOLD, ..NOTHING });
    }
}

/// Whether records of this socket are sent that alone would not be worth one.
#[inline(always)]
pub fn is_told<F: Fields>(sk: F) -> bool {
    config!(quiet) == 0 || conns::get(sk).is_some_and(|conn| conn.marks & mark::TOLD != 0)
}

/// How long the handshake took, and who had connected.
#[inline(always)]
pub fn handshake(record: &mut Record, conn: &Conn) {
    if conn.began_ns != 0 {
        let until = if conn.established_ns == 0 { record.mono_ns } else { conn.established_ns };
        record.since_ns = until.wrapping_sub(conn.began_ns);
        record.has |= has::SINCE;
    }
    sign_as(record, conn.opener, conn.opener_comm);
}

#[inline(always)]
pub fn sign_as(record: &mut Record, pid: u32, comm: [u64; 2]) {
    if pid != 0 {
        sign(record, Some((pid, comm)));
    }
}

/// A reason that no kernel has.
pub const NO_REASON: u64 = u64::MAX;

/// The record of a death by the keepalive timer.
#[inline(never)]
pub fn timer_reset_record<F: Fields>(sk: F, reason: u64) {
    tell_from_now(sk);
    emit(|record| {
        sk.describe(record);
        record.kind = kind::RESET;
        record.flags |= flag::IN_TIMER;
        if reason != NO_REASON {
            record.reason = reason as u32;
            record.has |= has::REASON;
        }
    });
}
