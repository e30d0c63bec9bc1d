//! What the lab changes in a network namespace, always in that of the calling thread.
//!
//! The only interface is `lo`, which has index 1 in every namespace.
use std::{
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::netlink::Request;

const LOOPBACK: i32 = 1;
/// Between two looks at what a worker of the kernel has to finish.
const PAUSE: Duration = Duration::from_millis(5);
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
    until_heard(address)
}

/// Until the address hears itself. Of an IPv6 address the kernel makes the way out at once, but a worker completes it later:
/// before, it can't be bound, and a packet to it is answered with "no route", which the sender takes for ENETUNREACH.
fn until_heard(address: IpAddr) -> Result<()> {
    const TRIES: usize = 200;
    let mut heard = Ok(());
    for _ in 0..TRIES {
        heard = hears_itself(address);
        if heard.is_ok() {
            break;
        }
        sleep(PAUSE);
    }
    heard.with_context(|| format!("lo has the address {address}, but no packet arrives there"))
}

fn hears_itself(address: IpAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((address, 0))?;
    socket.connect(socket.local_addr()?)?;
    socket.set_read_timeout(Some(PAUSE))?;
    socket.send(b"?")?;
    socket.recv(&mut [0]).map(|_| ())
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
