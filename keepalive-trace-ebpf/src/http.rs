//! First bytes of HTTP messages, where somebody asked for them: a look at every packet of TCP, and a record of those in which
//! the head of a message begins or goes on. (To look for the head's end in here is more than the verifier of any kernel follows.)
use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::SkBuffContext};
use keepalive_trace_ebpf::{LARGE, LONGEST, PREFACE, SMALL, Segment, TINY, begins, counter, mark};

use crate::{
    fields::{Copied, Fields as _},
    filter,
    maps::{FLOWS, GREETED, HEADS, NEWBORN, count, wake_heads},
    packet::{Packet, load, socket},
    sock::{Head, Sock, state},
};

/// What is known of a connection on which HTTP was seen.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow {
    /// When the last payload passed, in either direction: CLOCK_MONOTONIC, nanoseconds.
    pub last_ns: u64,
    /// What came, and what left.
    pub ways: [Way; 2],
    /// 1: its first request came to its listener, and nothing was told of itself yet.
    pub newborn: u64,
}

/// One direction of it. The two are changed on different CPUs at the same time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Way {
    /// The highest sequence number that was seen, and one.
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

/// What came to a listener on this CPU last: it makes the child within the same softirq.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Newborn {
    /// CLOCK_MONOTONIC, nanoseconds; 0 where there is none.
    pub at_ns: u64,
    /// The low half of the child's remote address.
    pub raddr: u64,
    /// Host order.
    pub lport: u16,
    /// Host order.
    pub rport: u16,
    /// Zero.
    pub reserved: u32,
    pub way: Way,
}

/// How a TLS record with a handshake's message begins: the kind, and the version's first half.
const TLS_HANDSHAKE: u32 = 0x1603_0000;

/// Where a record's first message says what it is: its kind, and the first byte of its length.
const TLS_MESSAGE: u32 = 5;
const CLIENT_HELLO: [u8; 2] = [1, 0];

/// `cgroup_skb`: a packet of a socket of this host comes or leaves.
#[inline(always)]
pub fn packet(ctx: &SkBuffContext, egress: bool) {
    let mut packet = Packet::of(ctx, egress);
    if packet.read().is_none() {
        return;
    }
    let closes = packet.marks & (mark::FIN | mark::RST) != 0;
    if packet.len == 0 && !closes {
        return;
    }
    let Some(sock) = socket(ctx) else { return };
    let four = if packet.len > 0 { packet.first_four() } else { 0 };
    let begins = begins(four);
    let known = FLOWS.get_ptr_mut(sock.address());
    if known.is_none() && !begins && !(four & 0xffff_0000 == TLS_HANDSHAKE && greets(&packet)) {
        return;
    }
    // SAFETY: no arguments, no effect.
    packet.now = unsafe { bpf_ktime_get_ns() };
    packet.sock = sock.address();
    let mut first_way = NO_WAY;
    let mut way = &mut first_way;
    let mut is_new = packet.len > 0;
    if let Some(flow) = known {
        // SAFETY: an entry of a map, which nobody takes away from a program that runs; each direction has its own words.
        let flow = unsafe { &mut *flow };
        // Another CPU may have written a later time than this one has.
        packet.idle_ns = if packet.now > flow.last_ns { packet.now - flow.last_ns } else { 1 };
        way = if egress { &mut flow.ways[1] } else { &mut flow.ways[0] };
        is_new = is_new && (way.known == 0 || packet.end().wrapping_sub(way.edge).cast_signed() > 0);
        if is_new {
            flow.last_ns = packet.now;
        }
        packet.state = sock.state().unwrap_or(0);
        if flow.newborn != 0 && (begins || closes || way.in_head != 0) {
            flow.newborn = 0;
            packet.marks |= mark::CHILD;
            packet.netns = netns(sock);
        }
    } else if first(&mut packet).is_none() {
        return;
    } else if !begins {
        packet.marks |= mark::TLS;
        greeted(true);
        tell_bare(&packet);
        return;
    }
    if packet.len == 0 || !begins && way.in_head == 0 {
        if is_new {
            way.edge = packet.end();
            way.known = 1;
        }
        if closes {
            tell_bare(&packet);
        }
        return;
    }
    // What comes again, or late, is passed on too: the reader knows what he has.
    if begins {
        packet.marks |= mark::START;
        way.head_bytes = 0;
        way.in_head = u32::from(four != u32::from_be_bytes(*PREFACE));
    } else if packet.seq != way.edge {
        // Something is missing before it, so that a blank line at its end is not the head's.
        way.in_head = 2;
    }
    if is_new {
        way.edge = packet.end();
        way.known = 1;
    }
    tell(&packet, way);
    if known.is_some() {
        return;
    }
    if packet.marks & mark::LISTENER == 0 {
        remember(sock.address(), packet.now, way, egress);
    } else {
        conceive(&packet, way);
    }
}

// Each of the following has a stack of its own: together they would take more than there is.

#[inline(never)]
fn remember(sock: u64, now: u64, way: &Way, egress: bool) {
    let ways = if egress { [NO_WAY, *way] } else { [*way, NO_WAY] };
    if FLOWS.insert(sock, Flow { last_ns: now, ways, newborn: 0 }, 0).is_err() {
        count(counter::FLOWS_FULL);
    }
}

