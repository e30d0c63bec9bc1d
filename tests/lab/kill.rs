//! An administrator who ends other people's connections: what `ss -K` asks of the kernel.
//!
//! It needs inet_diag and tcp_diag, which are modules on most kernels.
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use nix::sys::socket::SockProtocol;

use crate::{netlink::Request, pair::Connection};

/// `SOCK_DESTROY`, a request of NETLINK_SOCK_DIAG.
const DESTROY: u16 = 21;
/// `INET_DIAG_NOCOOKIE`, both halves: any socket of these ends.
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// Has the kernel end the connection's local end, within the calling thread's network namespace. Needs CAP_NET_ADMIN.
pub fn destroy(connection: &Connection) -> Result<()> {
    destroy_between(connection.local, connection.remote)
}

/// As [`destroy`], by its two ends.
pub fn destroy_between(local: SocketAddr, remote: SocketAddr) -> Result<()> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    Request::new(DESTROY, 0)
        .put(&[family as u8, libc::IPPROTO_TCP as u8, 0, 0]) // and no extensions, padding
        .put(&u32::MAX.to_ne_bytes()) // whatever its state
        .put(&local.port().to_be_bytes())
        .put(&remote.port().to_be_bytes())
        .put(&words(local.ip()))
        .put(&words(remote.ip()))
        .put(&0u32.to_ne_bytes()) // any interface
        .put(&ANY_COOKIE)
        .send_to(SockProtocol::NetlinkSockDiag)
        .with_context(|| format!("cannot destroy the socket between {local} and {remote}"))
}

/// An address in the sixteen bytes that there are for one.
fn words(address: IpAddr) -> [u8; 16] {
    let mut words = [0; 16];
    match address {
        IpAddr::V4(v4) => words[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => words = v6.octets(),
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_comes_first_in_its_sixteen_bytes() {
        assert_eq!(words("1.2.3.4".parse().unwrap()), [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(words("::1".parse().unwrap()), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
