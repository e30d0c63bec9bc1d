//! A TCP socket as the programs read it: by helper calls, or by typed loads where the kernel hands over a typed pointer.
use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_skc_to_tcp_sock};
use keepalive_trace_ebpf::{Record, flag, has};

use crate::{
    maps::{config, offset, present},
    sock::{
        AF_INET, AF_INET6, CGROUP_IS_DATA, CGROUP_TAGS, Head, SOCK_DEAD, SOCK_DONE, SOCK_KEEPOPEN, SOCK_LINGER, Sock, jiffies,
        read,
    },
};

/// Reads the fields of one `struct tcp_sock`.
///
/// All methods take offsets from [`keepalive_trace_ebpf::Offsets`], and return `None` where the running kernel lacks the field
/// or the read faults.
pub trait Fields: Copy {
    /// Another object of the kernel that the socket points to.
    type Object: Copy;

    /// The socket's address: its identity within a run.
    fn address(self) -> u64;

    /// Reads a field anywhere in the socket.
    fn get<T: Copy>(self, offset: u32) -> Option<T>;

    /// Reads a field of the socket's first bytes, `struct sock_common`.
    fn head<T: Copy>(self, offset: u32) -> Option<T>;

    /// Follows a pointer in `struct sock_common`.
    fn pointer(self, offset: u32) -> Option<Self::Object>;

    /// Reads a field of an object.
    fn object<T: Copy>(object: Self::Object, offset: u32) -> Option<T>;

    /// The `struct cgroup` of the default hierarchy.
    fn cgroup_id(self) -> Option<u64>;

    #[inline(always)]
    fn family(self) -> Option<u16> {
        self.head(offset!(family))
    }

    #[inline(always)]
    fn is_inet(self) -> bool {
        matches!(self.family(), Some(AF_INET | AF_INET6))
    }

    #[inline(always)]
    fn state(self) -> Option<u8> {
        self.head(offset!(state))
    }

    /// Host order. Of `inet_sport`: a close has cleared `skc_num` before it sends its reset.
    #[inline(always)]
    fn lport(self) -> Option<u16> {
        self.get::<u16>(offset!(sport)).map(u16::from_be)
    }

    /// Host order.
    #[inline(always)]
    fn rport(self) -> Option<u16> {
        self.head::<u16>(offset!(dport)).map(u16::from_be)
    }

    #[inline(always)]
    fn laddr(self) -> Option<[u64; 2]> {
        self.ip(offset!(saddr), offset!(saddr6))
    }

    #[inline(always)]
    fn raddr(self) -> Option<[u64; 2]> {
        self.ip(offset!(daddr), offset!(daddr6))
    }

    /// 16 bytes in network order; IPv4 as `::ffff:a.b.c.d`.
    #[inline(always)]
    fn ip(self, v4: u32, v6: u32) -> Option<[u64; 2]> {
        if self.family()? == AF_INET {
            let address: u32 = self.head(v4)?;
            return Some([0, u64::from_be(0xffff_0000_0000 | u64::from(u32::from_be(address)))]);
        }
        present(v6)?;
        Some([self.head(v6)?, self.head(v6.wrapping_add(8))?])
    }

    #[inline(always)]
    fn netns(self) -> Option<u32> {
        Self::object(self.pointer(offset!(net))?, offset!(net_inum))
    }

    /// `skc_flags`: a bitmap of `enum sock_flags`.
    #[inline(always)]
    fn flags(self) -> u64 {
        self.head(offset!(flags)).unwrap_or(0)
    }

    /// `sk_err`.
    #[inline(always)]
    fn err(self) -> Option<i32> {
        self.get(offset!(err))
    }

    /// In the backlog of its listener, or gone with it.
    #[inline(always)]
    fn is_unaccepted(self) -> bool {
        self.flags() & SOCK_DEAD == 0 && self.get::<u64>(offset!(socket)) == Some(0)
    }

    /// Whether the peer has acknowledged all that there was to send, the FIN included.
    #[inline(always)]
    fn all_acked(self) -> bool {
        self.get::<u32>(offset!(snd_una)) == self.get(offset!(write_seq))
    }

    /// TCP_LINGER2 below 0.
    #[inline(always)]
    fn no_linger2(self) -> bool {
        self.get::<i32>(offset!(linger2)).is_some_and(|linger2| linger2 < 0)
    }

    /// SO_LINGER with time 0: a close sends RST.
    #[inline(always)]
    fn aborts_at_close(self) -> bool {
        self.flags() & SOCK_LINGER != 0 && self.get::<u64>(offset!(lingertime)) == Some(0)
    }

