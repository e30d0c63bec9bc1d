//! First bytes of HTTP messages, where somebody asked for them: a look at every packet of TCP, and a record of those in which
//! the head of a message begins or goes on. (To look for the head's end in here is more than the verifier of any kernel follows.)
use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::{bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use keepalive_trace_ebpf::{LARGE, SMALL, Segment, TINY, counter, mark};

use crate::{
    filter,
    maps::{FLOWS, HEADS, count, wake_heads},
    sock::{Head, Sock, state},
};

/// `ETH_P_IP` and `ETH_P_IPV6` as a packet has them.
const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;
const IPPROTO_TCP: u8 = 6;
/// `NEXTHDR_HOP`: an IPv6 packet of more than 64 KiB begins with such a header, of 8 bytes.
const HOP_BY_HOP: u8 = 0;

const FIN: u8 = 1 << 0;
const RST: u8 = 1 << 2;

/// What is known of a connection on which HTTP was seen.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow {
    /// When the last payload passed, in either direction: CLOCK_MONOTONIC, nanoseconds.
    pub last_ns: u64,
    /// What came, and what left.
    pub ways: [Way; 2],
}

/// One direction of it. The two are changed on different CPUs at the same time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Way {
    /// The next sequence number.
    pub edge: u32,
    /// 1: there was payload, so that `edge` is one.
    pub known: u32,
    /// 1: a head has begun, and may go on.
    pub in_head: u32,
    /// So many bytes of it, and of what came with it, were passed on.
    pub head_bytes: u32,
    /// Its last four bytes.
    pub tail: u32,
    /// Zero.
    pub reserved: u32,
}

const NO_WAY: Way = Way { edge: 0, known: 0, in_head: 0, head_bytes: 0, tail: 0, reserved: 0 };

/// So much of a head is passed on, and of what follows it where its end is not the end of a segment, bytes.
const LONGEST: u32 = 16 * 1024;

/// A TCP packet, as far as it matters.
#[derive(Clone, Copy)]
struct Packet {
    skb: *mut __sk_buff,
    /// Where its payload begins, from the network header on.
    payload: u32,
    len: u32,
    seq: u32,
    ack: u32,
    sock: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    now: u64,
    idle_ns: u64,
    /// Of a listener's.
    netns: u32,
    lport: u16,
    /// [`mark`] bits.
    marks: u8,
    state: u8,
}

/// `cgroup_skb`: a packet of a socket of this host comes or leaves.
#[inline(always)]
pub fn packet(ctx: &SkBuffContext, egress: bool) {
    let Some(mut packet) = Packet::read(ctx, egress) else { return };
    let closes = packet.marks & (mark::FIN | mark::RST) != 0;
    if packet.len == 0 && !closes {
        return;
    }
    let Some(sock) = socket(ctx) else { return };
    let begins = packet.len > 0 && packet.begins();
    let known = FLOWS.get_ptr_mut(sock.address());
    if known.is_none() && !begins {
        return;
    }
    // SAFETY: no arguments, no effect.
    packet.now = unsafe { bpf_ktime_get_ns() };
    packet.sock = sock.address();
    let mut way = NO_WAY;
    let is_new;
    if let Some(flow) = known {
        // SAFETY: an entry of a map, which nobody takes away from a program that runs; each direction has its own words.
        let flow = unsafe { &mut *flow };
        packet.idle_ns = packet.now.wrapping_sub(flow.last_ns);
        way = if egress { flow.ways[1] } else { flow.ways[0] };
        let end = packet.seq.wrapping_add(packet.len);
        is_new = packet.len > 0 && (way.known == 0 || end.wrapping_sub(way.edge).cast_signed() > 0);
        if is_new {
            flow.last_ns = packet.now;
        }
        packet.state = sock.state().unwrap_or(0);
    } else {
        is_new = true;
        if first(&mut packet).is_none() {
            return;
        }
    }
    if !is_new || !begins && way.in_head == 0 {
        if is_new && let Some(flow) = known {
            // SAFETY: as above.
            pass_by(unsafe { &mut *flow }, &packet, egress);
        }
        if closes {
            tell_close(&packet);
        }
        return;
    }
    if begins {
        packet.marks |= mark::START;
    }
    if way.in_head == 0 {
        way.tail = 0;
        way.head_bytes = 0;
    }
    way.edge = packet.seq.wrapping_add(packet.len);
    way.known = 1;
    tell(&packet, &mut way);
    if let Some(flow) = known {
        // SAFETY: as above.
        let flow = unsafe { &mut *flow };
        if egress {
            flow.ways[1] = way;
        } else {
            flow.ways[0] = way;
        }
    } else if packet.marks & mark::LISTENER == 0 {
        remember(sock.address(), packet.now, &way, egress);
    }
}

