//! How connections end, and what the kernel side makes of it: a record, or one more of those that are only counted.
use keepalive_trace_ebpf::{CGROUP_SLOTS_BITS, EndKey, counter, flag, has, kind, orderly};

use crate::{
    conns::{self, Conn, mark},
    fields::Fields,
    filter, http,
    maps::{CGROUP_ENDS, CgroupEnds, ENDS, add_to, config, count, emit},
    replies,
    sock::{SOCK_DONE, Sock, is_connection, state},
    task::current_process,
    tell::{birth, handshake, sign, sign_as},
    timer::{self, Ends},
};

/// For a map's update: only where there is no such entry.
const BPF_NOEXIST: u64 = 1;

/// Which hook saw the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// `tcp_done`: the kernel, with the state as it was.
    Done,
    /// `tcp_disconnect`, called by a process.
    Disconnect,
    /// `tcp_destroy_sock`, where no other hook had seen it.
    Destroyed,
    /// Likewise, of a socket that its close has aborted.
    Aborted,
}

/// `tcp_done`: the state becomes CLOSE, in a softirq nearly always.
#[inline(always)]
pub fn done<F: Fields>(sk: F) {
    if let Some(from) = sk.state().filter(|from| is_connection(*from)) {
        ended(sk, from, End::Done);
    }
}

/// `tcp_disconnect`: a process aborts, disconnects, or closes the listener of what was never accepted.
#[inline(always)]
pub fn disconnecting<F: Fields>(sk: F) {
    if let Some(from) = sk.state().filter(|from| is_connection(*from)) {
        ended(sk, from, End::Disconnect);
    }
}

/// `tcp_destroy_sock`: the last that is seen of a socket, with softirqs off. What is still kept of its connection says that its
/// end was not seen: it was aborted by its close, or a hook was skipped.
#[inline(always)]
pub fn destroyed<F: Fields>(sk: F) {
    let Some(conn) = conns::get(sk) else { return };
    if sk.state() != Some(state::CLOSE) {
        conns::remove(sk);
        return;
    }
    // `tcp_disconnect` clears the port: by SO_LINGER 0 or TCP_REPAIR, the close aborted it.
    let aborted = sk.unread_data() > 0 || sk.rport() == Some(0) || sk.aborts_at_close();
    let from = match conn.closed_from as u8 {
        0 if conn.marks & mark::CONNECTS != 0 && conn.established_ns == 0 => state::SYN_SENT,
        // Its close was not seen either.
        0 if aborted => state::ESTABLISHED,
        0 if conn.marks & mark::CLOSED == 0 && sk.flags() & SOCK_DONE != 0 => state::LAST_ACK,
        0 => state::FIN_WAIT2,
        // Any other close sends a FIN, and after that the kernel was out of memory, or `tcp_done` was missed.
        state::ESTABLISHED | state::SYN_RECV if !aborted => {
            if sk.all_acked() {
                state::FIN_WAIT2
            } else {
                state::FIN_WAIT1
            }
        }
        state::CLOSE_WAIT if !aborted => state::LAST_ACK,
        from => from,
    };
    ended(sk, from, if aborted { End::Aborted } else { End::Destroyed });
}

/// What an end is like, in one word for [`end_record`].
mod how {
    pub const IN_TIMER: u8 = 1 << 0;
    pub const TIME_WAIT: u8 = 1 << 1;
    /// Nothing was left undone.
    pub const ORDERLY: u8 = 1 << 2;
    /// [`super::End::Aborted`].
    pub const ABORTED: u8 = 1 << 3;
}

