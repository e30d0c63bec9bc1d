//! The programs: each names its hook and calls the room that knows what to do.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod http;
#[cfg(target_arch = "bpf")]
mod life;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod replies;
#[cfg(target_arch = "bpf")]
mod settings;
#[cfg(target_arch = "bpf")]
mod sock;
#[cfg(target_arch = "bpf")]
mod sysctls;
#[cfg(target_arch = "bpf")]
mod task;
#[cfg(target_arch = "bpf")]
mod teardown;
#[cfg(target_arch = "bpf")]
mod tell;
#[cfg(target_arch = "bpf")]
mod timer;
#[cfg(target_arch = "bpf")]
mod walk;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        macros::{cgroup_skb, fentry, fexit, kprobe, kretprobe, raw_tracepoint},
        programs::{FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext, SkBuffContext},
    };

    use crate::{
        http, life, replies, settings,
        sock::Sock,
        sysctls, teardown, timer,
        walk::{self, TaskFileStep, TcpStep},
    };

    #[kprobe]
    pub fn keepalive_timer_kprobe(ctx: ProbeContext) -> u32 {
        timer::enter(&ctx, ctx.arg(0).unwrap_or(0));
        0
    }

    #[kretprobe]
    pub fn keepalive_timer_kretprobe(ctx: RetProbeContext) -> u32 {
        timer::exit(&ctx);
        0
    }

    #[fentry]
    pub fn keepalive_timer_fentry(ctx: FEntryContext) -> i32 {
        timer::enter(&ctx, ctx.arg(0));
        0
    }

    #[fexit]
    pub fn keepalive_timer_fexit(ctx: FExitContext) -> i32 {
        timer::exit(&ctx);
        0
    }

    #[kprobe]
    pub fn write_wakeup_kprobe(ctx: ProbeContext) -> u32 {
        timer::wakeup_enter(Sock::at(ctx.arg(0).unwrap_or(0)));
        0
    }

    #[kretprobe]
    pub fn write_wakeup_kretprobe(ctx: RetProbeContext) -> u32 {
        timer::wakeup_exit(ctx.ret());
        0
    }

    #[fentry]
    pub fn write_wakeup_fentry(ctx: FEntryContext) -> i32 {
        timer::wakeup_enter(Sock::at(ctx.arg(0)));
        0
    }

    /// `tcp_write_wakeup(sk, mib)`: its result follows its two arguments (`bpf_get_func_ret` came with 5.17 only).
    #[fexit]
    pub fn write_wakeup_fexit(ctx: FExitContext) -> i32 {
        timer::wakeup_exit(ctx.arg(2));
        0
    }

    #[kprobe]
    pub fn time_wait_kprobe(ctx: ProbeContext) -> u32 {
        let sock = Sock::at(ctx.arg(0).unwrap_or(0));
        timer::time_wait(sock);
        life::leaves(sock);
        0
    }

    #[fentry]
    pub fn time_wait_fentry(ctx: FEntryContext) -> i32 {
        let sock = Sock::at(ctx.arg(0));
        timer::time_wait(sock);
        life::leaves(sock);
        0
    }

    // The reason is the second argument or the third, by kernel: the loader takes the program that reads the right one, since
    // the verifier refuses an index beyond the prototype, and a computed one.

    #[kprobe]
    pub fn active_reset_kprobe(ctx: ProbeContext) -> u32 {
        teardown::active_reset(&ctx, Sock::at(ctx.arg(0).unwrap_or(0)), ctx.arg(1));
        0
    }

    #[kprobe]
    pub fn active_reset_arg2_kprobe(ctx: ProbeContext) -> u32 {
        teardown::active_reset(&ctx, Sock::at(ctx.arg(0).unwrap_or(0)), ctx.arg(2));
        0
    }

    #[fentry]
    pub fn active_reset_fentry(ctx: FEntryContext) -> i32 {
        teardown::active_reset(&ctx, Sock::at(ctx.arg(0)), Some(ctx.arg(1)));
        0
    }

    #[fentry]
    pub fn active_reset_arg2_fentry(ctx: FEntryContext) -> i32 {
        teardown::active_reset(&ctx, Sock::at(ctx.arg(0)), Some(ctx.arg(2)));
        0
    }

    // The same however functions are hooked.

    #[raw_tracepoint(tracepoint = "inet_sock_set_state")]
    pub fn set_state(ctx: RawTracePointContext) -> i32 {
        life::state_changes(&ctx, Sock::at(ctx.arg(0)), ctx.arg(1), ctx.arg(2));
        0
    }

    #[raw_tracepoint(tracepoint = "tcp_receive_reset")]
    pub fn receive_reset(ctx: RawTracePointContext) -> i32 {
        teardown::peer_reset(&ctx, Sock::at(ctx.arg(0)));
        0
    }

    #[kprobe]
    pub fn abort_kprobe(ctx: ProbeContext) -> u32 {
        teardown::aborted(&ctx, Sock::at(ctx.arg(0).unwrap_or(0)));
        0
    }

    #[fentry]
    pub fn abort_fentry(ctx: FEntryContext) -> i32 {
        teardown::aborted(&ctx, Sock::at(ctx.arg(0)));
        0
    }

    #[kprobe]
    pub fn sock_graft_kprobe(ctx: ProbeContext) -> u32 {
        life::accepted(Sock::at(ctx.arg(0).unwrap_or(0)));
        0
    }

    #[fentry]
    pub fn sock_graft_fentry(ctx: FEntryContext) -> i32 {
        life::accepted(Sock::at(ctx.arg(0)));
        0
    }

    #[kprobe]
    pub fn set_keepalive_kprobe(ctx: ProbeContext) -> u32 {
        settings::keepalive(&ctx, Sock::at(ctx.arg(0).unwrap_or(0)), ctx.arg::<i32>(1).unwrap_or(0) != 0);
        0
    }

    #[fentry]
    pub fn set_keepalive_fentry(ctx: FEntryContext) -> i32 {
        settings::keepalive(&ctx, Sock::at(ctx.arg(0)), ctx.arg::<i32>(1) != 0);
        0
    }

    #[kprobe]
    pub fn setsockopt_kprobe(ctx: ProbeContext) -> u32 {
        if settings::concerns(ctx.arg(1).unwrap_or(0), ctx.arg(2).unwrap_or(0)) {
            settings::enter(Sock::at(ctx.arg(0).unwrap_or(0)));
        }
        0
    }

    #[kretprobe]
    pub fn setsockopt_kretprobe(ctx: RetProbeContext) -> u32 {
        settings::exit(&ctx, ctx.ret());
        0
    }

    /// `tcp_setsockopt(sk, level, optname, optval, optlen)`: the fourth is a struct of two words, so the result is the seventh
    /// word. Kernels before 6.1 refuse to load this.
    #[fexit]
    pub fn setsockopt_fexit(ctx: FExitContext) -> i32 {
        if ctx.arg::<i32>(6) == 0 && settings::concerns(ctx.arg(1), ctx.arg(2)) {
            settings::option(&ctx, Sock::at(ctx.arg(0)));
        }
        0
    }

    // The handler of both times and that of the number of probes have the same arguments, so one program each way serves both:
    // `(table, write, buffer, lenp, ppos)`.

    #[kprobe]
    pub fn sysctl_kprobe(ctx: ProbeContext) -> u32 {
        sysctls::enter(ctx.arg(0).unwrap_or(0), ctx.arg::<i32>(1).unwrap_or(0) != 0);
        0
    }

    #[kretprobe]
    pub fn sysctl_kretprobe(ctx: RetProbeContext) -> u32 {
        sysctls::exit(ctx.ret());
        0
    }

    #[fentry]
    pub fn sysctl_time_fentry(ctx: FEntryContext) -> i32 {
        sysctls::enter(ctx.arg(0), ctx.arg::<i32>(1) != 0);
        0
    }

    #[fexit]
    pub fn sysctl_time_fexit(ctx: FExitContext) -> i32 {
        sysctls::exit(ctx.arg(5));
        0
    }

    #[fentry]
    pub fn sysctl_probes_fentry(ctx: FEntryContext) -> i32 {
        sysctls::enter(ctx.arg(0), ctx.arg::<i32>(1) != 0);
        0
    }

    #[fexit]
    pub fn sysctl_probes_fexit(ctx: FExitContext) -> i32 {
        sysctls::exit(ctx.arg(5));
        0
    }

    #[kprobe]
    pub fn ack_kprobe(ctx: ProbeContext) -> u32 {
        replies::acked(Sock::at(ctx.arg(0).unwrap_or(0)));
        0
    }

    #[fentry]
    pub fn ack_fentry(ctx: FEntryContext) -> i32 {
        replies::acked(Sock::at(ctx.arg(0)));
        0
    }

    // Every packet passes, whatever is thought of it.

    #[cgroup_skb(ingress)]
    pub fn http_ingress(ctx: SkBuffContext) -> i32 {
        http::packet(&ctx, false);
        1
    }

    #[cgroup_skb(egress)]
    pub fn http_egress(ctx: SkBuffContext) -> i32 {
        http::packet(&ctx, true);
        1
    }

    #[raw_tracepoint(tracepoint = "inet_sock_set_state")]
    pub fn http_born(ctx: RawTracePointContext) -> i32 {
        http::born(Sock::at(ctx.arg(0)), ctx.arg(1), ctx.arg(2));
        0
    }

    #[unsafe(no_mangle)]
    #[unsafe(link_section = "iter/tcp")]
    pub extern "C" fn sockets(step: &TcpStep) -> i32 {
        walk::sockets(step);
        0
    }

    #[unsafe(no_mangle)]
    #[unsafe(link_section = "iter/task_file")]
    pub extern "C" fn holders(step: &TaskFileStep) -> i32 {
        walk::holders(step);
        0
    }
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