// Each of the following has a stack of its own: together they would take more than there is.

#[inline(never)]
fn remember(sock: u64, now: u64, way: &Way, egress: bool) {
    let ways = if egress { [NO_WAY, *way] } else { [*way, NO_WAY] };
    if FLOWS.insert(sock, Flow { last_ns: now, ways }, 0).is_err() {
        count(counter::FLOWS_FULL);
    }
}

/// Payload that is no head.
#[inline(always)]
fn pass_by(flow: &mut Flow, packet: &Packet, egress: bool) {
    let way = if egress { &mut flow.ways[1] } else { &mut flow.ways[0] };
    way.edge = packet.seq.wrapping_add(packet.len);
    way.known = 1;
}

/// The connection is over.
#[inline(always)]
pub fn forget(sock: Sock) {
    // Most have never been here.
    let _ = FLOWS.remove(sock.address());
}

/// The first message on a connection, or the first that is seen; none where nobody wants to hear of it.
#[inline(never)]
fn first(packet: &mut Packet) -> Option<()> {
    let sock = Sock::at(packet.sock);
    let head = Head::of(sock)?;
    if !head.is_inet() || !sock.is_tcp() || !filter::wanted(sock, &head) {
        return None;
    }
    packet.state = head.state().unwrap_or(0);
    if packet.state == state::LISTEN {
        // The child that it makes has no address yet: its ends say which it is.
        packet.marks |= mark::LISTENER;
        packet.lport = sock.lport()?;
        packet.netns = head.netns().unwrap_or(0);
    }
    Some(())
}

/// Passes on the head, or what this segment has of it.
#[inline(never)]
fn tell(packet: &Packet, way: &mut Way) {
    let len = packet.len as usize;
    if len <= TINY {
        pass::<TINY>(packet, way);
    } else if len <= SMALL {
        pass::<SMALL>(packet, way);
    } else {
        pass::<LARGE>(packet, way);
    }
}

/// A segment with room for so many bytes behind it.
#[repr(C)]
struct Sized<const ROOM: usize> {
    segment: Segment,
    bytes: [u8; ROOM],
}

#[inline(always)]
fn pass<const ROOM: usize>(packet: &Packet, way: &mut Way) {
    let Some(mut entry) = HEADS.reserve::<Sized<ROOM>>(0) else {
        count(counter::HEADS_FULL);
        way.in_head = 0;
        return;
    };
    let place = entry.as_mut_ptr();
    // SAFETY: within the entry.
    let bytes = unsafe { (&raw mut (*place).bytes).cast::<u8>() };
    let Some(len) = packet.copy::<ROOM>(bytes) else {
        entry.discard(0);
        return;
    };
    way.tail = packet.tail(way.tail);
    // What a segment has beyond the room is lost, and the rest of the head with it. Where the last line was a blank one, the head
    // is whole; elsewhere nobody knows from here, and what follows is passed on for a while.
    let fits = packet.len as usize <= ROOM;
    let is_whole = way.tail == 0x0d0a_0d0a || way.tail & 0xffff == 0x0a0a;
    way.head_bytes += len;
    way.in_head = u32::from(fits && !is_whole && way.head_bytes < LONGEST);
    // SAFETY: within the entry.
    let segment = unsafe { &raw mut (*place).segment };
    // SAFETY: as above, and aligned.
    unsafe { segment.write(packet.segment(len)) };
    if packet.marks & mark::LISTENER != 0 {
        // SAFETY: it was just written.
        packet.ends(unsafe { &mut *segment });
    }
    entry.submit(wake_heads(packet.now));
}

