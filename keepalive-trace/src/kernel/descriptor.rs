//! What system calls give that no library wraps for us.
use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

/// The descriptor that a system call has just returned, or the error that it set.
pub fn owned(returned: libc::c_long) -> io::Result<OwnedFd> {
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = libc::c_int::try_from(returned).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given it to us, and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_error_of_the_call() {
        // SAFETY: closes nothing: there is no such descriptor.
        let refused = unsafe { libc::close(-1) };
        assert_eq!(owned(refused.into()).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
