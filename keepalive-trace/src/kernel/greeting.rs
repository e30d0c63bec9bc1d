//! TLS, where HTTP was to be watched: nobody can read it, and that is said once.
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
};

use super::http::Passing;
use crate::model::tracker::{Tracker, Whose};

/// So long a connection may take to become known to be wanted, nanoseconds: a client speaks before anybody accepts.
const PATIENCE_NS: u64 = 1_000_000_000;

/// The first greeting on a connection that somebody wants to hear of.
pub struct Greetings {
    /// The kernel side tells of none while there is something in it.
    told: Array<MapData, u32>,
    met: Option<Met>,
    is_over: bool,
}

#[derive(Debug)]
struct Met {
    at_ns: u64,
    whose: Whose,
    server: SocketAddr,
}

impl Greetings {
    /// # Errors
    /// When the map is missing.
    pub fn watch(ebpf: &mut Ebpf) -> Result<Self> {
        let told = ebpf.take_map("GREETED").context("the map GREETED is missing")?;
        let told = told.try_into().context("the map GREETED is of another kind")?;
        Ok(Self { told, met: None, is_over: false })
    }

    pub fn meet(&mut self, passing: &Passing) {
        if let Some(server) = passing.greeted().filter(|_| !self.is_over) {
            self.met = Some(Met { at_ns: passing.mono_ns(), whose: passing.whose(), server });
        }
    }

    /// Whom a client of a connection that is told has greeted, once in a run.
    ///
    /// # Errors
    /// When the kernel side can't be asked for another.
    pub fn take(&mut self, tracker: &Tracker, now_ns: u64) -> Result<Option<SocketAddr>> {
        let Some(Met { at_ns, whose, server }) = &self.met else { return Ok(None) };
        if tracker.wanted().wants(None) || tracker.tells(whose) {
            self.is_over = true;
            return Ok(self.met.take().map(|met| met.server));
        }
        if now_ns.saturating_sub(*at_ns) > PATIENCE_NS {
            log::debug!("TLS with {server} is of no connection that was asked for");
            self.met = None;
            self.told.set(0, 0, 0).context("cannot ask for another TLS greeting")?;
        }
        Ok(None)
    }
}
