//! HTTP on the wire: the segments that the kernel side passes on.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A TCP segment in which the head of an HTTP message begins or goes on, or that closes a connection on which there was one; or
/// in which somebody greets with TLS. It comes through a ring of its own, with room for [`TINY`], [`SMALL`] or [`LARGE`] bytes behind it, of which the first
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
    /// Where [`mark::ENDS`] says so: local address, as in [`crate::Record::laddr`].
    pub laddr: [u64; 2],
    /// Where [`mark::ENDS`] says so: remote address, likewise.
    pub raddr: [u64; 2],
    /// Where [`mark::ENDS`] says so: inode of the network namespace.
    pub netns: u32,
    /// The first payload byte's sequence number.
    pub seq: u32,
    /// The sequence number that its sender expects next.
    pub ack: u32,
    /// Bytes of payload that the segment has.
    pub len: u32,
    /// Bytes of payload that follow here.
    pub captured: u32,
    /// Where [`mark::ENDS`] says so: local port, host order.
    pub lport: u16,
    /// Where [`mark::ENDS`] says so: remote port, host order.
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
    /// The first segment that is told of such a child.
    pub const CHILD: u8 = 1 << 5;
    /// No more of the head is passed on, whether this was its end or not.
    pub const CUT: u8 = 1 << 6;
    /// A ClientHello: the first on a connection that somebody wants to hear of. No other follows until the reader asks for it.
    pub const TLS: u8 = 1 << 7;
    /// With one of these come both ends, and the namespace.
    pub const ENDS: u8 = LISTENER | CHILD | TLS;
}

/// Whether the first four bytes of a segment are those of an HTTP message: of a method, of a response, or of what a client of
/// HTTP/2 says first. As a big-endian number.
#[inline(always)]
pub const fn begins(four: u32) -> bool {
    const STARTS: [&[u8; 4]; 11] =
        [b"GET ", b"POST", b"HTTP", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", PREFACE];
    let mut is_one = false;
    let mut index = 0;
    while index < STARTS.len() {
        is_one |= four == u32::from_be_bytes(*STARTS[index]);
        index += 1;
    }
    is_one
}

/// How a client of HTTP/2 begins.
pub const PREFACE: &[u8; 4] = b"PRI ";

/// So many bytes of a head are passed on, and of what follows it where its end is not the end of a segment; those of its last
/// segment not counted.
pub const LONGEST: u32 = 16 * 1024;

/// Room for a short head, bytes.
pub const TINY: usize = 256;
/// Room for most heads, bytes.
pub const SMALL: usize = 1024;
/// Room for a large one, or as much of it as a segment gives, bytes.
pub const LARGE: usize = 8192;

const _: () = assert!(size_of::<Segment>() == 88);