/// Keeps what the listener's child will need.
#[inline(never)]
fn conceive(packet: &Packet, way: &Way) -> Option<()> {
    let mut segment = Segment::default();
    packet.ends(&mut segment)?;
    let newborn = NEWBORN.get_ptr_mut(0)?;
    // SAFETY: this CPU's own slot, and softirqs don't nest.
    let newborn = unsafe { &mut *newborn };
    newborn.at_ns = packet.now;
    newborn.raddr = segment.raddr[1];
    newborn.lport = segment.lport;
    newborn.rport = segment.rport;
    newborn.way = *way;
    Some(())
}

/// `inet_sock_set_state`: a listener's child becomes a connection, maybe by a segment in which a request began.
#[inline(always)]
pub fn born(sock: Sock, old: u8, new: u8) -> Option<()> {
    if (old, new) != (state::SYN_RECV, state::ESTABLISHED) {
        return None;
    }
    let newborn = NEWBORN.get_ptr_mut(0)?;
    // SAFETY: this CPU's own slot, and softirqs don't nest.
    let newborn = unsafe { &mut *newborn };
    if newborn.at_ns == 0 {
        return None;
    }
    let last_ns = newborn.at_ns;
    newborn.at_ns = 0;
    let mut head = Head::place();
    let head = Head::of(sock, &mut head)?;
    let sk = Copied { sock, head };
    let [_, raddr] = sk.raddr()?;
    if (raddr, sk.rport()?, sk.lport()?) != (newborn.raddr, newborn.rport, newborn.lport) {
        return None;
    }
    if FLOWS.insert(sock.address(), Flow { last_ns, ways: [newborn.way, NO_WAY], newborn: 1 }, 0).is_err() {
        count(counter::FLOWS_FULL);
    }
    Some(())
}

#[inline(never)]
fn netns(sock: Sock) -> u32 {
    let mut head = Head::place();
    Head::of(sock, &mut head).and_then(|head| Copied { sock, head }.netns()).unwrap_or(0)
}

/// Whether this is a ClientHello, and the reader wants to hear of one.
#[inline(never)]
fn greets(packet: &Packet) -> bool {
    !greeted(false) && load::<[u8; 2]>(packet.skb, packet.payload + TLS_MESSAGE) == Some(CLIENT_HELLO)
}

/// Whether a ClientHello was told; and from now on it was, if it `is` now.
#[inline(always)]
fn greeted(is: bool) -> bool {
    let Some(greeted) = GREETED.get_ptr_mut(0) else { return true };
    // SAFETY: an aligned word of a map, which lives as long as the program.
    let was = unsafe { greeted.read_volatile() } != 0;
    if is {
        // SAFETY: as above.
        unsafe { greeted.write_volatile(1) };
    }
    was
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
    let mut head = Head::place();
    let head = Head::of(sock, &mut head)?;
    let sk = Copied { sock, head };
    if !sk.is_inet() || !sock.is_tcp() || !filter::wanted(sk) {
        return None;
    }
    packet.state = head.state().unwrap_or(0);
    packet.netns = sk.netns().unwrap_or(0);
    if packet.state == state::LISTEN {
        // The child that it makes has no address yet: its ends say which it is.
        packet.marks |= mark::LISTENER;
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
    let (goes_on, has_gap) = (way.in_head != 0, way.in_head == 2);
    way.in_head = 0;
    let Some(mut entry) = HEADS.reserve::<Sized<ROOM>>(0) else {
        count(counter::HEADS_FULL);
        return;
    };
    let place = entry.as_mut_ptr();
    // SAFETY: within the entry.
    let bytes = unsafe { (&raw mut (*place).bytes).cast::<u8>() };
    let Some(len) = packet.copy::<ROOM>(bytes) else {
        count(counter::HEADS_FULL);
        entry.discard(0);
        return;
    };
    way.tail = packet.tail(way.tail);
    way.head_bytes += len;
    // What a segment has beyond the room is lost, and the rest of the head with it. Where the last line was a blank one, the head
    // is whole; elsewhere nobody knows from here, and what follows is passed on for a while.
    let is_cut = packet.len as usize > ROOM || way.head_bytes >= LONGEST;
    let is_whole = !has_gap && (way.tail == 0x0d0a_0d0a || way.tail & 0xffff == 0x0a0a);
    way.in_head = u32::from(goes_on && !is_cut && !is_whole);
    // SAFETY: within the entry.
    let segment = unsafe { &raw mut (*place).segment };
    // SAFETY: as above, and aligned.
    unsafe { segment.write(packet.segment(len)) };
    // SAFETY: it was just written.
    let segment = unsafe { &mut *segment };
    if is_cut {
        segment.marks |= mark::CUT;
    }
    if packet.marks & mark::ENDS != 0 {
        packet.ends(segment);
    }
    entry.submit(wake_heads(packet.now));
}

/// A close, or whatever else has no bytes to show.
#[inline(never)]
fn tell_bare(packet: &Packet) {
    let Some(mut entry) = HEADS.reserve::<Segment>(0) else {
        count(counter::HEADS_FULL);
        return;
    };
    let segment = entry.write(packet.segment(0));
    if packet.marks & mark::ENDS != 0 {
        packet.ends(segment);
    }
    entry.submit(wake_heads(packet.now));
}