    /// Bytes received that no process has read, in sequence numbers: a FIN counts.
    #[inline(always)]
    fn unread(self) -> Option<u32> {
        Some(self.get::<u32>(offset!(rcv_nxt))?.wrapping_sub(self.get(offset!(copied_seq))?))
    }

    /// The same without the FIN.
    #[inline(always)]
    fn unread_data(self) -> u32 {
        let fin = u32::from(self.flags() & SOCK_DONE != 0);
        self.unread().unwrap_or(0).saturating_sub(fin)
    }

    /// Jiffies since data was last sent or received.
    #[inline(always)]
    fn data_idle(self) -> Option<u32> {
        let now = jiffies() as u32;
        let received = now.wrapping_sub(self.get(offset!(lrcvtime))?);
        let sent = now.wrapping_sub(self.get(offset!(lsndtime))?);
        Some(received.min(sent))
    }

    /// Fills in everything about the socket. What cannot be read is left zero, and its bit of `has` unset.
    #[inline(always)]
    fn describe(self, record: &mut Record) {
        describe(self, record);
    }

    /// Fills in the socket's identity, flags and clocks: what is enough where its settings are known or do not matter any more.
    #[inline(always)]
    fn identify(self, record: &mut Record) {
        identify(self, record);
    }

    /// Fills in what is left undone on a socket.
    #[inline(always)]
    fn describe_left(self, record: &mut Record) {
        describe_left(self, record);
    }
}

/// [`Fields::describe`], once in the object for each way of reading.
#[inline(never)]
fn describe<F: Fields>(sk: F, record: &mut Record) {
    identify(sk, record);
    if let Some(id) = sk.cgroup_id() {
        record.cgroup = id;
        record.has |= has::CGROUP;
    }
    if describe_sysctls(sk, record).is_some() {
        record.has |= has::SYSCTL;
    }
    if describe_settings(sk, record).is_some() {
        record.has |= has::SETTINGS;
    }
}

/// [`Fields::identify`], likewise.
#[inline(never)]
fn identify<F: Fields>(sk: F, record: &mut Record) {
    // SAFETY: no arguments, no effect.
    record.mono_ns = unsafe { bpf_ktime_get_ns() };
    record.sk = sk.address();
    record.family = sk.family().unwrap_or(0);
    record.lport = sk.lport().unwrap_or(0);
    record.rport = sk.rport().unwrap_or(0);
    record.laddr = sk.laddr().unwrap_or_default();
    record.raddr = sk.raddr().unwrap_or_default();
    record.state = sk.state().unwrap_or(0);
    record.cookie = sk.head(offset!(cookie)).unwrap_or(0);
    let flags = sk.flags();
    if flags & SOCK_KEEPOPEN != 0 {
        record.flags |= flag::KEEPOPEN;
    }
    if flags & SOCK_DEAD != 0 {
        record.flags |= flag::DEAD;
    }
    if let Some(inum) = sk.netns() {
        record.netns = inum;
        record.has |= has::NETNS;
    }
    if describe_clocks(sk, record).is_some() {
        record.has |= has::CLOCKS;
    }
}

/// [`Fields::describe_left`], likewise.
#[inline(never)]
fn describe_left<F: Fields>(sk: F, record: &mut Record) {
    let _ = left(sk, record);
}

#[inline(always)]
fn left<F: Fields>(sk: F, record: &mut Record) -> Option<()> {
    let next: u32 = sk.get(offset!(snd_nxt))?;
    record.unacked = next.wrapping_sub(sk.get(offset!(snd_una))?);
    record.has |= has::LEFT;
    record.unsent = sk.get::<u32>(offset!(write_seq))?.wrapping_sub(next);
    record.unread = sk.unread()?;
    record.window = sk.get(offset!(snd_wnd))?;
    if sk.no_linger2() {
        record.flags |= flag::NO_LINGER2;
    }
    if sk.aborts_at_close() {
        record.flags |= flag::LINGER_ZERO;
    }
    Some(())
}

#[inline(always)]
fn describe_clocks<F: Fields>(sk: F, record: &mut Record) -> Option<()> {
    record.jiffies = jiffies() as u32;
    record.probes_out = sk.get(offset!(probes_out))?;
    record.ack_age = record.jiffies.wrapping_sub(sk.get(offset!(rcv_tstamp))?);
    record.data_age = record.jiffies.wrapping_sub(sk.get(offset!(lrcvtime))?);
    record.moved = sk.get::<u32>(offset!(snd_nxt))?.wrapping_add(sk.get(offset!(rcv_nxt))?);
    Some(())
}

