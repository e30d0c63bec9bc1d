//! A socket as it is listed: all that is known of it at one moment.
use super::{owner::Owner, sighting::Socket, wheel::Armed};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub mono_ns: u64,
    pub socket: Socket,
    pub owner: Option<Owner>,
    /// The keepalive timer, where it is armed.
    pub timer: Option<Armed>,
    /// What holds probes back, where it is known.
    pub queued: Option<Queued>,
}

/// As long as any of this is there, the timer sends no probe: retransmission rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Sequence numbers sent and never acknowledged.
    pub unacked: u32,
    /// Bytes that were never sent.
    pub unsent: u32,
}

#[cfg(test)]
pub mod samples;
