//! A process that holds a socket's lock: it sits in `send()`, waiting for a page of its own memory.
use std::{
    ffi::c_void,
    io,
    num::NonZeroUsize,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr::NonNull,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap},
};
use socket2::Socket;

const PAGE: usize = 4096;

/// `UFFDIO_API`: `_IOWR(0xAA, 0x3F, struct uffdio_api)`.
const API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
/// `UFFDIO_REGISTER`: `_IOWR(0xAA, 0x00, struct uffdio_register)`.
const REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
/// `UFFDIO_ZEROPAGE`: `_IOWR(0xAA, 0x04, struct uffdio_zeropage)`.
const ZERO_PAGE: libc::Ioctl = 0xc020_aa04_u32 as libc::Ioctl;
/// `UFFD_API` and `UFFDIO_REGISTER_MODE_MISSING`.
const VERSION: u64 = 0xaa;
const MISSING: u64 = 1;

/// Somebody in the middle of `send()`, holding the socket's lock until told to go on.
pub struct Holder {
    faults: OwnedFd,
    page: Page,
    thread: JoinHandle<io::Result<usize>>,
}

impl Holder {
    /// Sends one byte on the socket out of a page that isn't there, and returns once the send hangs in it.
    ///
    /// `tcp_sendmsg` copies from user memory with the socket locked, so the lock is held from then on.
    pub fn take(socket: &Socket) -> Result<Self> {
        let socket = socket.try_clone().context("dup")?;
        let page = Page::map()?;
        let faults = userfaultfd()?;
        control(&faults, API, &mut [VERSION, 0, 0]).context("UFFDIO_API")?;
        control(&faults, REGISTER, &mut [page.address(), PAGE as u64, MISSING, 0]).context("UFFDIO_REGISTER")?;
        let byte = page.address();
        let thread = thread::spawn(move || {
            let byte = byte as *const c_void;
            // SAFETY: the page stays mapped until this thread has been joined; the kernel waits for its content.
            let sent = unsafe { libc::send(socket.as_raw_fd(), byte, 1, libc::MSG_NOSIGNAL) };
            usize::try_from(sent).map_err(|_| io::Error::last_os_error())
        });
        let limit = PollTimeout::try_from(Duration::from_secs(5))?;
        let hangs = poll(&mut [PollFd::new(faults.as_fd(), PollFlags::POLLIN)], limit).context("poll")?;
        ensure!(hangs == 1, "send() never asked for the missing page");
        Ok(Self { faults, page, thread })
    }

    /// Supplies the page: the send goes on, the byte leaves, the lock is free.
    pub fn release(self) -> Result<()> {
        control(&self.faults, ZERO_PAGE, &mut [self.page.address(), PAGE as u64, 0, 0]).context("UFFDIO_ZEROPAGE")?;
        let sent = self.thread.join().map_err(|_| anyhow!("the sending thread panicked"))?;
        ensure!(sent.context("the held send failed")? == 1, "the held send sent nothing");
        Ok(())
    }
}

fn userfaultfd() -> Result<OwnedFd> {
    // SAFETY: a system call that takes flags and gives a descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
    let fd = i32::try_from(fd)?;
    ensure!(fd >= 0, "cannot open a userfaultfd: {}", io::Error::last_os_error());
    // SAFETY: a descriptor that was just made, and that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn control(faults: &OwnedFd, request: libc::Ioctl, arguments: &mut [u64]) -> io::Result<()> {
    // SAFETY: each of these requests reads and writes a struct of u64s, as long as the slice that its caller gives.
    let done = unsafe { libc::ioctl(faults.as_raw_fd(), request, arguments.as_mut_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A page of address space without memory behind it.
struct Page(NonNull<c_void>);

// SAFETY: only an address; nobody reads through it but the kernel.
unsafe impl Send for Page {}

impl Page {
    fn map() -> Result<Self> {
        let length = NonZeroUsize::new(PAGE).context("a page of no size")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping where the kernel likes.
        let page = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }.context("mmap")?;
        Ok(Self(page))
    }

    fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and no reference into it was ever made.
        let _ = unsafe { munmap(self.0, PAGE) };
    }
}
