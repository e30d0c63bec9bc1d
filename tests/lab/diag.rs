//! What `ss -o -e` shows: the kernel's own listing of TCP sockets, over netlink.
//!
//! It needs inet_diag and tcp_diag, which are modules on most kernels. Asking for it gives each socket a cookie, if it had none.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::SockProtocol;

use crate::{
    clock::{self, Moment},
    netlink::Request,
    netns::Netns,
};

/// `SOCK_DIAG_BY_FAMILY`, a request of NETLINK_SOCK_DIAG.
const BY_FAMILY: u16 = 20;
/// `TCP_LISTEN`
pub const LISTEN: u8 = 10;
/// `TCP_TIME_WAIT`, `TCP_SYN_RECV`, `TCP_NEW_SYN_RECV`: these are no whole sockets.
const PARTIAL: u32 = 1 << 6 | 1 << 3 | 1 << 12;
/// `sizeof(struct inet_diag_msg)`
const MESSAGE: usize = 72;

/// Which timer the kernel shows of a socket. Where several are armed, it is the first of these that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// None.
    None,
    /// Retransmission, or one of its relatives.
    Retransmit,
    /// Probing a closed window.
    ZeroWindow,
    /// Keepalive.
    Keepalive,
    /// A time-wait socket's, or one that this lab doesn't know.
    Other(u8),
}

/// A socket as inet_diag shows it: `struct inet_diag_msg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The family of the socket: 4 or 6.
    pub ip: u8,
    /// `sk_state`
    pub state: u8,
    /// Its own end, with an IPv4-mapped address as IPv4.
    pub local: SocketAddr,
    /// The peer's, likewise.
    pub remote: SocketAddr,
    /// `SO_COOKIE`
    pub cookie: u64,
    /// Which timer.
    pub timer: Timer,
    /// That timer's probes or retransmissions that are out.
    pub retrans: u8,
    /// Whole jiffies from the moment of reading to that timer's deadline.
    pub left: Duration,
    /// Bytes received that nobody has read; of a listener, connections that wait to be accepted.
    pub unread: u32,
    /// Bytes written that the peer has not acknowledged; of a listener, how many may wait.
    pub unacked: u32,
}

/// All sockets of a namespace.
#[derive(Debug)]
pub struct Listing {
    /// The sockets, listeners too.
    pub sockets: Vec<Shown>,
    /// Right before the first was read.
    pub began: Moment,
    /// Right after the last was read.
    pub ended: Moment,
}

impl Listing {
    /// The socket with these ends.
    pub fn of(&self, local: SocketAddr, remote: SocketAddr) -> Option<&Shown> {
        self.sockets.iter().find(|shown| (shown.local, shown.remote) == (local, remote))
    }
}

/// Lists the namespace's sockets, of both families.
pub fn list(netns: &Netns) -> Result<Listing> {
    let began = clock::now();
    let messages = netns.enter(|| Ok([dump(libc::AF_INET)?, dump(libc::AF_INET6)?].concat()))?;
    let ended = clock::now();
    let sockets = messages.iter().map(|message| parse(message)).collect::<Result<_>>()?;
    Ok(Listing { sockets, began, ended })
}

fn dump(family: i32) -> Result<Vec<Vec<u8>>> {
    const ANY_ID: [u8; 48] = [0; 48];
    Request::new(BY_FAMILY, 0)
        .put(&[family as u8, libc::IPPROTO_TCP as u8, 0, 0]) // and no extensions, padding
        .put(&(!PARTIAL).to_ne_bytes())
        .put(&ANY_ID)
        .dump(SockProtocol::NetlinkSockDiag)
        .context("the kernel does not list its sockets")
}

fn parse(message: &[u8]) -> Result<Shown> {
    ensure!(message.len() >= MESSAGE, "an inet_diag_msg of {} bytes", message.len());
    let word = |at: usize| u32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let ip = if i32::from(message[0]) == libc::AF_INET { 4 } else { 6 };
    let address = |at: usize| -> Result<IpAddr> {
        let bytes: [u8; 16] = message[at..at + 16].try_into()?;
        let [a, b, c, d, ..] = bytes;
        Ok(if ip == 4 { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from(bytes).to_canonical() })
    };
    Ok(Shown {
        ip,
        state: message[1],
        local: SocketAddr::new(address(8)?, port(4)),
        remote: SocketAddr::new(address(24)?, port(6)),
        cookie: u64::from(word(48)) << 32 | u64::from(word(44)),
        timer: match message[2] {
            0 => Timer::None,
            1 => Timer::Retransmit,
            2 => Timer::Keepalive,
            4 => Timer::ZeroWindow,
            other => Timer::Other(other),
        },
        retrans: message[3],
        left: Duration::from_millis(word(52).into()),
        unread: word(56),
        unacked: word(60),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_field_by_field() {
        let mut message = vec![0; MESSAGE];
        message[..4].copy_from_slice(&[libc::AF_INET6 as u8, 1, 2, 3]);
        message[4..8].copy_from_slice(&[0x13, 0x89, 0x17, 0x71]);
        message[18..24].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        message[39] = 1;
        message[44..52].copy_from_slice(&[7_u32.to_ne_bytes(), 1_u32.to_ne_bytes()].concat());
        message[52..64].copy_from_slice(&[1500_u32.to_ne_bytes(), 10_u32.to_ne_bytes(), 20_u32.to_ne_bytes()].concat());
        let shown = parse(&message).unwrap();
        assert_eq!((shown.ip, shown.state, shown.timer, shown.retrans), (6, 1, Timer::Keepalive, 3));
        assert_eq!((shown.local.to_string(), shown.remote.to_string()), ("127.0.0.1:5001".into(), "[::1]:6001".into()));
        assert_eq!((shown.cookie, shown.left.as_millis(), shown.unread, shown.unacked), (1 << 32 | 7, 1500, 10, 20));
        assert!(parse(&message[1..]).is_err());
    }
}