#[inline(always)]
fn describe_sysctls<F: Fields>(sk: F, record: &mut Record) -> Option<()> {
    let net = sk.pointer(offset!(net))?;
    record.sysctl_time = F::object(net, offset!(sysctl_time))?;
    record.sysctl_intvl = F::object(net, offset!(sysctl_intvl))?;
    // An int before 5.10, and on Android's 5.10.
    record.sysctl_probes = if config!(probes_is_int) == 0 {
        F::object(net, offset!(sysctl_probes))?
    } else {
        F::object::<u32>(net, offset!(sysctl_probes))?.min(u8::MAX.into()) as u8
    };
    Some(())
}

#[inline(always)]
fn describe_settings<F: Fields>(sk: F, record: &mut Record) -> Option<()> {
    record.user_timeout_ms = sk.get(offset!(user_timeout))?;
    record.sock_time = sk.get(offset!(keepalive_time))?;
    record.sock_intvl = sk.get(offset!(keepalive_intvl))?;
    record.sock_probes = sk.get(offset!(keepalive_probes))?;
    Some(())
}

/// A socket whose first bytes were read at once by one helper call; all else is read by one helper call a field.
#[derive(Clone, Copy)]
pub struct Copied<'a> {
    pub sock: Sock,
    pub head: &'a Head,
}

impl Fields for Copied<'_> {
    type Object = u64;

    #[inline(always)]
    fn address(self) -> u64 {
        self.sock.address()
    }

    #[inline(always)]
    fn get<T: Copy>(self, offset: u32) -> Option<T> {
        read(self.sock.address(), offset)
    }

    #[inline(always)]
    fn head<T: Copy>(self, offset: u32) -> Option<T> {
        self.head.get(offset)
    }

    #[inline(always)]
    fn pointer(self, offset: u32) -> Option<u64> {
        self.head.get(offset)
    }

    #[inline(always)]
    fn object<T: Copy>(object: u64, offset: u32) -> Option<T> {
        read(object, offset)
    }

    #[inline(always)]
    fn cgroup_id(self) -> Option<u64> {
        self.sock.cgroup()?.id()
    }
}

/// A socket behind a typed pointer, which the verifier knows to be a `struct tcp_sock`: a field costs one load.
#[derive(Clone, Copy)]
pub struct Typed(*const u8);

impl Typed {
    /// The `tcp_sock` that a hook's argument, a `struct sock *`, is; `None` where it is a socket of another kind. Mirrors
    /// `bpf_skc_to_tcp_sock`.
    #[inline(always)]
    pub fn of(sk: *const u8) -> Option<Self> {
        // SAFETY: the argument is a pointer to a socket, as the verifier checks.
        let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) };
        (!tcp.is_null()).then_some(Self(tcp.cast()))
    }

    /// The same without a call, for hooks that only sockets of TCP reach. The verifier lets only fields of `struct sock` be read.
    #[inline(always)]
    pub fn common(sk: *const u8) -> Self {
        Self(sk)
    }
}

/// Loads a field through a typed pointer. The kernel turns a fault into zero.
#[inline(always)]
pub fn load<T: Copy>(base: *const u8, offset: u32) -> Option<T> {
    let offset = present(offset)?;
    // SAFETY: the verifier checks that the object has such a field.
    Some(unsafe { base.wrapping_add(offset).cast::<T>().read_volatile() })
}

impl Fields for Typed {
    type Object = *const u8;

    #[inline(always)]
    fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    fn get<T: Copy>(self, offset: u32) -> Option<T> {
        load(self.0, offset)
    }

    #[inline(always)]
    fn head<T: Copy>(self, offset: u32) -> Option<T> {
        load(self.0, offset)
    }

    #[inline(always)]
    fn pointer(self, offset: u32) -> Option<*const u8> {
        load(self.0, offset)
    }

    #[inline(always)]
    fn object<T: Copy>(object: *const u8, offset: u32) -> Option<T> {
        load(object, offset)
    }

    #[inline(always)]
    fn cgroup_id(self) -> Option<u64> {
        if config!(cgroup_is_word) != 0 {
            // Before 5.15 a word holds the pointer and tag bits: the verifier knows no type for it.
            let data: u64 = load(self.0, offset!(cgroup))?;
            let pointer = data & !CGROUP_TAGS;
            if data & CGROUP_IS_DATA != 0 || pointer == 0 {
                return None;
            }
            let node: u64 = read(pointer, offset!(cgroup_kn))?;
            return read(node, offset!(kernfs_id));
        }
        let cgroup: *const u8 = load(self.0, offset!(cgroup))?;
        let node: *const u8 = load(cgroup, offset!(cgroup_kn))?;
        load::<u64>(node, offset!(kernfs_id)).filter(|id| *id != 0)
    }
}
