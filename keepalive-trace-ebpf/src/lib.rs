//! The wire: every record, offset and setting that the kernel side and the user side share.
//!
//! Plain `repr(C)` data without padding. All integers are in the machine's own byte order unless a field says otherwise;
//! times in jiffies are turned into seconds by the reader, who knows HZ. Nothing here is ever transmuted into an enum:
//! the reader parses each number and shows the ones it doesn't know.
#![cfg_attr(target_arch = "bpf", no_std)]

mod offsets;
mod segment;

pub use offsets::{ABSENT, HEAD_BYTES, Offsets};
pub use segment::{LARGE, LONGEST, PREFACE, SMALL, Segment, TINY, begins, mark};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the loader tells the kernel side once, before it runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Config {
    /// Jiffies a second.
    pub hz: u32,
    /// Not 0 where `tcp_send_active_reset` has an argument of type `enum sk_rst_reason`.
    pub has_reason: u32,
    /// [`filter`] bits: which filters are set.
    pub filters: u32,
    /// Not 0 where answers to probes are to be seen as they come.
    pub exact_replies: u32,
    /// Bit n is set where a walk lists sockets in `sk_state` n.
    pub listed_states: u32,
    /// Not 0 where HTTP is watched.
    pub http: u32,
    /// Not 0 where a connection makes no record while nothing happens on it.
    pub quiet: u32,
    /// Not 0 where `sysctl_tcp_keepalive_probes` is an int: before 5.10, and on Android's 5.10.
    pub probes_is_int: u32,
    /// Not 0 where a socket's cgroup is a word with tag bits: before 5.15.
    pub cgroup_is_word: u32,
    /// Not 0 where the current task can be had as a typed pointer (`bpf_get_current_task_btf`): since 5.11.
    pub typed_task: u32,
}

/// Bits of [`Config::filters`]: an unset bit lets everything pass.
pub mod filter {
    /// Only AF_INET sockets.
    pub const IPV4: u32 = 1 << 0;
    /// Only AF_INET6 sockets.
    pub const IPV6: u32 = 1 << 1;
    /// The local port must be in the map `PORTS`.
    pub const LOCAL_PORT: u32 = 1 << 2;
    /// The remote port must be in the map `PORTS`.
    pub const REMOTE_PORT: u32 = 1 << 3;
    /// The local address must match the map `ADDRESSES`.
    pub const LOCAL_ADDR: u32 = 1 << 4;
    /// The remote address must match the map `ADDRESSES`.
    pub const REMOTE_ADDR: u32 = 1 << 5;
    /// The network namespace must be in the map `NETNS`.
    pub const NETNS: u32 = 1 << 6;
    /// The socket's cgroup, or one above it, must be in the map `CGROUPS`.
    pub const CGROUP: u32 = 1 << 7;
}

/// Which end of the connection a port or an address filter speaks of.
pub mod end {
    /// This host's end.
    pub const LOCAL: u32 = 0;
    /// The peer's end.
    pub const REMOTE: u32 = 1;
}

/// 64-bit words of the port bitmap, for one end; the remote end's follow the local end's.
pub const PORT_WORDS: u32 = 65536 / 64;

/// Values of [`Record::kind`].
pub mod kind {
    /// `tcp_keepalive_timer` called `tcp_write_wakeup`.
    pub const PROBE: u8 = 1;
    /// `tcp_keepalive_timer` ran and sent nothing.
    pub const TIMER: u8 = 2;
    /// `tcp_send_active_reset` ran.
    pub const RESET: u8 = 3;
    /// `iter/tcp` met the socket.
    pub const SNAPSHOT: u8 = 4;
    /// The state became ESTABLISHED, and this host had connected.
    pub const CONNECTED: u8 = 5;
    /// `accept()` gave the socket to a process (`security_sock_graft`).
    pub const ACCEPTED: u8 = 6;
    /// A keepalive option or TCP_USER_TIMEOUT was set.
    pub const SET: u8 = 7;
    /// An ACK came while a probe was out.
    pub const ACKED: u8 = 8;
    /// `tcp_reset`: a RST came.
    pub const PEER_RESET: u8 = 9;
    /// `tcp_abort` was called.
    pub const ABORTED: u8 = 10;
    /// The state became CLOSE.
    pub const CLOSED: u8 = 11;
}

