//! `tcp_keepalive_timer`, in and out: what one run did.
//!
//! The entry sees the socket unlocked. The nested calls see it locked, so where there is one its picture replaces the
//! entry's. The exit may see a socket that is gone already, so after a death nothing is read there.
use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use keepalive_trace_ebpf::{Record, counter, flag, has, kind, outcome};

use crate::{
    filter,
    maps::{Run, config, count, emit, run, step, zeroed},
    replies,
    sock::{Head, Sock, Timer, jiffies},
};

#[inline(always)]
pub fn enter(ctx: &impl EbpfContext, timer: u64) {
    count(counter::RUNS);
    let timer = Timer::at(timer);
    let (Some(run), Some(sock)) = (run(), timer.sock()) else { return };
    if run.active != 0 {
        // The last run on this CPU never came out: the kernel skipped our exit.
        count(counter::UNFINISHED);
    }
    run.active = 1;
    run.steps = 0;
    run.wanted = 0;
    let record = &raw mut run.record;
    // SAFETY: this CPU's own record, overwritten as a whole; any bytes make one.
    zeroed(unsafe { &mut *record.cast::<MaybeUninit<Record>>() });
    run.record.sk = sock.address();
    let Some(head) = Head::of(sock) else { return };
    if !filter::wanted(sock, &head) {
        return;
    }
    run.wanted = 1;
    sock.describe(&head, &mut run.record);
    run.record.flags |= flag::IN_TIMER;
    run.jiffies = jiffies();
    run.owned = sock.owned().unwrap_or(0);
    run.mstamp = sock.mstamp().unwrap_or(0);
    if let Some(expires) = timer.expires() {
        run.expires = expires as u32;
        run.record.has |= has::LATE;
    }
    if let Some(level) = timer.level() {
        run.record.level = level;
        run.record.has |= has::LEVEL;
    }
    debug!(
        ctx,
        "tcp_keepalive_timer in: port {} state {} probes_out {}", run.record.lport, run.record.state, run.record.probes_out
    );
}

/// The run in progress on this CPU, if it is this socket's.
#[inline(always)]
pub fn current(sock: Sock) -> Option<&'static mut Run> {
    run().filter(|run| run.active != 0 && run.record.sk == sock.address())
}

#[inline(always)]
pub fn wakeup_enter(sock: Sock) {
    let Some(run) = current(sock) else { return };
    run.steps |= step::WAKEUP;
    if run.wanted != 0
        && let Some(head) = Head::of(sock)
    {
        sock.describe(&head, &mut run.record);
    }
}

#[inline(always)]
pub fn wakeup_exit(ret: i32) {
    let Some(run) = run() else { return };
    if run.active != 0 && run.steps & step::WAKEUP != 0 {
        run.steps |= step::WAKEUP_RETURNED;
        run.record.ret = ret;
        run.record.has |= has::RET;
    }
}

#[inline(always)]
pub fn time_wait(sock: Sock) {
    if let Some(run) = current(sock) {
        run.steps |= step::TIME_WAIT;
    }
}

#[inline(always)]
pub fn exit(ctx: &impl EbpfContext) {
    let Some(run) = run() else { return };
    if run.active == 0 {
        count(counter::UNPAIRED);
        return;
    }
    run.active = 0;
    debug!(ctx, "tcp_keepalive_timer out: port {} steps {}", run.record.lport, run.steps);
    // A death was told by the reset itself.
    if run.wanted == 0 || run.steps & step::RESET != 0 {
        return;
    }
    let sock = Sock::at(run.record.sk);
    if run.steps & step::TIME_WAIT != 0 {
        run.record.kind = kind::TIMER;
        run.record.outcome = outcome::FIN_WAIT2;
    } else {
        rearmed(run, sock);
        if run.steps & step::WAKEUP != 0 {
            run.record.kind = kind::PROBE;
            if run.record.has & has::RET != 0 && run.record.ret == 0 {
                replies::expect(sock);
            }
            if run.steps & step::WAKEUP_RETURNED == 0 {
                count(counter::UNPAIRED);
            }
        } else {
            run.record.kind = kind::TIMER;
            run.record.outcome = passed(run, sock);
        }
    }
    // Against the same reading of the clock as all else in the record, which a nested call may have taken anew.
    run.record.late = run.record.jiffies.wrapping_sub(run.expires).cast_signed();
    emit(|record| *record = run.record);
}

/// Notes when the timer will fire next. It says nothing if the socket has become another one meanwhile.
#[inline(always)]
fn rearmed(run: &mut Run, sock: Sock) {
    let Some(timer) = sock.timer() else { return };
    if sock.lport() != Some(run.record.lport) || Head::of(sock).and_then(|head| head.rport()) != Some(run.record.rport) {
        return;
    }
    if timer.pending() == Some(true)
        && let Some(expires) = timer.expires()
    {
        run.record.next = expires.wrapping_sub(run.jiffies) as i32;
        run.record.has |= has::NEXT;
    }
}

/// Why a run sent nothing and killed nothing, in the order in which the kernel decides.
#[inline(always)]
fn passed(run: &Run, sock: Sock) -> u8 {
    if run.record.has & has::NEXT == 0 {
        return outcome::KEEPALIVE_OFF;
    }
    // Where a process holds the socket, the handler comes back in HZ/20 without having looked at anything: it has not even
    // refreshed the socket's clock. Jiffies may tick between our reading and its own.
    let retry = config!(hz) as i32 / 20;
    let soon = run.record.next >= retry && run.record.next <= retry + 1;
    let held = run.owned != 0 || sock.owned().unwrap_or(0) != 0;
    let untouched = sock.mstamp() == Some(run.mstamp);
    if soon && (held || untouched) {
        return outcome::SOCKET_BUSY;
    }
    if sock.packets_out().unwrap_or(0) != 0 {
        return outcome::DATA_IN_FLIGHT;
    }
    if sock.unsent().unwrap_or(0) != 0 {
        return outcome::UNSENT_DATA;
    }
    outcome::NOT_IDLE
}
