//! Where one scene plays: a namespace of its own, watched from its first packet.
use std::{thread::sleep, time::Duration};

use anyhow::Result;

use crate::{
    capture::Capture,
    forge::Forgery,
    netns::Netns,
    packet::flag,
    pair::{Connection, Pair, Plan},
    timer::{self, Timer},
};

/// A fresh namespace, with all its counters at 0, and a capture of all that happens in it.
pub struct Stage {
    /// The namespace.
    pub netns: Netns,
    /// All that is on its wire.
    pub capture: Capture,
    /// Resets on that wire which no socket sent, and no counter counts.
    pub forged_resets: i64,
}

impl Stage {
    /// Sets it up. Needs root.
    pub fn open() -> Result<Self> {
        let netns = Netns::new()?;
        let capture = Capture::open(&netns)?;
        Ok(Self { netns, capture, forged_resets: 0 })
    }

    /// Makes a connection on it.
    pub fn connect(&self, plan: &Plan) -> Result<Pair> {
        plan.connect(&self.netns)
    }

    /// A middlebox in the middle: it waits for the next probe of the connection's local end, and some time later resets the
    /// connection in the peer's name.
    pub fn reset_in_answer(&mut self, connection: &Connection, delay: Duration, limit: Duration) -> Result<()> {
        self.forged_resets += 1;
        self.answer(connection, flag::RST, delay, limit)
    }

    /// Likewise, but it acknowledges the probe: a peer that is some way off.
    pub fn acknowledge_in_answer(&mut self, connection: &Connection, delay: Duration, limit: Duration) -> Result<()> {
        self.answer(connection, flag::ACK, delay, limit)
    }

    fn answer(&mut self, connection: &Connection, flags: u8, delay: Duration, limit: Duration) -> Result<()> {
        let probe = self.capture.next_probe(connection, limit)?;
        sleep(delay);
        self.netns.enter(|| Forgery::in_answer_to(&probe, flags).send())
    }

    /// The timer of a connection's local end, as the kernel shows it.
    pub fn timer(&self, connection: &Connection) -> Result<Option<Timer>> {
        timer::of(&self.netns, connection)
    }
}