/// Values of [`Record::outcome`] in a [`kind::TIMER`] record: why nothing was sent.
pub mod outcome {
    /// `packets_out` was not 0.
    pub const DATA_IN_FLIGHT: u8 = 1;
    /// `write_seq` was ahead of `snd_nxt`.
    pub const UNSENT_DATA: u8 = 2;
    /// Idle for less than `tcp_keepalive_time`.
    pub const NOT_IDLE: u8 = 3;
    /// The socket was locked by a process: the kernel tries again in HZ/20.
    pub const SOCKET_BUSY: u8 = 4;
    /// SO_KEEPALIVE is off, or the state is CLOSE or SYN_SENT: the timer was not armed again.
    pub const KEEPALIVE_OFF: u8 = 5;
    /// An orphan in FIN_WAIT2 became a time-wait socket (`tcp_time_wait`).
    pub const FIN_WAIT2: u8 = 6;
}

/// Bits of [`Record::has`]: fields that are known. All others are zero and mean nothing.
pub mod has {
    /// [`super::Record::netns`].
    pub const NETNS: u32 = 1 << 0;
    /// [`super::Record::cgroup`].
    pub const CGROUP: u32 = 1 << 1;
    /// [`super::Record::reason`].
    pub const REASON: u32 = 1 << 2;
    /// [`super::Record::late`].
    pub const LATE: u32 = 1 << 3;
    /// [`super::Record::next`]: the timer is armed again.
    pub const NEXT: u32 = 1 << 4;
    /// [`super::Record::ret`].
    pub const RET: u32 = 1 << 5;
    /// [`super::Record::task_pid`] and [`super::Record::task_comm`].
    pub const TASK: u32 = 1 << 6;
    /// [`super::Record::sysctl_time`] and its two companions.
    pub const SYSCTL: u32 = 1 << 7;
    /// The socket's settings: times, probes and user timeout.
    pub const SETTINGS: u32 = 1 << 8;
    /// [`super::Record::err`].
    pub const ERR: u32 = 1 << 9;
    /// [`super::Record::unacked`] and its companions, up to [`super::Record::window`].
    pub const LEFT: u32 = 1 << 10;
    /// [`super::Record::since_ns`].
    pub const SINCE: u32 = 1 << 11;
    /// The idle clocks, jiffies, [`super::Record::moved`] and [`super::Record::probes_out`].
    pub const CLOCKS: u32 = 1 << 12;
    /// [`super::Record::level`].
    pub const LEVEL: u32 = 1 << 13;
}

/// Bits of [`Record::flags`].
pub mod flag {
    /// Within a run of `tcp_keepalive_timer` on this very socket.
    pub const IN_TIMER: u8 = 1 << 0;
    /// SOCK_KEEPOPEN: SO_KEEPALIVE is on.
    pub const KEEPOPEN: u8 = 1 << 1;
    /// SOCK_DEAD: an orphan, no process holds it.
    pub const DEAD: u8 = 1 << 2;
    /// Within `tcp_time_wait` on this very socket.
    pub const TIME_WAIT: u8 = 1 << 3;
    /// SO_LINGER with time 0.
    pub const LINGER_ZERO: u8 = 1 << 4;
    /// TCP_LINGER2 below 0.
    pub const NO_LINGER2: u8 = 1 << 5;
    /// No process ever accepted it: it has no `struct socket`, and is no orphan.
    pub const UNACCEPTED: u8 = 1 << 6;
    /// The record tells of an earlier time, [`super::Record::mono_ns`]: how a connection began on which something happens only
    /// now. Its settings are those of now.
    pub const LATE: u8 = 1 << 7;
}