/// The one end of a connection.
#[inline(always)]
fn ended<F: Fields>(sk: F, from: u8, end: End) {
    let socket = sk.address();
    let kept = conns::get(sk);
    if kept.is_none() && from == state::SYN_RECV {
        // A child of a listener that never was a connection.
        return;
    }
    replies::give_up(Sock::at(socket));
    if config!(http) != 0 {
        http::forget(Sock::at(socket));
    }
    let orderly = if end == End::Disconnect { 0 } else { in_order(sk, from) };
    if config!(quiet) != 0
        && orderly != 0
        && kept.as_ref().is_none_or(|conn| conn.marks & mark::TOLD == 0)
        && sk.data_idle().is_some_and(|idle| idle < config!(hz))
    {
        if kept.is_some() {
            conns::remove(sk);
        }
        if filter::wanted(sk) {
            count_end(sk, orderly);
        }
        return;
    }
    let mut how = match orderly {
        orderly::LOCAL_CLOSE => how::ORDERLY | how::TIME_WAIT,
        orderly::PEER_CLOSE => how::ORDERLY,
        _ => 0,
    };
    if end == End::Aborted {
        how |= how::ABORTED;
    }
    let (how, from) = (Forgotten::new(how).get().into(), Forgotten::new(from).get().into());
    // No timer calls tcp_disconnect.
    if end == End::Disconnect {
        end_record(sk, how, from);
    } else {
        records_of_end(sk, how, from);
    }
}

/// The record of an end that a run of the keepalive timer may have made: what it did comes first.
#[inline(never)]
fn records_of_end<F: Fields>(sk: F, how: u32, from: u32) {
    let how = Forgotten::new(how as u8);
    let by = if how.has(how::ORDERLY) { 0 } else { by_timer(sk, from) };
    end_record(sk, Forgotten::new(how.get() | by as u8).get().into(), from);
}

/// What the keepalive timer has to do with it: bits of [`how`].
#[inline(never)]
fn by_timer<F: Fields>(sk: F, from: u32) -> u32 {
    let how = match timer::ends(sk, from as u8) {
        Ends::Not => 0,
        Ends::Reset => how::IN_TIMER,
        Ends::TimeWait => how::IN_TIMER | how::TIME_WAIT,
    };
    Forgotten::new(how).get().into()
}

/// Which side closed first, one of [`orderly`], where nothing was left undone and no timer made an end; 0 elsewhere.
#[inline(always)]
fn in_order<F: Fields>(sk: F, from: u8) -> u32 {
    match from {
        // A keepalive timer that ends this state leaves an error.
        state::LAST_ACK if sk.err() == Some(0) && sk.all_acked() => orderly::PEER_CLOSE,
        // All that leaves these states without an error goes on as a time-wait socket, but where TCP_LINGER2 forbids it.
        state::FIN_WAIT2 | state::CLOSING
            if sk.err() == Some(0) && !sk.no_linger2() && timer::current(Sock::at(sk.address())).is_none() =>
        {
            orderly::LOCAL_CLOSE
        }
        _ => 0,
    }
}

/// A byte of which the verifier does not know any more what it may be: it then follows what comes once, and not once for each
/// way that leads there.
#[repr(C, align(8))]
struct Forgotten([u8; 8]);

impl Forgotten {
    #[inline(always)]
    fn new(byte: u8) -> Self {
        let mut cell = Self([0; 8]);
        // SAFETY: a byte of the cell. It is not at the beginning of a word of the stack, and is not 0.
        unsafe { (&raw mut cell.0[3]).write_volatile(byte + 1) };
        cell
    }

    #[inline(always)]
    fn get(&self) -> u8 {
        // SAFETY: a byte of the cell.
        unsafe { (&raw const self.0[3]).read_volatile() }.wrapping_sub(1)
    }

    #[inline(always)]
    fn has(&self, bit: u8) -> bool {
        self.get() & bit != 0
    }
}

/// The record of an end, and before it, where that is not known yet, of the beginning.
#[inline(never)]
fn end_record<F: Fields>(sk: F, how: u32, from: u32) {
    let how = Forgotten::new(how as u8);
    let from = Forgotten::new(from as u8);
    let nothing = u64::from(Forgotten::new(0).get());
    let mut conn = Conn {
        began_ns: nothing,
        established_ns: nothing,
        opener: nothing as u32,
        marks: nothing as u16,
        closed_from: nothing as u16,
        opener_comm: [nothing; 2],
        closer: nothing as u32,
        reserved: nothing as u32,
        closer_comm: [nothing; 2],
    };
    if let Some(kept) = conns::get(sk) {
        conn = *kept;
        conns::remove(sk);
    }
    if !filter::wanted(sk) {
        return;
    }
    if conn.marks & mark::TOLD == 0 {
        birth(sk, &conn);
    }
    record_alone(sk, how.get().into(), from.get().into(), &conn);
}

