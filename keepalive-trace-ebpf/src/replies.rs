//! Answers to probes, seen as they come: on every ACK, so only where somebody asked for it, and only while a probe is out.
use keepalive_trace_ebpf::kind;

use crate::{
    fields::Copied,
    maps::{WAITING, config},
    sock::{Head, Sock},
    tell::emit_of,
};

/// A probe has left.
#[inline(always)]
pub fn expect(sock: Sock) {
    if config!(exact_replies) != 0 {
        // It fails where too many wait: then the socket's own clock tells of the answer, later.
        let _ = WAITING.insert(sock.address(), 1, 0);
    }
}

/// The connection has ended.
#[inline(always)]
pub fn give_up(sock: Sock) {
    if config!(exact_replies) != 0 {
        take(sock);
    }
}

/// `tcp_ack`: an ACK came. Nobody waits for most: one lookup then is all that it costs.
#[inline(always)]
pub fn acked(sock: Sock) {
    let mut head = Head::place();
    if take(sock)
        && let Some(head) = Head::of(sock, &mut head)
    {
        emit_of(Copied { sock, head }, |record| record.kind = kind::ACKED);
    }
}

#[inline(always)]
fn take(sock: Sock) -> bool {
    WAITING.get_ptr(sock.address()).is_some() && WAITING.remove(sock.address()).is_ok()
}
