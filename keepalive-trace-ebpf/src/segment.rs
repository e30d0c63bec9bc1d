//! HTTP on the wire: the segments that the kernel side passes on.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A TCP segment in which the head of an HTTP message begins or goes on, or that closes a connection on which there was one.
/// It comes through a ring of its own, with room for [`TINY`], [`SMALL`] or [`LARGE`] bytes behind it, of which the first
/// [`Segment::captured`] are its payload's first ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Segment {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub mono_ns: u64,
    /// The socket's address, as in [`crate::Record::sk`].
    pub sk: u64,
    /// Since the payload before it on this connection, in either direction, nanoseconds; 0 where there was none yet.
    pub idle_ns: u64,
    /// Of a listener's: local address, as in [`crate::Record::laddr`].
    pub laddr: [u64; 2],
    /// Of a listener's: remote address, likewise.
    pub raddr: [u64; 2],
    /// Of a listener's: inode of the network namespace.
    pub netns: u32,
    /// The first payload byte's sequence number.
    pub seq: u32,
    /// The sequence number that its sender expects next.
    pub ack: u32,
    /// Bytes of payload that the segment has.
    pub len: u32,
    /// Bytes of payload that follow here.
    pub captured: u32,
    /// Of a listener's: local port, host order.
    pub lport: u16,
    /// Of a listener's: remote port, host order.
    pub rport: u16,
    /// `sk_state`.
    pub state: u8,
    /// [`mark`] bits.
    pub marks: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// Bits of [`Segment::marks`].
pub mod mark {
    /// It leaves this host; otherwise it comes.
    pub const EGRESS: u8 = 1 << 0;
    /// FIN.
    pub const FIN: u8 = 1 << 1;
    /// RST.
    pub const RST: u8 = 1 << 2;
    /// Its payload begins as an HTTP message does.
    pub const START: u8 = 1 << 3;
    /// The socket is a listener, and the connection its child, which is only about to be made.
    pub const LISTENER: u8 = 1 << 4;
}

/// Room for a short head, bytes.
pub const TINY: usize = 256;
/// Room for most heads, bytes.
pub const SMALL: usize = 1024;
/// Room for a large one, or as much of it as a segment gives, bytes.
pub const LARGE: usize = 8192;

const _: () = assert!(size_of::<Segment>() == 88);
