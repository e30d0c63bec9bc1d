//! What can become of a peer.
use anyhow::{Context, Result};
use socket2::{SockFilter, Socket};

use crate::sockopt;

/// The socket hears nothing any more: every segment to it is dropped before TCP looks at it.
///
/// Keep-alive's classic case, a host that lost power or a cable that was pulled, without touching the network.
pub fn deafen(socket: &Socket) -> Result<()> {
    const RETURN: u16 = 0x06;
    let keep_nothing = SockFilter::new(RETURN, 0, 0, 0);
    socket.attach_filter(&[keep_nothing]).context("SO_ATTACH_FILTER")
}

/// Undoes [`deafen`].
pub fn hear(socket: &Socket) -> Result<()> {
    socket.detach_filter().context("SO_DETACH_FILTER")
}

/// The peer vanishes without a FIN or an RST, and its host lives on: the next segment to it is answered with RST.
pub fn forget(socket: Socket) -> Result<()> {
    sockopt::set(&socket, sockopt::REPAIR, 1)
}