/// What orderly ends without a record are counted by, in the per-CPU map `ENDS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EndKey {
    /// Id of the socket's cgroup v2; 0: not known.
    pub cgroup: u64,
    /// [`orderly`].
    pub verdict: u32,
    /// Zero.
    pub reserved: u32,
}

/// A power of two: how many cgroups have a place of their own in the one entry of the per-CPU array `CGROUP_ENDS`. A place begins with
/// the cgroup's id and goes on with three counts, by [`orderly`].
pub const CGROUP_SLOTS_BITS: u32 = 6;

/// Values of [`EndKey::verdict`].
pub mod orderly {
    /// This host sent its FIN first.
    pub const LOCAL_CLOSE: u32 = 1;
    /// The peer sent its FIN first.
    pub const PEER_CLOSE: u32 = 2;
}

/// One event, as the kernel side saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Record {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub mono_ns: u64,
    /// The socket's address: an identity within a run, never shown.
    pub sk: u64,
    /// `skc_cookie`; 0 where nobody has asked for one yet.
    pub cookie: u64,
    /// Id of the socket's cgroup v2.
    pub cgroup: u64,
    /// Since `connect()` sent its SYN, nanoseconds.
    pub since_ns: u64,
    /// Local address: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d`. Words, since the kernel side would copy bytes one by
    /// one.
    pub laddr: [u64; 2],
    /// Remote address, likewise.
    pub raddr: [u64; 2],
    /// [`has`] bits.
    pub has: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    /// `tp->keepalive_time`, jiffies; 0 means the sysctl.
    pub sock_time: u32,
    /// `tp->keepalive_intvl`, jiffies; 0 means the sysctl.
    pub sock_intvl: u32,
    /// The namespace's `tcp_keepalive_time`, jiffies.
    pub sysctl_time: i32,
    /// The namespace's `tcp_keepalive_intvl`, jiffies.
    pub sysctl_intvl: i32,
    /// TCP_USER_TIMEOUT, milliseconds; 0 means none.
    pub user_timeout_ms: u32,
    /// Jiffies since the last ACK was received (`rcv_tstamp`).
    pub ack_age: u32,
    /// Jiffies since the last data was received (`lrcvtime`).
    pub data_age: u32,
    /// Jiffies between the timer's deadline and this run.
    pub late: i32,
    /// Jiffies from now to the timer's next deadline.
    pub next: i32,
    /// What `tcp_write_wakeup` returned.
    pub ret: i32,
    /// `enum sk_rst_reason`.
    pub reason: u32,
    /// The process that did it (connected, accepted, set, closed, reset): its thread group id.
    pub task_pid: u32,
    /// The name of its first thread, NUL-padded: 16 bytes, in words too.
    pub task_comm: [u64; 2],
    /// Jiffies, the low half.
    pub jiffies: u32,
    /// `snd_nxt + rcv_nxt`: another number as soon as anything has been sent or received that takes a sequence number.
    pub moved: u32,
    /// `sk_err`.
    pub err: i32,
    /// `snd_nxt - snd_una`: sequence numbers sent and not acknowledged.
    pub unacked: u32,
    /// `write_seq - snd_nxt`: bytes queued and not sent.
    pub unsent: u32,
    /// `rcv_nxt - copied_seq`: sequence numbers received and not read, a FIN among them.
    pub unread: u32,
    /// `snd_wnd`, bytes.
    pub window: u32,
    /// Local port, host order.
    pub lport: u16,
    /// Remote port, host order.
    pub rport: u16,
    /// AF_INET or AF_INET6.
    pub family: u16,
    /// `tp->keepalive_probes`; 0 means the sysctl.
    pub sock_probes: u8,
    /// The namespace's `tcp_keepalive_probes`.
    pub sysctl_probes: u8,
    /// `icsk_probes_out` before this event.
    pub probes_out: u8,
    /// `sk_state`.
    pub state: u8,
    /// [`kind`].
    pub kind: u8,
    /// [`outcome`], in timer records.
    pub outcome: u8,
    /// [`flag`] bits.
    pub flags: u8,
    /// The state that was left, in [`kind::CLOSED`] records.
    pub old_state: u8,
    /// The level of the timer wheel in which the keepalive timer waits, or in a run of it has waited.
    pub level: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// Values of [`Write::name`].
