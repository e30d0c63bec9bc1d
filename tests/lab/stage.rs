//! Where one scene plays: a namespace of its own, watched from its first packet.
use anyhow::Result;

use crate::{
    capture::Capture,
    netns::Netns,
    pair::{Connection, Pair, Plan},
    timer::{self, Timer},
};

/// A fresh namespace, with all its counters at 0, and a capture of all that happens in it.
pub struct Stage {
    /// The namespace.
    pub netns: Netns,
    /// All that is on its wire.
    pub capture: Capture,
}

impl Stage {
    /// Sets it up. Needs root.
    pub fn open() -> Result<Self> {
        let netns = Netns::new()?;
        let capture = Capture::open(&netns)?;
        Ok(Self { netns, capture })
    }

    /// Makes a connection on it.
    pub fn connect(&self, plan: &Plan) -> Result<Pair> {
        plan.connect(&self.netns)
    }

    /// The timer of a connection's local end, as the kernel shows it.
    pub fn timer(&self, connection: &Connection) -> Result<Option<Timer>> {
        timer::of(&self.netns, connection)
    }
}
