//! Socket options that neither std nor socket2 knows.
use std::{
    ffi::{c_int, c_void},
    io,
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result, ensure};

/// An option by its level, number and name.
#[derive(Clone, Copy)]
pub struct Opt {
    level: c_int,
    name: c_int,
    text: &'static str,
}

/// How long an orphan stays in FIN_WAIT2, seconds; below 0 for not at all.
pub const LINGER2: Opt = Opt { level: libc::IPPROTO_TCP, name: libc::TCP_LINGER2, text: "TCP_LINGER2" };
/// Whether an idle connection is probed.
pub const KEEPALIVE: Opt = Opt { level: libc::SOL_SOCKET, name: libc::SO_KEEPALIVE, text: "SO_KEEPALIVE" };
/// Seconds idle until the first probe.
pub const KEEPIDLE: Opt = Opt { level: libc::IPPROTO_TCP, name: libc::TCP_KEEPIDLE, text: "TCP_KEEPIDLE" };
/// Seconds between probes.
pub const KEEPINTVL: Opt = Opt { level: libc::IPPROTO_TCP, name: libc::TCP_KEEPINTVL, text: "TCP_KEEPINTVL" };
/// Unanswered probes until the end.
pub const KEEPCNT: Opt = Opt { level: libc::IPPROTO_TCP, name: libc::TCP_KEEPCNT, text: "TCP_KEEPCNT" };
/// Milliseconds for which sent data, or a probe, may stay unanswered.
pub const USER_TIMEOUT: Opt = Opt { level: libc::IPPROTO_TCP, name: libc::TCP_USER_TIMEOUT, text: "TCP_USER_TIMEOUT" };
/// A listener's: seconds in which data may come before the connection is one.
pub const DEFER_ACCEPT: Opt = Opt { level: libc::IPPROTO_TCP, name: libc::TCP_DEFER_ACCEPT, text: "TCP_DEFER_ACCEPT" };
/// Takes the socket out of the kernel's hands: closing it then tells the peer nothing.
pub const REPAIR: Opt = Opt { level: libc::IPPROTO_TCP, name: libc::TCP_REPAIR, text: "TCP_REPAIR" };
/// Has every packet carry the CLOCK_REALTIME of its passing.
pub const TIMESTAMPS: Opt = Opt { level: libc::SOL_SOCKET, name: libc::SO_TIMESTAMPNS, text: "SO_TIMESTAMPNS" };
/// SO_RCVBUF beyond the sysctl's limit, for root.
pub const RECEIVE_BUFFER: Opt = Opt { level: libc::SOL_SOCKET, name: libc::SO_RCVBUFFORCE, text: "SO_RCVBUFFORCE" };

/// Sets an option that is an int.
pub fn set(socket: impl AsFd, option: Opt, value: c_int) -> Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `value` is a live int, and `length` is its size.
    let done = unsafe { libc::setsockopt(fd, option.level, option.name, (&raw const value).cast::<c_void>(), length) };
    if done != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("cannot set {} to {value}", option.text));
    }
    Ok(())
}

/// Reads an option that is an int.
pub fn get(socket: impl AsFd, option: Opt) -> Result<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    let place = (&raw mut value).cast::<c_void>();
    // SAFETY: `place` points to `length` writable bytes.
    let done = unsafe { libc::getsockopt(fd, option.level, option.name, place, &raw mut length) };
    ensure!(done == 0, "cannot read {}: {}", option.text, io::Error::last_os_error());
    Ok(value)
}

/// The options that decide about keepalive, by their names.
pub fn named(name: &str) -> Result<Opt> {
    let all = [KEEPALIVE, KEEPIDLE, KEEPINTVL, KEEPCNT, USER_TIMEOUT];
    all.into_iter().find(|option| option.text == name).with_context(|| format!("no socket option {name}"))
}

/// How many packets a packet socket dropped for want of room since the last such question.
pub fn packets_dropped(socket: impl AsFd) -> Result<u32> {
    /// `struct tpacket_stats`.
    #[repr(C)]
    #[derive(Default)]
    struct Statistics {
        packets: u32,
        drops: u32,
    }
    let fd = socket.as_fd().as_raw_fd();
    let mut statistics = Statistics::default();
    let mut length = size_of::<Statistics>() as libc::socklen_t;
    let value = (&raw mut statistics).cast::<c_void>();
    // SAFETY: `value` points to `length` writable bytes.
    let done = unsafe { libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &raw mut length) };
    ensure!(done == 0, "cannot read PACKET_STATISTICS: {}", io::Error::last_os_error());
    Ok(statistics.drops)
}

/// `connect()` to AF_UNSPEC: the connection ends, the socket stays.
pub fn disconnect(socket: impl AsFd) -> Result<()> {
    let nobody = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let length = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: `nobody` is a live address of that length.
    let done = unsafe { libc::connect(socket.as_fd().as_raw_fd(), &raw const nobody, length) };
    ensure!(done == 0, "cannot disconnect: {}", io::Error::last_os_error());
    Ok(())
}