/// A function of its own, as [`birth`] has one.
#[inline(never)]
fn record_alone<F: Fields>(sk: F, how: u32, from: u32, conn: &Conn) {
    let how = Forgotten::new(how as u8);
    let from = Forgotten::new(from as u8);
    emit(|record| {
        if how.has(how::ORDERLY) {
            sk.identify(record);
        } else {
            sk.describe(record);
        }
        record.kind = kind::CLOSED;
        record.old_state = from.get();
        record.state = state::CLOSE;
        if let Some(err) = sk.err() {
            record.err = err;
            record.has |= has::ERR;
        }
        if how.has(how::IN_TIMER) {
            record.flags |= flag::IN_TIMER;
        }
        if how.has(how::TIME_WAIT) {
            record.flags |= flag::TIME_WAIT;
        } else if !how.has(how::ORDERLY) {
            sk.describe_left(record);
            if how.has(how::ABORTED) {
                // It was no orphan yet. `tcp_disconnect` leaves an error that no process reads.
                record.flags &= !flag::DEAD;
                record.err = 0;
            }
        }
        if from.get() == state::SYN_SENT {
            handshake(record, conn);
            record.has &= !has::TASK;
        }
        // Where a process gives up or aborts, it is the one that runs. An error comes in whatever task is there; then the
        // process that sent the FIN is known, or the one that had connected.
        let by_process = matches!(from.get(), state::SYN_SENT | state::ESTABLISHED | state::CLOSE_WAIT)
            && record.err == 0
            && !how.has(how::IN_TIMER);
        if by_process {
            sign(record, current_process());
            if sk.is_unaccepted() && conn.marks & mark::ACCEPTED == 0 {
                record.flags |= flag::UNACCEPTED;
            }
        } else if conn.marks & mark::CLOSED != 0 {
            sign_as(record, conn.closer, conn.closer_comm);
        } else if from.get() == state::SYN_SENT {
            sign_as(record, conn.opener, conn.opener_comm);
        }
    });
}

/// Counts an orderly end of which no record is made.
#[inline(never)]
fn count_end<F: Fields>(sk: F, verdict: u32) {
    let cgroup = sk.cgroup_id().unwrap_or(0);
    let place = cgroup.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - CGROUP_SLOTS_BITS);
    if let Some(all) = CGROUP_ENDS.get_ptr_mut(0) {
        // SAFETY: this CPU's own entry, and a place in it.
        let ends = unsafe { &mut *all.cast::<CgroupEnds>().wrapping_add(place as usize & ((1 << CGROUP_SLOTS_BITS) - 1)) };
        if ends.cgroup == 0 && cgroup != 0 {
            ends.cgroup = cgroup;
        }
        if ends.cgroup == cgroup {
            let counts = &mut ends.counts;
            return add_to(if verdict == orderly::LOCAL_CLOSE { &raw mut counts[1] } else { &raw mut counts[2] }, 1);
        }
    }
    let mut key = EndKey { cgroup, verdict, reserved: 0 };
    if let Some(value) = ENDS.get_ptr_mut(key) {
        return add_to(value, 1);
    }
    // Another CPU may make it meanwhile.
    if ENDS.insert(key, 0, BPF_NOEXIST).is_err() && ENDS.get_ptr_mut(key).is_none() {
        // No more room: the loader has made an entry for all others.
        key.cgroup = 0;
    }
    match ENDS.get_ptr_mut(key) {
        Some(value) => add_to(value, 1),
        None => count(counter::ENDS_FULL),
    }
}
