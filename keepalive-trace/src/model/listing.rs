//! A socket as it is listed: all that is known of it at one moment.
use super::{owner::Owner, sighting::Socket, wheel::Armed, window::WindowMs};

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

impl Listed {
    /// When its keepalive timer fires, from the listing. Where the kernel does not tell in which level of the wheel it waits, it
    /// may have been armed with the longest time that is in force.
    pub fn fires(&self, hz: u32) -> Option<WindowMs> {
        let longest = self.socket.settings.map_or(0, |settings| settings.time_s.value.max(settings.intvl_s.value));
        let longest = u64::try_from(longest).unwrap_or(0) * u64::from(hz);
        self.timer.map(|timer| timer.fires(longest, hz).ms(hz))
    }
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
