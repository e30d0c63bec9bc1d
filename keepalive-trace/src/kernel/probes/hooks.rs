//! Which program hooks which function, and how.
//!
//! The timer, and what it calls, is hooked as the user chooses. All else takes fentry where the kernel can, and kprobes
//! elsewhere: the kernel skips a kprobe's program while any other program of that kind is at work on that CPU, so a process in
//! one of them would hide what timers do meanwhile.
use crate::model::event::Attach;

/// A program, and the function that it hooks.
pub(super) type Hook = (&'static str, &'static str);

/// The keepalive timer. Exits come before entries, so that no entry is left waiting for an exit that is not seen.
pub(super) const TIMER_KPROBES: [Hook; 4] = [
    ("keepalive_timer_kretprobe", "tcp_keepalive_timer"),
    ("write_wakeup_kretprobe", "tcp_write_wakeup"),
    ("write_wakeup_kprobe", "tcp_write_wakeup"),
    ("keepalive_timer_kprobe", "tcp_keepalive_timer"),
];
pub(super) const TIMER_FENTRIES: [Hook; 4] = [
    ("keepalive_timer_fexit", "tcp_keepalive_timer"),
    ("write_wakeup_fexit", "tcp_write_wakeup"),
    ("write_wakeup_fentry", "tcp_write_wakeup"),
    ("keepalive_timer_fentry", "tcp_keepalive_timer"),
];

/// All else: ends come before beginnings.
pub(super) const FENTRIES: [Hook; 14] = [
    ("done_fentry", "tcp_done"),
    ("disconnect_fentry", "tcp_disconnect"),
    ("close_fentry", "__tcp_close"),
    ("shutdown_fentry", "tcp_shutdown"),
    ("abort_fentry", "tcp_abort"),
    ("finish_connect_fentry", "tcp_finish_connect"),
    ("connect4_fexit", "tcp_v4_connect"),
    ("connect6_fexit", "tcp_v6_connect"),
    ("sock_graft_fentry", "security_sock_graft"),
    ("set_keepalive_fentry", "tcp_set_keepalive"),
    ("sysctl_time_fexit", "proc_dointvec_jiffies"),
    ("sysctl_time_fentry", "proc_dointvec_jiffies"),
    ("sysctl_probes_fexit", "proc_dou8vec_minmax"),
    ("sysctl_probes_fentry", "proc_dou8vec_minmax"),
];
pub(super) const KPROBES: [Hook; 13] = [
    ("done_kprobe", "tcp_done"),
    ("disconnect_kprobe", "tcp_disconnect"),
    ("close_kprobe", "__tcp_close"),
    ("shutdown_kprobe", "tcp_shutdown"),
    ("abort_kprobe", "tcp_abort"),
    ("finish_connect_kprobe", "tcp_finish_connect"),
    ("connect_kprobe", "tcp_connect"),
    ("sock_graft_kprobe", "security_sock_graft"),
    ("set_keepalive_kprobe", "tcp_set_keepalive"),
    ("sysctl_kretprobe", "proc_dointvec_jiffies"),
    ("sysctl_kprobe", "proc_dointvec_jiffies"),
    ("sysctl_kretprobe", "proc_dou8vec_minmax"),
    ("sysctl_kprobe", "proc_dou8vec_minmax"),
];

/// `setsockopt()`. The function takes a struct by value, which fentry hooks from 6.1 on; kprobes hook it everywhere.
pub(super) const SETSOCKOPT_KPROBES: [Hook; 2] =
    [("setsockopt_kretprobe", "tcp_setsockopt"), ("setsockopt_kprobe", "tcp_setsockopt")];
pub(super) const SETSOCKOPT_FEXIT: Hook = ("setsockopt_fexit", "tcp_setsockopt");

/// Answers to probes, as they come.
pub(super) const ACK_KPROBE: Hook = ("ack_kprobe", "tcp_ack");
pub(super) const ACK_FENTRY: Hook = ("ack_fentry", "tcp_ack");

/// Program, tracepoint: the same however functions are hooked.
pub(super) const TRACEPOINTS: [Hook; 2] = [("destroy_sock", "tcp_destroy_sock"), ("receive_reset", "tcp_receive_reset")];

/// Where HTTP is watched: a listener's child is made.
pub(super) const BORN: Hook = ("http_born", "inet_sock_set_state");

/// Program, kind of list: what walks through the kernel's lists when asked to.
pub(super) const WALKERS: [Hook; 2] = [("sockets", "tcp"), ("holders", "task_file")];

/// The function whose calls are compared with its program's runs, `counter::RUNS`, where it is hooked with kprobes that the
/// kernel does not count.
pub(super) const COUNTED: &str = "tcp_keepalive_timer";

const RESET: &str = "tcp_send_active_reset";

/// The program for `tcp_send_active_reset` in a run of the timer: by how the timer is hooked, and by where its reason is.
pub(super) fn timer_reset(attach: Attach, reason_arg: Option<u32>) -> Hook {
    let program = match (attach, reason_arg) {
        (Attach::Kprobe, Some(2)) => "timer_reset_arg2_kprobe",
        (Attach::Kprobe, _) => "timer_reset_kprobe",
        (Attach::Fentry, Some(2)) => "timer_reset_arg2_fentry",
        (Attach::Fentry, _) => "timer_reset_fentry",
    };
    (program, RESET)
}

/// The same for what processes reset.
pub(super) fn active_reset(attach: Attach, reason_arg: Option<u32>) -> Hook {
    let program = match (attach, reason_arg) {
        (Attach::Kprobe, Some(2)) => "active_reset_arg2_kprobe",
        (Attach::Kprobe, _) => "active_reset_kprobe",
        (Attach::Fentry, Some(2)) => "active_reset_arg2_fentry",
        (Attach::Fentry, _) => "active_reset_fentry",
    };
    (program, RESET)
}
