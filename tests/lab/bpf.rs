//! The `bpf()` system call, for the few things that the lab wants of it.
use std::{
    ffi::c_long,
    io,
    os::fd::{FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

const PROG_GET_NEXT_ID: c_long = 11;

/// The id of the loaded program after this one, in the kernel's order; from 0 on.
pub fn program_after(id: u32) -> Result<Option<u32>> {
    /// The part of `union bpf_attr` that PROG_GET_NEXT_ID uses.
    #[repr(C)]
    struct Attribute {
        start: u32,
        next: u32,
        flags: u32,
    }
    let mut attribute = Attribute { start: id, next: 0, flags: 0 };
    match call(PROG_GET_NEXT_ID, &mut attribute) {
        Ok(_) => Ok(Some(attribute.next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error).context("cannot list the BPF programs"),
    }
}

/// A command that makes something: a program, a map. The attribute begins like `union bpf_attr`.
pub(crate) fn create<T>(command: c_long, attribute: &mut T) -> io::Result<OwnedFd> {
    // Before 5.11 it counts as locked memory, together with all that the same user has made.
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
    let fd = i32::try_from(call(command, attribute)?).map_err(io::Error::other)?;
    // SAFETY: a descriptor that was just made, and that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Any command. The attribute begins like `union bpf_attr`, and what it points to is alive.
pub(crate) fn call<T>(command: c_long, attribute: &mut T) -> io::Result<c_long> {
    let size = size_of::<T>();
    // SAFETY: the kernel reads and writes `size` bytes, and what the attribute points to outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}
