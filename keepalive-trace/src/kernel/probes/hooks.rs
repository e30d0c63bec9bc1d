//! Which program hooks which function, in each of the two ways.
use crate::model::event::Attach;

/// A program, and the function that it hooks.
pub(super) type Hook = (&'static str, &'static str);

/// Exits come before entries, so that no entry is left waiting for an exit that nobody sees.
pub(super) const KPROBES: [Hook; 12] = [
    ("keepalive_timer_kretprobe", "tcp_keepalive_timer"),
    ("write_wakeup_kretprobe", "tcp_write_wakeup"),
    ("write_wakeup_kprobe", "tcp_write_wakeup"),
    ("time_wait_kprobe", "tcp_time_wait"),
    ("keepalive_timer_kprobe", "tcp_keepalive_timer"),
    ("abort_kprobe", "tcp_abort"),
    ("sock_graft_kprobe", "security_sock_graft"),
    ("set_keepalive_kprobe", "tcp_set_keepalive"),
    ("sysctl_kretprobe", "proc_dointvec_jiffies"),
    ("sysctl_kprobe", "proc_dointvec_jiffies"),
    ("sysctl_kretprobe", "proc_dou8vec_minmax"),
    ("sysctl_kprobe", "proc_dou8vec_minmax"),
];
pub(super) const FENTRIES: [Hook; 12] = [
    ("keepalive_timer_fexit", "tcp_keepalive_timer"),
    ("write_wakeup_fexit", "tcp_write_wakeup"),
    ("write_wakeup_fentry", "tcp_write_wakeup"),
    ("time_wait_fentry", "tcp_time_wait"),
    ("keepalive_timer_fentry", "tcp_keepalive_timer"),
    ("abort_fentry", "tcp_abort"),
    ("sock_graft_fentry", "security_sock_graft"),
    ("set_keepalive_fentry", "tcp_set_keepalive"),
    ("sysctl_time_fexit", "proc_dointvec_jiffies"),
    ("sysctl_time_fentry", "proc_dointvec_jiffies"),
    ("sysctl_probes_fexit", "proc_dou8vec_minmax"),
    ("sysctl_probes_fentry", "proc_dou8vec_minmax"),
];

/// `setsockopt()`. The function takes a struct by value, which fentry hooks from 6.1 on; kprobes hook it everywhere.
pub(super) const SETSOCKOPT_KPROBES: [Hook; 2] =
    [("setsockopt_kretprobe", "tcp_setsockopt"), ("setsockopt_kprobe", "tcp_setsockopt")];
pub(super) const SETSOCKOPT_FEXIT: Hook = ("setsockopt_fexit", "tcp_setsockopt");

/// Answers to probes, as they come.
pub(super) const ACK_KPROBE: Hook = ("ack_kprobe", "tcp_ack");
pub(super) const ACK_FENTRY: Hook = ("ack_fentry", "tcp_ack");

/// Program, tracepoint: the same however functions are hooked.
pub(super) const TRACEPOINTS: [Hook; 2] = [("set_state", "inet_sock_set_state"), ("receive_reset", "tcp_receive_reset")];

/// Where HTTP is watched: a listener's child is made.
pub(super) const BORN: Hook = ("http_born", "inet_sock_set_state");

/// Program, kind of list: what walks through the kernel's lists when asked to.
pub(super) const WALKERS: [Hook; 2] = [("sockets", "tcp"), ("holders", "task_file")];

/// The functions whose entries make events, each counted in `counter::RUNS`.
pub(super) const EVENT_SOURCES: [&str; 7] = [
    "tcp_keepalive_timer",
    "tcp_send_active_reset",
    "tcp_abort",
    "security_sock_graft",
    "tcp_set_keepalive",
    "proc_dointvec_jiffies",
    "proc_dou8vec_minmax",
];

/// The program for `tcp_send_active_reset`: by how the kernel is hooked, and by where its reason is.
pub(super) fn active_reset(attach: Attach, reason_arg: Option<u32>) -> Hook {
    let program = match (attach, reason_arg) {
        (Attach::Kprobe, Some(2)) => "active_reset_arg2_kprobe",
        (Attach::Kprobe, _) => "active_reset_kprobe",
        (Attach::Fentry, Some(2)) => "active_reset_arg2_fentry",
        (Attach::Fentry, _) => "active_reset_fentry",
    };
    (program, "tcp_send_active_reset")
}
