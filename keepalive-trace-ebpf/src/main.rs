//! The programs: each names its hook and calls the room that knows what to do.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// Atomic additions: this target's `core` has no methods for them.
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics), allow(internal_features, reason = "see above"))]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod conns;
#[cfg(target_arch = "bpf")]
mod ends;
#[cfg(target_arch = "bpf")]
mod fields;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod http;
#[cfg(target_arch = "bpf")]
mod lifecycle;
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
mod witness;

#[cfg(target_arch = "bpf")]
mod programs {
    use core::ffi::c_void;

    use aya_ebpf::{
        macros::{btf_tracepoint, cgroup_skb, fentry, fexit, kprobe, kretprobe, raw_tracepoint},
        programs::{
            BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext, SkBuffContext,
        },
    };

    use crate::{
        conns, ends,
        fields::{Copied, Typed},
        http, lifecycle, replies, settings,
        sock::{self, Head, Sock},
        sysctls, teardown, timer,
        walk::{self, TaskFileStep, TcpStep},
        witness,
    };

    /// `SEND_SHUTDOWN` in `tcp_shutdown`'s second argument.
    const SEND_SHUTDOWN: u32 = 2;

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
        timer::wakeup_enter(Sock::at(ctx.arg(0).unwrap_or(0)), ctx.arg(1).unwrap_or(0));
        0
    }

    #[kretprobe]
    pub fn write_wakeup_kretprobe(ctx: RetProbeContext) -> u32 {
        timer::wakeup_exit(ctx.ret());
        0
    }

    #[fentry]
    pub fn write_wakeup_fentry(ctx: FEntryContext) -> i32 {
        timer::wakeup_enter(Sock::at(ctx.arg(0)), ctx.arg(1));
        0
    }

    /// `tcp_write_wakeup(sk, mib)`: its result follows its two arguments (`bpf_get_func_ret` came with 5.17 only).
    #[fexit]
    pub fn write_wakeup_fexit(ctx: FExitContext) -> i32 {
        timer::wakeup_exit(ctx.arg(2));
        0
    }

    // In a run of the timer alone: what processes reset has a program of its own, so that none of theirs, interrupted, hides a
    // death. The reason is the second argument or the third, by kernel: the loader takes the program that reads the right one,
    // since the verifier refuses an index beyond the prototype, and a computed one.

    #[kprobe]
    pub fn timer_reset_kprobe(ctx: ProbeContext) -> u32 {
        timer_reset_raw(&ctx, 1)
    }

    #[kprobe]
    pub fn timer_reset_arg2_kprobe(ctx: ProbeContext) -> u32 {
        timer_reset_raw(&ctx, 2)
    }

    #[inline(always)]
    fn timer_reset_raw(ctx: &ProbeContext, reason: usize) -> u32 {
        let sock = Sock::at(ctx.arg(0).unwrap_or(0));
        let mut head = Head::place();
        if timer::current(sock).is_some()
            && let Some(head) = Head::of(sock, &mut head)
        {
            teardown::timer_reset(ctx, Copied { sock, head }, ctx.arg(reason));
        }
        0
    }

    #[fentry]
    pub fn timer_reset_fentry(ctx: FEntryContext) -> i32 {
        timer_reset_typed(&ctx, 1)
    }

    #[fentry]
    pub fn timer_reset_arg2_fentry(ctx: FEntryContext) -> i32 {
        timer_reset_typed(&ctx, 2)
    }

    #[inline(always)]
    fn timer_reset_typed(ctx: &FEntryContext, reason: usize) -> i32 {
        if timer::current(Sock::at(ctx.arg(0))).is_some()
            && let Some(sk) = Typed::of(ctx.arg(0))
        {
            teardown::timer_reset(ctx, sk, Some(ctx.arg(reason)));
        }
        0
    }

    #[kprobe]
    pub fn active_reset_kprobe(ctx: ProbeContext) -> u32 {
        copied(&ctx, |sk| teardown::active_reset(&ctx, sk, ctx.arg(1)))
    }

    #[kprobe]
    pub fn active_reset_arg2_kprobe(ctx: ProbeContext) -> u32 {
        copied(&ctx, |sk| teardown::active_reset(&ctx, sk, ctx.arg(2)))
    }

    #[fentry]
    pub fn active_reset_fentry(ctx: FEntryContext) -> i32 {
        typed(&ctx, |sk| teardown::active_reset(&ctx, sk, Some(ctx.arg(1))))
    }

    #[fentry]
    pub fn active_reset_arg2_fentry(ctx: FEntryContext) -> i32 {
        typed(&ctx, |sk| teardown::active_reset(&ctx, sk, Some(ctx.arg(2))))
    }

    // Functions that are hooked with fentry where the kernel can, whatever the timer is hooked with, and with kprobes elsewhere.

    /// The first argument as a socket of TCP, by helper calls.
    #[inline(always)]
    fn copied(ctx: &ProbeContext, work: impl FnOnce(Copied<'_>)) -> u32 {
        let sock = Sock::at(ctx.arg(0).unwrap_or(0));
        let mut head = Head::place();
        if sock.is_tcp()
            && let Some(head) = Head::of(sock, &mut head)
        {
            work(Copied { sock, head });
        }
        0
    }

    /// The first argument as a socket of TCP, by typed loads.
    #[inline(always)]
    fn typed(ctx: &FEntryContext, work: impl FnOnce(Typed)) -> i32 {
        if let Some(sk) = Typed::of(ctx.arg(0)) {
            work(sk);
        }
        0
    }

    /// `tcp_v4_connect(sk, addr, addr_len)`: the result follows its three arguments.
    #[fexit]
    pub fn connect4_fexit(ctx: FExitContext) -> i32 {
        connect_returns(&ctx)
    }

    /// `tcp_v6_connect`, likewise.
    #[fexit]
    pub fn connect6_fexit(ctx: FExitContext) -> i32 {
        connect_returns(&ctx)
    }

    #[inline(always)]
    fn connect_returns(ctx: &FExitContext) -> i32 {
        let Some(sk) = Typed::of(ctx.arg(0)) else { return 0 };
        if ctx.arg::<i32>(3) == 0 {
            lifecycle::connecting(sk);
        } else {
            lifecycle::connect_failed(sk, sock::port_of_address(ctx.arg(1)));
        }
        0
    }

    /// Where fexit can't: before the SYN is sent.
    #[kprobe]
    pub fn connect_kprobe(ctx: ProbeContext) -> u32 {
        copied(&ctx, |sk| lifecycle::connecting(sk))
    }

    #[kprobe]
    pub fn finish_connect_kprobe(ctx: ProbeContext) -> u32 {
        copied(&ctx, |sk| lifecycle::established(sk))
    }

    #[fentry]
    pub fn finish_connect_fentry(ctx: FEntryContext) -> i32 {
        typed(&ctx, lifecycle::established)
    }

    #[kprobe]
    pub fn sock_graft_kprobe(ctx: ProbeContext) -> u32 {
        copied(&ctx, |sk| lifecycle::accepted(sk))
    }

    #[fentry]
    pub fn sock_graft_fentry(ctx: FEntryContext) -> i32 {
        typed(&ctx, lifecycle::accepted)
    }

    #[kprobe]
    pub fn close_kprobe(ctx: ProbeContext) -> u32 {
        copied(&ctx, |sk| lifecycle::closing(sk, || Some(sk), true))
    }

    #[inline(always)]
    fn closes(sk: *const u8, for_good: bool) -> i32 {
        lifecycle::closing(Typed::common(sk), || Typed::of(sk), for_good);
        0
    }

    #[fentry]
    pub fn close_fentry(ctx: FEntryContext) -> i32 {
        closes(ctx.arg(0), true)
    }

    #[kprobe]
    pub fn shutdown_kprobe(ctx: ProbeContext) -> u32 {
        if ctx.arg::<u32>(1).unwrap_or(0) & SEND_SHUTDOWN == 0 {
            return 0;
        }
        copied(&ctx, |sk| lifecycle::closing(sk, || Some(sk), false))
    }

    #[fentry]
    pub fn shutdown_fentry(ctx: FEntryContext) -> i32 {
        if ctx.arg::<u32>(1) & SEND_SHUTDOWN == 0 {
            return 0;
        }
        closes(ctx.arg(0), false)
    }

    #[kprobe]
    pub fn done_kprobe(ctx: ProbeContext) -> u32 {
        copied(&ctx, |sk| ends::done(sk))
    }

    #[fentry]
    pub fn done_fentry(ctx: FEntryContext) -> i32 {
        typed(&ctx, ends::done)
    }

    #[kprobe]
    pub fn disconnect_kprobe(ctx: ProbeContext) -> u32 {
        copied(&ctx, |sk| ends::disconnecting(sk))
    }

    #[fentry]
    pub fn disconnect_fentry(ctx: FEntryContext) -> i32 {
        typed(&ctx, ends::disconnecting)
    }

    #[kprobe]
    pub fn abort_kprobe(ctx: ProbeContext) -> u32 {
        copied(&ctx, |sk| teardown::aborted(&ctx, sk))
    }

    #[fentry]
    pub fn abort_fentry(ctx: FEntryContext) -> i32 {
        typed(&ctx, |sk| teardown::aborted(&ctx, sk))
    }

    // Tracepoints: the same however functions are hooked.

    #[btf_tracepoint(function = "tcp_destroy_sock")]
    pub fn destroy_sock(ctx: BtfTracePointContext) -> i32 {
        if conns::get(Typed::common(ctx.arg(0))).is_some()
            && let Some(sk) = Typed::of(ctx.arg(0))
        {
            ends::destroyed(sk);
        }
        0
    }

    #[btf_tracepoint(function = "tcp_receive_reset")]
    pub fn receive_reset(ctx: BtfTracePointContext) -> i32 {
        if let Some(sk) = Typed::of(ctx.arg(0)) {
            teardown::peer_reset(&ctx, sk);
        }
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

    /// Attached to nothing: the reader runs it, with a key of the map `PROBES` and one of [`keepalive_trace_ebpf::look`]. Without
    /// the macro, which drops the result.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "raw_tp")]
    pub extern "C" fn look(ctx: *mut c_void) -> u32 {
        let ctx = RawTracePointContext::new(ctx);
        witness::look(ctx.arg(0), ctx.arg(1), ctx.arg(2))
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
