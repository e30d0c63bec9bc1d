//! What is there already: every TCP socket of a namespace, and every process that holds one.
use core::ffi::c_void;

use aya_ebpf::helpers::bpf_seq_write;
use keepalive_trace_ebpf::{Held, Record, kind};

use crate::{
    fields::{Copied, Fields as _},
    filter,
    maps::{SCRATCH, config},
    sock::{Head, Sock},
    task::{File, Task},
};

/// `struct bpf_iter__tcp`.
#[repr(C)]
pub struct TcpStep {
    meta: *const Meta,
    sk: *const c_void,
    uid: u64,
}

/// `struct bpf_iter__task_file`.
#[repr(C)]
pub struct TaskFileStep {
    meta: *const Meta,
    task: *const c_void,
    fd: u64,
    file: *const c_void,
}

/// `struct bpf_iter_meta`, its beginning.
#[repr(C)]
struct Meta {
    seq: *mut c_void,
}

/// Writes a [`Record`] of each socket in a state that is asked for. Requests and time-wait sockets have no timer of this kind,
/// and are no full sockets.
#[inline(always)]
pub fn sockets(step: &TcpStep) {
    if step.sk.is_null() {
        return;
    }
    let sock = Sock::at(step.sk as u64);
    let mut head = Head::place();
    let Some(head) = Head::of(sock, &mut head) else { return };
    let listed = head.state().is_some_and(|state| config!(listed_states) & 1_u32.wrapping_shl(state.into()) != 0);
    if !listed {
        return;
    }
    let sk = Copied { sock, head };
    if !filter::wanted(sk) {
        return;
    }
    let Some(record) = SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own record; a program of this kind is never interrupted by itself.
    let record = unsafe { &mut *record };
    clear(record);
    sock.describe(head, record);
    record.kind = kind::SNAPSHOT;
    sk.describe_left(record);
    sock.describe_timer(record);
    write(step.meta, record);
}

/// Writes a [`Held`] for each TCP socket that a process holds.
#[inline(always)]
pub fn holders(step: &TaskFileStep) {
    if step.task.is_null() || step.file.is_null() {
        return;
    }
    if let Some(held) = held(step) {
        write(step.meta, &held);
    }
}

#[inline(always)]
fn held(step: &TaskFileStep) -> Option<Held> {
    let sock = File::at(step.file as u64).sock()?;
    let mut head = Head::place();
    let head = Head::of(sock, &mut head)?;
    let sk = Copied { sock, head };
    if !sk.is_inet() || !sock.is_tcp() {
        return None;
    }
    let (pid, comm) = Task::at(step.task as u64).process()?;
    Some(Held {
        sk: sock.address(),
        pid,
        fd: step.fd as u32,
        comm,
        netns: sk.netns().unwrap_or(0),
        lport: sock.lport()?,
        rport: head.rport()?,
    })
}

#[inline(always)]
fn clear(record: &mut Record) {
    let words = core::ptr::from_mut(record).cast::<u64>();
    for index in 0..size_of::<Record>() / size_of::<u64>() {
        // SAFETY: a record consists of so many words, and is aligned like them.
        unsafe { words.wrapping_add(index).write_volatile(0) };
    }
}

/// A full buffer makes the kernel come again with the same item and a larger one.
#[inline(always)]
fn write<T>(meta: *const Meta, value: &T) {
    // SAFETY: the kernel gives a valid pointer, whose type the verifier knows.
    let seq = unsafe { (*meta).seq };
    // SAFETY: the value is as long as its type says.
    unsafe { bpf_seq_write(seq.cast(), core::ptr::from_ref(value).cast_mut().cast(), size_of::<T>() as u32) };
}
