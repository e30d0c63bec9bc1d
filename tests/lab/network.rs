//! What the lab changes in a network namespace, always in that of the calling thread.
//!
//! The only interface is `lo`, which has index 1 in every namespace.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::netlink::Request;

const LOOPBACK: i32 = 1;
/// `TC_H_ROOT`: the queue right before the device.
const ROOT: u32 = u32::MAX;

/// Sets `lo` up, which also gives it 127.0.0.1/8 and ::1.
pub fn loopback_up() -> Result<()> {
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    Request::new(libc::RTM_NEWLINK, 0)
        .put(&[0; 4]) // ifi_family, padding, ifi_type
        .put(&LOOPBACK.to_ne_bytes())
        .put(&up)
        .put(&up)
        .send()
        .context("cannot set lo up")
}

/// Gives `lo` another address, and waits until it can be reached.
pub fn add_address(address: IpAddr) -> Result<()> {
    let (family, bits, bytes) = parts(address);
    let no_duplicate_detection = libc::IFA_F_NODAD as u8;
    Request::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
        .put(&[family, bits, no_duplicate_detection, 0])
        .put(&LOOPBACK.to_ne_bytes())
        .attribute(libc::IFA_LOCAL, &bytes)
        .attribute(libc::IFA_ADDRESS, &bytes)
        .send()
        .with_context(|| format!("cannot give lo the address {address}"))?;
    until_routed(address)
}

/// Of an IPv6 address the kernel makes the route later, in a worker.
fn until_routed(address: IpAddr) -> Result<()> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).context("cannot bind a UDP socket")?;
    for _ in 0..1000 {
        if socket.connect((address, 9)).is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(1));
    }
    bail!("lo has the address {address}, but no route leads there");
}

/// Takes the way to an address away: sending there fails at once with EHOSTUNREACH.
pub fn lose_route(to: Ipv4Addr) -> Result<()> {
    unreachable_route(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, to)
        .with_context(|| format!("cannot make {to} unreachable"))
}

/// Undoes [`lose_route`].
pub fn find_route(to: Ipv4Addr) -> Result<()> {
    unreachable_route(libc::RTM_DELROUTE, 0, to).with_context(|| format!("cannot make {to} reachable again"))
}

fn unreachable_route(kind: u16, flags: i32, to: Ipv4Addr) -> Result<()> {
    let (family, bits, bytes) = parts(to.into());
    // The local table is asked first, and there a /32 goes before 127.0.0.0/8.
    Request::new(kind, flags)
        .put(&[family, bits, 0, 0, libc::RT_TABLE_LOCAL, libc::RTPROT_STATIC, 0, libc::RTN_UNREACHABLE])
        .put(&[0; 4])
        .attribute(libc::RTA_DST, &bytes)
        .send()
}

/// Puts a queue of length 0 before `lo`: every packet is dropped on its way out, which the sender learns (NET_XMIT_DROP).
pub fn choke_loopback() -> Result<()> {
    let limit = 0u32;
    root_qdisc(Request::new(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_REPLACE))
        .attribute(libc::TCA_KIND, b"pfifo\0")
        .attribute(libc::TCA_OPTIONS, &limit.to_ne_bytes())
        .send()
        .context("cannot put a pfifo of length 0 before lo")
}

/// Undoes [`choke_loopback`].
pub fn unchoke_loopback() -> Result<()> {
    root_qdisc(Request::new(libc::RTM_DELQDISC, 0)).send().context("cannot take the pfifo away from lo")
}

fn root_qdisc(request: Request) -> Request {
    request
        .put(&[0; 4]) // tcm_family, padding
        .put(&LOOPBACK.to_ne_bytes())
        .put(&0u32.to_ne_bytes()) // tcm_handle: the kernel's choice
        .put(&ROOT.to_ne_bytes())
        .put(&0u32.to_ne_bytes())
}

fn parts(address: IpAddr) -> (u8, u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (libc::AF_INET as u8, 32, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, 128, v6.octets().to_vec()),
    }
}
