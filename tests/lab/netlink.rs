//! As much netlink as the lab needs: one request, its answer, no iproute2.
use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use std::os::fd::{AsRawFd, OwnedFd};

const HEADER: usize = 16;

/// A request to one of the kernel's netlink families, built from its parts in their order on the wire.
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Begins a message of this type (`RTM_*`, `SOCK_*`); NLM_F_REQUEST and NLM_F_ACK are always set.
    pub fn new(kind: u16, flags: i32) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Self { bytes }
    }

    /// Appends bytes as they are: the fixed part of the message.
    pub fn put(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends an attribute, padded to four bytes.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Sends it to the routing family within the calling thread's network namespace, and waits for the kernel's yes or no.
    pub fn send(self) -> Result<()> {
        self.send_to(SockProtocol::NetlinkRoute)
    }

    /// As [`Self::send`], to another family.
    pub fn send_to(self, family: SockProtocol) -> Result<()> {
        let socket = self.asked(family)?;
        let mut answer = [0; 4096];
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).context("no answer to a netlink request")?;
        verdict(&answer[..length])
    }

    /// Asks for all that there is (NLM_F_DUMP) within the calling thread's network namespace; gives the messages, each without its
    /// header.
    pub fn dump(mut self, family: SockProtocol) -> Result<Vec<Vec<u8>>> {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        let socket = self.asked(family)?;
        let (mut found, mut answer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).context("no answer to a netlink request")?;
            for part in parts(&answer[..length])? {
                let Some(message) = part else { return Ok(found) };
                found.push(message.to_vec());
            }
        }
    }

    /// The socket on which the answer to the request will come.
    fn asked(mut self, family: SockProtocol) -> Result<OwnedFd> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, family)
            .context("cannot open a netlink socket")?;
        send(socket.as_raw_fd(), &self.bytes, MsgFlags::empty()).context("cannot send a netlink request")?;
        Ok(socket)
    }
}

/// The messages in one packet of a dump, each without its header; `None` at the end of those once the dump is over.
fn parts(mut packet: &[u8]) -> Result<Vec<Option<&[u8]>>> {
    let mut found = Vec::new();
    while packet.len() >= HEADER {
        let length = u32::from_ne_bytes([packet[0], packet[1], packet[2], packet[3]]) as usize;
        let kind = i32::from(u16::from_ne_bytes([packet[4], packet[5]]));
        ensure!((HEADER..=packet.len()).contains(&length), "a netlink message of {length} bytes, {} are there", packet.len());
        let flags = i32::from(u16::from_ne_bytes([packet[6], packet[7]]));
        ensure!(flags & libc::NLM_F_DUMP_INTR == 0, "what is dumped changed meanwhile");
        match kind {
            libc::NLMSG_DONE => found.push(None),
            libc::NLMSG_ERROR => verdict(&packet[..length])?,
            _ => found.push(Some(&packet[HEADER..length])),
        }
        packet = &packet[length.next_multiple_of(4).min(packet.len())..];
    }
    Ok(found)
}

/// Reads the kernel's answer: an NLMSG_ERROR whose code is 0 means yes.
fn verdict(answer: &[u8]) -> Result<()> {
    ensure!(answer.len() >= HEADER + 4, "a netlink answer of only {} bytes", answer.len());
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    ensure!(i32::from(kind) == libc::NLMSG_ERROR, "a netlink answer of type {kind} where a verdict was due");
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code != 0 {
        bail!(Errno::from_raw(-code));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_their_length_is_not() {
        let request = Request::new(36, 0).put(&[7; 4]).attribute(1, b"pfifo\0");
        assert_eq!(request.bytes[HEADER..], *b"\x07\x07\x07\x07\x0a\0\x01\0pfifo\0\0\0");
    }

    #[test]
    fn a_dump_is_taken_apart_up_to_its_end() {
        let message = |kind: i32, body: &[u8]| {
            let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
            bytes.extend((kind as u16).to_ne_bytes());
            bytes.resize(HEADER, 0);
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let packet = [message(20, b"one"), message(20, b"four"), message(libc::NLMSG_DONE, &[0; 4])].concat();
        assert_eq!(parts(&packet).unwrap(), [Some(&b"one"[..]), Some(b"four"), None]);
        assert!(parts(&packet[..18]).is_err());
        assert!(parts(&message(libc::NLMSG_ERROR, &(-libc::ENOENT).to_ne_bytes())).is_err());
    }

    #[test]
    fn a_refusal_is_the_errno_that_the_kernel_gave() {
        let mut answer = [0; 20];
        answer[4] = libc::NLMSG_ERROR as u8;
        assert!(verdict(&answer).is_ok());
        answer[16..].copy_from_slice(&(-libc::EEXIST).to_ne_bytes());
        assert_eq!(verdict(&answer).unwrap_err().downcast_ref(), Some(&Errno::EEXIST));
        assert!(verdict(&answer[..10]).is_err());
    }
}