pub mod name {
    /// `net.ipv4.tcp_keepalive_time`.
    pub const TIME: u32 = 1;
    /// `net.ipv4.tcp_keepalive_intvl`.
    pub const INTVL: u32 = 2;
    /// `net.ipv4.tcp_keepalive_probes`.
    pub const PROBES: u32 = 3;
}

/// Somebody wrote a keepalive sysctl. It comes through the same ring as [`Record`], and is told from it by its size.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Write {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub mono_ns: u64,
    /// Inode of the network namespace whose value it is.
    pub netns: u32,
    /// [`name`].
    pub name: u32,
    /// The value before: jiffies, or a number of probes.
    pub old: i32,
    /// The value after, likewise.
    pub new: i32,
    /// 0, or a negative errno: then nothing was changed.
    pub ret: i32,
    /// The process that wrote: its thread group id; 0 where it was none.
    pub task_pid: u32,
    /// Name of its first thread.
    pub task_comm: [u64; 2],
}

/// A process holds a TCP socket: what `iter/task_file` writes, one after the other, in the order of the pids.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Held {
    /// The socket's address.
    pub sk: u64,
    /// Thread group id.
    pub pid: u32,
    /// The socket's file descriptor in that process.
    pub fd: u32,
    /// Name of the thread group's first task, NUL-padded.
    pub comm: [u64; 2],
    /// Inode of the socket's network namespace; 0: unknown.
    pub netns: u32,
    /// Local port, host order.
    pub lport: u16,
    /// Remote port, host order.
    pub rport: u16,
}

/// After a wake-up the kernel side sends no other for so long, nanoseconds: the reader looks into the ring by himself, and
/// goes to sleep only when he has found it empty after that.
pub const WAKE_NS: u64 = 20_000_000;

/// What the program `look` is asked for, its third argument.
pub mod look {
    /// The kernel's counter of probes as it was after the last probe that was seen, the low half; 0 if there is none.
    pub const SEEN: u64 = 0;
    /// The same counter as it is now, the low half.
    pub const COUNTED: u64 = 1;
}

/// Indices of the per-CPU map `COUNTERS` (u64 each).
pub mod counter {
    /// Records that found the ring buffer full.
    pub const RING_FULL: u32 = 0;
    /// Exits whose entry was skipped.
    pub const UNPAIRED: u32 = 1;
    /// Runs of our program at the entry of `tcp_keepalive_timer`.
    pub const RUNS: u32 = 2;
    /// Entries whose exit was skipped: runs that were seen to begin, and of which nothing was told.
    pub const UNFINISHED: u32 = 3;
    /// Heads of HTTP messages, or closes, that found their ring full, or could not be copied into it.
    pub const HEADS_FULL: u32 = 4;
    /// Connections with HTTP that found no room in the map `FLOWS`.
    pub const FLOWS_FULL: u32 = 5;
    /// Probes that the kernel counted and of which no run of ours was seen, by the time that the next one was.
    pub const UNSEEN_PROBES: u32 = 6;
    /// Connections that found no room in the map `CONNS`: their opener and closer are not known.
    pub const CONNS_FULL: u32 = 7;
    /// Orderly ends that found no room in the map `ENDS`.
    pub const ENDS_FULL: u32 = 8;
    /// How many counters there are.
    pub const COUNT: u32 = 9;
}

const _: () = assert!(size_of::<Record>() == 192);
const _: () = assert!(size_of::<Held>() == 40);
const _: () = assert!(size_of::<Config>() == 40);
const _: () = assert!(size_of::<Write>() == 48);
