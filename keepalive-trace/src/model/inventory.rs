//! Sockets with what follows from each, and all of them counted.
use std::collections::BTreeMap;

use super::{finding::Finding, findings::Found, listing::Listed, state::State, window::WindowMs};

/// A socket, and what follows from it.
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
