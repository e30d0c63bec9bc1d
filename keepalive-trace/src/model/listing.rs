//! A socket as it is listed: all that is known of it at one moment.
use std::collections::BTreeMap;

use super::{
    findings::{Finding, Found},
    owner::Owner,
    sighting::Socket,
    state::State,
    wheel::Armed,
    window::WindowMs,
};

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

/// What follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub listed: Listed,
    /// Jiffies a second.
    pub hz: u32,
    /// When the keepalive timer will really fire, from the listing.
    pub fires: Option<WindowMs>,
    /// The longest that it takes to notice that the peer has gone, milliseconds; none: it never is.
    pub detect_ms: Option<i64>,
    pub found: Vec<Found>,
}

/// All rows, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Connections.
    pub sockets: u64,
    pub listeners: u64,
    /// Of the connections, those with SO_KEEPALIVE.
    pub keepalive: u64,
    pub findings: BTreeMap<Finding, u64>,
}

impl Sum {
    pub fn add(&mut self, row: &Row) {
        let socket = &row.listed.socket;
        if socket.state == State::LISTEN {
            self.listeners += 1;
        } else {
            self.sockets += 1;
            self.keepalive += u64::from(socket.settings.is_some_and(|settings| settings.keepalive));
        }
        for found in &row.found {
            *self.findings.entry(found.finding).or_default() += 1;
        }
    }

    /// Findings of all kinds.
    pub fn found(&self) -> u64 {
        self.findings.values().sum()
    }
}

#[cfg(test)]
pub mod samples;
