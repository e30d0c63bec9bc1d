//! Packets, as a program of a cgroup's sees them: from the network header on.
use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::{bpf_probe_read_kernel, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use keepalive_trace_ebpf::{Segment, mark};

use crate::sock::Sock;

/// `ETH_P_IP` and `ETH_P_IPV6` as a packet has them.
const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;
const IPPROTO_TCP: u8 = 6;
/// `NEXTHDR_HOP`: an IPv6 packet of more than 64 KiB begins with such a header, of 8 bytes.
const HOP_BY_HOP: u8 = 0;

const FIN: u8 = 1 << 0;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;

/// A TCP packet, as far as it matters.
#[derive(Clone, Copy)]
pub struct Packet {
    pub skb: *mut __sk_buff,
    /// Where its payload begins, from the network header on.
    pub payload: u32,
    pub len: u32,
    pub seq: u32,
    pub ack: u32,
    pub sock: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub now: u64,
    pub idle_ns: u64,
    /// The socket's network namespace, where its ends are told.
    pub netns: u32,
    /// Where the TCP header begins, from the network header on.
    header: u16,
    /// [`mark`] bits.
    pub marks: u8,
    pub state: u8,
}

/// The same number, of which the compiler does not know any more how it was made.
#[inline(always)]
fn hidden<T: Copy>(number: T) -> T {
    // SAFETY: it is there.
    unsafe { (&raw const number).read_volatile() }
}

/// The packet's socket: as a number, since the verifier lets nobody calculate with the kernel's pointer.
#[inline(always)]
pub fn socket(ctx: &SkBuffContext) -> Option<Sock> {
    // SAFETY: the context is the packet's, and has this field.
    let field = unsafe { &raw const (*ctx.skb.skb).__bindgen_anon_2 };
    // SAFETY: the field is the pointer alone.
    let pointer = unsafe { field.cast::<*const bpf_sock>().read() };
    if pointer.is_null() {
        return None;
    }
    // SAFETY: this program's own stack.
    unsafe { bpf_probe_read_kernel((&raw const pointer).cast::<u64>()) }.ok().map(Sock::at)
}

impl Packet {
    /// One of which nothing is known yet.
    #[inline(always)]
    pub fn of(ctx: &SkBuffContext, egress: bool) -> Self {
        let marks = if egress { mark::EGRESS } else { 0 };
        let skb = ctx.skb.skb;
        Self { skb, payload: 0, len: 0, seq: 0, ack: 0, sock: 0, now: 0, idle_ns: 0, netns: 0, header: 0, marks, state: 0 }
    }

    /// Reads its headers; none where it is no packet of TCP.
    #[inline(never)]
    pub fn read(&mut self) -> Option<()> {
        let skb = self.skb;
        // SAFETY: the context is the packet's.
        let protocol = unsafe { (*skb).protocol };
        // SAFETY: as above.
        let total = unsafe { (*skb).len };
        let header = match protocol {
            IPV4 => {
                let first: [u8; 12] = load(skb, 0)?;
                // A fragment but the first has no header of TCP.
                if first[9] != IPPROTO_TCP || first[6] & 0x1f != 0 || first[7] != 0 {
                    return None;
                }
                u32::from(first[0] & 0xf) * 4
            }
            IPV6 => {
                let first: [u8; 8] = load(skb, 0)?;
                match first[6] {
                    IPPROTO_TCP => 40,
                    HOP_BY_HOP if load::<[u8; 2]>(skb, 40)?[0] == IPPROTO_TCP => 48,
                    _ => return None,
                }
            }
            _ => return None,
        };
        let [seq, ack, rest]: [u32; 3] = load(skb, header + 4)?;
        let rest = u32::from_be(rest);
        let payload = header + (rest >> 28) * 4;
        let flags = (rest >> 16) as u8;
        if flags & FIN != 0 {
            self.marks |= mark::FIN;
        }
        if flags & RST != 0 {
            self.marks |= mark::RST;
        }
        self.header = header as u16;
        self.payload = payload;
        self.len = total.checked_sub(payload)?;
        // A SYN takes a number of its own.
        self.seq = u32::from_be(seq).wrapping_add(u32::from(flags & SYN != 0));
        self.ack = u32::from_be(ack);
        Some(())
    }

    /// The first four bytes of the payload, as a big-endian number; 0 where there are fewer.
    #[inline(always)]
    pub fn first_four(&self) -> u32 {
        load::<[u32; 1]>(self.skb, self.payload).map_or(0, |[four]| u32::from_be(four))
    }

    /// The sequence number after the payload.
    #[inline(always)]
    pub fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len)
    }

    #[inline(always)]
    pub fn segment(&self, captured: u32) -> Segment {
        Segment {
            mono_ns: self.now,
            sk: self.sock,
            idle_ns: self.idle_ns,
            seq: self.seq,
            ack: self.ack,
            len: self.len,
            captured,
            state: self.state,
            marks: self.marks,
            ..Segment::default()
        }
    }

    /// Fills in both ends.
    #[inline(never)]
    pub fn ends(&self, segment: &mut Segment) -> Option<()> {
        // SAFETY: the context is the packet's.
        let protocol = unsafe { (*self.skb).protocol };
        let (from, to) = if protocol == IPV4 {
            let [from, to]: [u32; 2] = load(self.skb, 12)?;
            let mapped = |address: u32| [0, u64::from_be(0xffff_0000_0000 | u64::from(u32::from_be(address)))];
            (mapped(from), mapped(to))
        } else {
            let [a, b, c, d]: [u64; 4] = load(self.skb, 8)?;
            ([a, b], [c, d])
        };
        let [source, destination]: [u16; 2] = load(self.skb, self.header.into())?;
        let (source, destination) = (u16::from_be(source), u16::from_be(destination));
        if self.marks & mark::EGRESS == 0 {
            (segment.raddr, segment.laddr) = (from, to);
            (segment.rport, segment.lport) = (source, destination);
        } else {
            (segment.laddr, segment.raddr) = (from, to);
            (segment.lport, segment.rport) = (source, destination);
        }
        segment.netns = self.netns;
        Some(())
    }

    /// The last four bytes, the last one lowest, where these went before.
    #[inline(always)]
    pub fn tail(&self, before: u32) -> u32 {
        if self.len >= 4 {
            return load::<[u32; 1]>(self.skb, self.payload + self.len - 4).map_or(0, |[four]| u32::from_be(four));
        }
        let mut tail = before;
        for index in 0..3 {
            if index < self.len {
                tail = tail << 8 | load::<[u8; 1]>(self.skb, self.payload + index).map_or(0, |[byte]| u32::from(byte));
            }
        }
        tail
    }

    /// Copies the payload, or as much of it as there is room for.
    #[inline(always)]
    pub fn copy<const ROOM: usize>(&self, to: *mut u8) -> Option<u32> {
        let room = ROOM as u32;
        let len = if self.len > room { room } else { self.len };
        // The verifier has to see this comparison, which the compiler thinks it can do without; and in old kernels it learns from none
        // with 0 that a number is another.
        let most = hidden(len.wrapping_sub(1));
        if most >= room {
            return None;
        }
        let len = most + 1;
        // SAFETY: there is so much room.
        let copied = unsafe { bpf_skb_load_bytes(self.skb.cast(), self.payload, to.cast(), len) };
        (copied == 0).then_some(len)
    }
}

#[inline(always)]
pub fn load<T>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut data = MaybeUninit::<T>::uninit();
    // SAFETY: there is room for a `T`, whose bytes may be anything: only plain numbers are asked for.
    let loaded = unsafe { bpf_skb_load_bytes(skb.cast(), at, data.as_mut_ptr().cast(), size_of::<T>() as u32) };
    // SAFETY: all of it was written.
    (loaded == 0).then(|| unsafe { data.assume_init() })
}
