//! What is kept of a connection between its hooks: how it began, who closes it, and whether the reader knows of it.
use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::map, maps::HashMap};
use keepalive_trace_ebpf::counter;

use crate::maps::count;

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

/// By socket. A map that evicts the oldest takes so long over it that interrupts come in the middle.
#[map]
static CONNS: HashMap<u64, Conn> = HashMap::with_max_entries(65_536, 0);

/// What is known of this socket's connection.
#[inline(always)]
pub fn get(socket: u64) -> Option<&'static mut Conn> {
    let conn = CONNS.get_ptr_mut(socket)?;
    // SAFETY: an entry of a preallocated map, which stays memory of this map; hooks of one socket do not run at the same time.
    Some(unsafe { &mut *conn })
}

/// Keeps a connection. One that finds no room is counted: its opener and its closer are not known later.
#[inline(always)]
pub fn put(socket: u64, conn: &Conn) {
    if CONNS.insert(socket, conn, 0).is_err() {
        count(counter::CONNS_FULL);
    }
}

/// Forgets a connection.
#[inline(always)]
pub fn remove(socket: u64) {
    let _ = CONNS.remove(socket);
}

/// CLOCK_MONOTONIC, nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no effect.
    unsafe { bpf_ktime_get_ns() }
}
