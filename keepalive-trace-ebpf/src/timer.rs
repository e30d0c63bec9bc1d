//! `tcp_keepalive_timer`, in and out: what one run did.
//!
//! The entry sees the socket unlocked. The nested calls see it locked, so where there is one its picture replaces the
//! entry's. The exit may see a socket that is gone already, so after a death nothing is read there but its state.
//!
//! Nothing here depends on one nested program alone: a probe shows in `icsk_probes_out` too, and a death in the state.
use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use keepalive_trace_ebpf::{Record, counter, flag, has, kind, outcome};

use crate::{
    fields::{Copied, Fields},
    filter,
    maps::{Run, config, count, emit, run, step, sysctls_were_written, zeroed},
    replies,
    sock::{Head, SOCK_DEAD, Sock, Timer, jiffies, state},
    tell::{NO_REASON, is_told, tell_from_now, timer_reset_record},
    witness,
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
    let mut head = Head::place();
    let Some(head) = Head::of(sock, &mut head) else { return };
    if !filter::wanted(Copied { sock, head }) {
        return;
    }
    run.wanted = 1;
    sock.describe(head, &mut run.record);
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
pub fn wakeup_enter(sock: Sock, mib: u32) {
    let Some(run) = current(sock) else { return };
    run.steps |= step::WAKEUP;
    run.mib = mib;
    let mut head = Head::place();
    if run.wanted != 0
        && let Some(head) = Head::of(sock, &mut head)
    {
        sock.describe(head, &mut run.record);
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

/// How a run of the keepalive timer ends its socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// It does not.
    Not,
    /// By a reset.
    Reset,
    /// A time-wait socket goes on in its place (`tcp_time_wait`).
    TimeWait,
}

/// The socket closes: what its keepalive timer has to do with it. Where the reset of a death was not seen, it is made up for
/// here, and the record of the end follows it.
#[inline(always)]
pub fn ends<F: Fields>(sk: F, from: u8) -> Ends {
    let Some(run) = current(Sock::at(sk.address())) else { return Ends::Not };
    run.steps |= step::DONE;
    if run.steps & step::RESET != 0 {
        return Ends::Reset;
    }
    if from == state::FIN_WAIT2 && sk.flags() & SOCK_DEAD != 0 {
        return Ends::TimeWait;
    }
    run.steps |= step::RESET;
    if run.wanted != 0 {
        timer_reset_record(sk, NO_REASON);
    }
    Ends::Reset
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
    if run.steps & step::WAKEUP != 0 {
        witness::compare(Sock::at(run.record.sk), run.mib);
    }
    // A death was told by the reset itself.
    if run.wanted == 0 || run.steps & step::RESET != 0 {
        return;
    }
    let sock = Sock::at(run.record.sk);
    let mut head = Head::place();
    let Some(head) = Head::of(sock, &mut head) else { return };
    let sk = Copied { sock, head };
    let probed = run.steps & step::WAKEUP != 0;
    if run.steps & step::DONE != 0 {
        run.record.kind = kind::TIMER;
        run.record.outcome = outcome::FIN_WAIT2;
    } else {
        rearmed(run, sk);
        if probed || missed_wakeup(run, sock) {
            run.record.kind = kind::PROBE;
            if run.record.has & has::RET != 0 && run.record.ret == 0 {
                replies::expect(sock);
            }
        } else {
            run.record.kind = kind::TIMER;
            run.record.outcome = passed(run, sock);
            // Nothing has happened, unless the timer follows a new setting.
            if is_healthy(&run.record) && !is_told(sk) && !sysctls_were_written() {
                return;
            }
        }
    }
    if run.steps & step::DONE == 0 {
        tell_from_now(sk);
    }
    // Against the same reading of the clock as all else in the record, which a nested call may have taken anew.
    run.record.late = run.record.jiffies.wrapping_sub(run.expires).cast_signed();
    emit(|record| *record = run.record);
}

/// Whether the timer found the peer well: it was heard within the last second, or the connection was not idle long enough.
#[inline(always)]
fn is_healthy(record: &Record) -> bool {
    record.outcome == outcome::NOT_IDLE || record.ack_age.min(record.data_age) < config!(hz)
}

/// Whether the run sent a probe though the call that sends it was not seen.
#[inline(always)]
fn missed_wakeup(run: &Run, sock: Sock) -> bool {
    run.record.has & has::NEXT != 0 && sock.probes_out() == Some(run.record.probes_out.wrapping_add(1))
}

/// Notes when the timer will fire next. It says nothing if the socket has become another one meanwhile.
#[inline(always)]
fn rearmed(run: &mut Run, sk: Copied<'_>) {
    let Some(timer) = sk.sock.timer() else { return };
    if sk.lport() != Some(run.record.lport) || sk.rport() != Some(run.record.rport) {
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