#[inline(always)]
fn tell_close(packet: &Packet) {
    let Some(mut entry) = HEADS.reserve::<Segment>(0) else {
        count(counter::HEADS_FULL);
        return;
    };
    entry.write(packet.segment(0));
    entry.submit(wake_heads(packet.now));
}

/// The same number, of which the compiler does not know any more how it was made.
#[inline(always)]
fn hidden<T: Copy>(number: T) -> T {
    // SAFETY: it is there.
    unsafe { (&raw const number).read_volatile() }
}

/// Whether four bytes are the first of an HTTP message: of a method, or of a response.
#[inline(always)]
fn is_start(four: u32) -> bool {
    const fn word(text: &[u8; 4]) -> u32 {
        u32::from_be_bytes(*text)
    }
    const STARTS: [u32; 10] = [
        word(b"GET "),
        word(b"POST"),
        word(b"HTTP"),
        word(b"HEAD"),
        word(b"PUT "),
        word(b"DELE"),
        word(b"OPTI"),
        word(b"PATC"),
        word(b"CONN"),
        word(b"TRAC"),
    ];
    let mut is_one = false;
    for start in STARTS {
        is_one |= four == start;
    }
    is_one
}

/// The packet's socket: as a number, since the verifier lets nobody calculate with the kernel's pointer.
#[inline(always)]
fn socket(ctx: &SkBuffContext) -> Option<Sock> {
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
    #[inline(always)]
    fn read(ctx: &SkBuffContext, egress: bool) -> Option<Self> {
        let skb = ctx.skb.skb;
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
        let mut marks = if egress { mark::EGRESS } else { 0 };
        if flags & FIN != 0 {
            marks |= mark::FIN;
        }
        if flags & RST != 0 {
            marks |= mark::RST;
        }
        Some(Self {
            skb,
            payload,
            len: total.checked_sub(payload)?,
            seq: u32::from_be(seq),
            ack: u32::from_be(ack),
            sock: 0,
            now: 0,
            idle_ns: 0,
            netns: 0,
            lport: 0,
            marks,
            state: 0,
        })
    }

    #[inline(always)]
    fn begins(&self) -> bool {
        load::<[u32; 1]>(self.skb, self.payload).is_some_and(|[four]| is_start(u32::from_be(four)))
    }

    #[inline(always)]
    fn segment(&self, captured: u32) -> Segment {
        Segment {
            mono_ns: self.now,
            sk: self.sock,
            idle_ns: self.idle_ns,
            netns: self.netns,
            seq: self.seq,
            ack: self.ack,
            len: self.len,
            captured,
            lport: self.lport,
            state: self.state,
            marks: self.marks,
            ..Segment::default()
        }
    }

    /// Fills in both ends, as a packet that comes has them.
    #[inline(never)]
    fn ends(&self, segment: &mut Segment) -> Option<()> {
        // SAFETY: the context is the packet's.
        let protocol = unsafe { (*self.skb).protocol };
        if protocol == IPV4 {
            let [from, to]: [u32; 2] = load(self.skb, 12)?;
            let mapped = |address: u32| [0, u64::from_be(0xffff_0000_0000 | u64::from(u32::from_be(address)))];
            segment.raddr = mapped(from);
            segment.laddr = mapped(to);
            let first: [u8; 1] = load(self.skb, 0)?;
            segment.rport = u16::from_be(load(self.skb, u32::from(first[0] & 0xf) * 4)?);
        } else {
            let [a, b, c, d]: [u64; 4] = load(self.skb, 8)?;
            segment.raddr = [a, b];
            segment.laddr = [c, d];
            segment.rport = u16::from_be(load(self.skb, 40)?);
        }
        Some(())
    }

    /// The last four bytes, the last one lowest, where these went before.
    #[inline(always)]
    fn tail(&self, before: u32) -> u32 {
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
    fn copy<const ROOM: usize>(&self, to: *mut u8) -> Option<u32> {
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
fn load<T>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut data = MaybeUninit::<T>::uninit();
    // SAFETY: there is room for a `T`, whose bytes may be anything: only plain numbers are asked for.
    let loaded = unsafe { bpf_skb_load_bytes(skb.cast(), at, data.as_mut_ptr().cast(), size_of::<T>() as u32) };
    // SAFETY: all of it was written.
    (loaded == 0).then(|| unsafe { data.assume_init() })
}
