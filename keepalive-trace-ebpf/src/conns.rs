//! What is kept of a connection between its hooks: how it began, who closes it, and whether the reader knows of it.
use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap},
};
use keepalive_trace_ebpf::counter;

use crate::{
    fields::Fields,
    maps::{add_to, count, offset},
};

/// One connection. All of a connection's hooks run under its socket's lock, or before another task can know the socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Conn {
    /// When its SYN was sent, or when it was accepted: CLOCK_MONOTONIC, nanoseconds. 0: not seen.
    pub began_ns: u64,
    /// When the handshake that this host began was complete, likewise. 0: not yet, or not seen.
    pub established_ns: u64,
    /// The process that connected or accepted: its thread group id. 0: none.
    pub opener: u32,
    /// [`mark`] bits.
    pub marks: u16,
    /// `sk_state` when the last process closed it; 0: not closed.
    pub closed_from: u16,
    /// Name of the opener's first thread.
    pub opener_comm: [u64; 2],
    /// The process that sent the FIN: its thread group id. 0: none.
    pub closer: u32,
    /// Zero.
    pub reserved: u32,
    /// Name of the closer's first thread.
    pub closer_comm: [u64; 2],
}

/// Bits of [`Conn::marks`].
pub mod mark {
    /// This host connected.
    pub const CONNECTS: u16 = 1 << 0;
    /// A process accepted it.
    pub const ACCEPTED: u16 = 1 << 1;
    /// A record of it was sent, so that all that follows is sent too.
    pub const TOLD: u16 = 1 << 2;
    /// A process of this host closed it, or shut its side down.
    pub const CLOSED: u16 = 1 << 3;
}

/// A connection of which nothing is known.
pub const NOTHING: Conn = Conn {
    began_ns: 0,
    established_ns: 0,
    opener: 0,
    marks: 0,
    closed_from: 0,
    opener_comm: [0; 2],
    closer: 0,
    reserved: 0,
    closer_comm: [0; 2],
};

/// A connection's place, found by its socket without a helper call.
#[repr(C)]
#[derive(Clone, Copy)]
struct Slot {
    /// The socket's address; 0: free.
    socket: u64,
    conn: Conn,
}

/// How many slots there are: 2.4 MB.
const SLOTS_BITS: u32 = 15;

/// Where nearly all short connections live. A new one takes its slot from an older one, which moves to [`MOVED`].
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(1 << SLOTS_BITS, 0);

/// Connections whose slot was taken, by socket. Not a map that evicts the oldest: its updates take long enough for interrupts to
/// come in the middle.
#[map]
static MOVED: HashMap<u64, Conn> = HashMap::with_max_entries(65_536, 0);

/// How many connections are in [`MOVED`]. At 0, [`MOVED`] is not looked up.
#[map]
static MOVES: Array<u64> = Array::with_max_entries(1, 0);

/// Found by the kernel's own hash of the connection: the verifier refuses arithmetic with a typed pointer.
#[inline(always)]
fn slot<F: Fields>(sk: F) -> Option<&'static mut Slot> {
    let hash: u32 = sk.head(offset!(hash))?;
    let slot = SLOTS.get_ptr_mut(hash & ((1 << SLOTS_BITS) - 1))?;
    // SAFETY: memory of a map. Two CPUs that want one slot in the same moment may mix two connections up: one of them is then
    // not found, as if its beginning had not been seen.
    Some(unsafe { &mut *slot })
}

#[inline(always)]
fn moves() -> u64 {
    MOVES.get(0).copied().unwrap_or(0)
}

#[inline(always)]
fn add_move(number: u64) {
    if let Some(moves) = MOVES.get_ptr_mut(0) {
        add_to(moves, number);
    }
}

/// What is known of this socket's connection.
#[inline(always)]
pub fn get<F: Fields>(sk: F) -> Option<&'static mut Conn> {
    let socket = sk.address();
    let slot = slot(sk)?;
    if slot.socket == socket {
        return Some(&mut slot.conn);
    }
    if moves() == 0 {
        return None;
    }
    let conn = MOVED.get_ptr_mut(socket)?;
    // SAFETY: an entry of a preallocated map, which stays memory of this map; hooks of one socket do not run at the same time.
    Some(unsafe { &mut *conn })
}

/// Keeps a connection. One that finds no room is counted: its opener and its closer are not known later.
#[inline(always)]
pub fn put<F: Fields>(sk: F, conn: &Conn) {
    let socket = sk.address();
    let Some(slot) = slot(sk) else { return };
    let before = slot.socket;
    if before != 0 && before != socket {
        if MOVED.insert(before, slot.conn, 0).is_err() {
            return count(counter::CONNS_FULL);
        }
        add_move(1);
    }
    slot.socket = 0;
    slot.conn = *conn;
    slot.socket = socket;
}

/// Forgets a connection.
#[inline(always)]
pub fn remove<F: Fields>(sk: F) {
    let socket = sk.address();
    let Some(slot) = slot(sk) else { return };
    if slot.socket == socket {
        slot.socket = 0;
    }
    if moves() != 0 && MOVED.remove(socket).is_ok() {
        add_move(u64::MAX);
    }
}

/// CLOCK_MONOTONIC, nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no effect.
    unsafe { bpf_ktime_get_ns() }
}
