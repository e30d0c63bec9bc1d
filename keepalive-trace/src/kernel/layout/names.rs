//! What is looked up in the kernel's BTF.

/// The functions that are hooked.
pub const HOOKS: [&str; 4] = ["tcp_keepalive_timer", "tcp_send_active_reset", "tcp_write_wakeup", "tcp_done"];

/// Those that are hooked where the kernel has them. Without one of them less is known, and `check` says what.
pub const MORE_HOOKS: [&str; 14] = [
    "tcp_v4_connect",
    "tcp_v6_connect",
    "tcp_connect",
    "tcp_finish_connect",
    "security_sock_graft",
    "__tcp_close",
    "tcp_shutdown",
    "tcp_disconnect",
    "tcp_abort",
    "tcp_set_keepalive",
    "tcp_setsockopt",
    "tcp_ack",
    "proc_dointvec_jiffies",
    "proc_dou8vec_minmax",
];

pub const STRUCTS: [&str; 13] = [
    "timer_list",
    "sock",
    "inet_connection_sock",
    "tcp_sock",
    "net",
    "cgroup",
    "kernfs_node",
    "bpf_link_info",
    "task_struct",
    "file",
    "inode",
    "socket",
    "ctl_table",
];

/// What else programs attach to: tracepoints, by the typedefs of their probes, and walks through the kernel's lists.
pub const MORE_TARGETS: [&str; 4] =
    ["btf_trace_tcp_destroy_sock", "btf_trace_tcp_receive_reset", "bpf_iter_tcp", "bpf_iter_task_file"];

/// The kernel's function behind a helper that the kernel side calls where it is there.
pub const TYPED_TASK: &str = "bpf_get_current_task_btf";

/// The reasons of resets: an enum.
pub const REASONS: &str = "sk_rst_reason";
