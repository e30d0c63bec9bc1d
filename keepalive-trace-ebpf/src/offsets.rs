//! Where the running kernel keeps what is read.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An offset of a field that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// How much of a socket's beginning is read at once: `struct sock_common` as far as anything is looked for in it.
pub const HEAD_BYTES: usize = 136;

/// Where the running kernel keeps what we read: byte offsets, from its own BTF. A field that it lacks is [`ABSENT`].
///
/// Offsets into `struct sock` serve for `inet_sock`, `inet_connection_sock` and `tcp_sock` too: all start at one address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Offsets {
    /// The keepalive `timer_list` within the socket: `icsk_keepalive_timer`, else `sk_timer`.
    pub keepalive_timer: u32,
    /// `timer_list.expires`: unsigned long, jiffies.
    pub timer_expires: u32,
    /// `timer_list.entry.pprev`: null when the timer is not pending.
    pub timer_pprev: u32,
    /// `timer_list.flags`: u32; its upper ten bits are the timer's slot in the wheel.
    pub timer_flags: u32,

    /// `skc_daddr`: __be32.
    pub daddr: u32,
    /// `skc_rcv_saddr`: __be32.
    pub saddr: u32,
    /// `skc_v6_daddr`: 16 bytes, network order.
    pub daddr6: u32,
    /// `skc_v6_rcv_saddr`: 16 bytes, network order.
    pub saddr6: u32,
    /// `skc_dport`: __be16.
    pub dport: u32,
    /// `inet_sport`: __be16. Not `skc_num`: a close has cleared that one (`inet_put_port`) before it sends its reset.
    pub sport: u32,
    /// `skc_family`: u16.
    pub family: u32,
    /// `skc_state`: u8.
    pub state: u32,
    /// `skc_flags`: unsigned long, a bitmap of `enum sock_flags`.
    pub flags: u32,
    /// `skc_cookie`: u64, 0 until somebody asks for it.
    pub cookie: u32,
    /// `skc_hash`: u32, of the connection's ends and namespace.
    pub hash: u32,
    /// `skc_net.net`: pointer to `struct net`.
    pub net: u32,
    /// `sk_lock.owned`: int.
    pub owned: u32,
    /// `sk_cgrp_data`: a pointer to `struct cgroup`, with tag bits on old kernels.
    pub cgroup: u32,

    /// `icsk_probes_out`: u8.
    pub probes_out: u32,
    /// `icsk_user_timeout`: u32, milliseconds.
    pub user_timeout: u32,
    /// `icsk_ack.lrcvtime`: u32, the low half of jiffies.
    pub lrcvtime: u32,
    /// `tcp_sock.rcv_tstamp`: u32, the low half of jiffies.
    pub rcv_tstamp: u32,
    /// `tcp_sock.keepalive_time`: u32, jiffies; 0 means the sysctl.
    pub keepalive_time: u32,
    /// `tcp_sock.keepalive_intvl`: u32, jiffies; 0 means the sysctl.
    pub keepalive_intvl: u32,
    /// `tcp_sock.keepalive_probes`: u8; 0 means the sysctl.
    pub keepalive_probes: u32,
    /// `tcp_sock.packets_out`: u32.
    pub packets_out: u32,
    /// `tcp_sock.write_seq`: u32.
    pub write_seq: u32,
    /// `tcp_sock.snd_nxt`: u32.
    pub snd_nxt: u32,
    /// `tcp_sock.tcp_mstamp`: u64, microseconds.
    pub mstamp: u32,

    /// `tcp_sock.lsndtime`: u32, the low half of jiffies.
    pub lsndtime: u32,
    /// `tcp_sock.tcp_clock_cache`: u64, nanoseconds of CLOCK_MONOTONIC.
    pub clock_cache: u32,

    /// `sk_protocol`: u16.
    pub protocol: u32,
    /// `sk_err`: int.
    pub err: u32,
    /// `sk_socket`: pointer to `struct socket`; null for an orphan, and before `accept()`.
    pub socket: u32,
    /// `sk_lingertime`: unsigned long, jiffies.
    pub lingertime: u32,
    /// `tcp_sock.snd_una`: u32.
    pub snd_una: u32,
    /// `tcp_sock.snd_wnd`: u32, bytes.
    pub snd_wnd: u32,
    /// `tcp_sock.rcv_nxt`: u32.
    pub rcv_nxt: u32,
    /// `tcp_sock.copied_seq`: u32.
    pub copied_seq: u32,
    /// `tcp_sock.linger2`: int, jiffies.
    pub linger2: u32,

    /// `net.ns.inum`: unsigned int.
    pub net_inum: u32,
    /// The namespace's reference count, `net.ns.__ns_ref` or its older names: u32, 0 once the namespace goes away.
    pub net_count: u32,
    /// `net.mib.net_statistics`: per-CPU pointer to an array of u64, the counters of `/proc/net/netstat`.
    pub net_statistics: u32,
    /// `net.ipv4.sysctl_tcp_keepalive_time`: int, jiffies.
    pub sysctl_time: u32,
    /// `net.ipv4.sysctl_tcp_keepalive_intvl`: int, jiffies.
    pub sysctl_intvl: u32,
    /// `net.ipv4.sysctl_tcp_keepalive_probes`: u8, or an int before 5.10 and on Android's 5.10.
    pub sysctl_probes: u32,

    /// `cgroup.kn`: pointer to `struct kernfs_node`.
    pub cgroup_kn: u32,
    /// `kernfs_node.id`: u64.
    pub kernfs_id: u32,
    /// `cgroup.self.parent`: pointer to the parent's `cgroup_subsys_state`, which is the parent `struct cgroup`.
    pub cgroup_parent: u32,

    /// `task_struct.tgid`: pid_t.
    pub task_tgid: u32,
    /// `task_struct.flags`: unsigned int, PF_ bits.
    pub task_flags: u32,
    /// `task_struct.group_leader`: pointer to the thread group's first task.
    pub task_leader: u32,
    /// `task_struct.comm`: 16 bytes.
    pub task_comm: u32,
    /// `file.f_inode`: pointer to `struct inode`.
    pub file_inode: u32,
    /// `file.private_data`: pointer; of a socket's file, to its `struct socket`.
    pub file_private: u32,
    /// `inode.i_mode`: u16, the file's type and permissions.
    pub inode_mode: u32,
    /// `socket.sk`: pointer to `struct sock`.
    pub socket_sk: u32,

    /// `ctl_table.procname`: pointer to a string.
    pub ctl_procname: u32,
    /// `ctl_table.data`: pointer to the value.
    pub ctl_data: u32,
}

const _: () = assert!(size_of::<Offsets>() == 4 * 59);
