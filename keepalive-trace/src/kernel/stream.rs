//! The event stream: from the ring buffer to the model's events.
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use keepalive_trace_ebpf::{Record, WAKE_NS};
use tokio::{
    io::unix::AsyncFd,
    time::{self, Instant},
};
use zerocopy::FromBytes as _;

use super::{facts, losses::Losses, probes::Probes, record::Reader};
use crate::model::{
    event::{Body, Event},
    tracker::Tracker,
};

/// The kernel side wakes us for the first record after a pause. From then on we come by ourselves, this often...
const POLL: Duration = Duration::from_nanos(WAKE_NS);

/// ...and go to sleep when so long after the last record nothing new has come: twice what the kernel side takes for a pause,
/// so that no record can fall between.
const AWAKE: Duration = Duration::from_nanos(2 * WAKE_NS);

/// How often the loss counters are read, whatever happens.
const LOSSES: Duration = Duration::from_secs(1);

/// Everything that the probes see, in order.
pub struct Stream {
    ring: AsyncFd<RingBuf<MapData>>,
    reader: Reader,
    losses: Losses,
    awake_until: Instant,
    next_losses: Instant,
}

impl Stream {
    /// # Errors
    /// When a map is missing, or the ring can't be polled.
    pub fn open(probes: &mut Probes, reader: Reader) -> Result<Self> {
        let ring = probes.ebpf.take_map("RING").context("the map RING is missing")?;
        let ring = RingBuf::try_from(ring).context("the map RING is of another kind")?;
        // SAFETY: the ring owns its descriptor, keeps it open as long as it lives, and always names the same one.
        let ring = unsafe { AsyncFd::register(ring) }.context("cannot poll the ring buffer")?;
        Ok(Self {
            ring,
            reader,
            losses: Losses::watch(&mut probes.ebpf, std::mem::take(&mut probes.hits))?,
            awake_until: Instant::now() + AWAKE,
            next_losses: Instant::now() + LOSSES,
        })
    }

    /// Waits until it is time to look into the ring again. Safe to cancel.
    ///
    /// # Errors
    /// When the ring can't be polled.
    pub async fn wait(&mut self) -> Result<()> {
        if Instant::now() < self.awake_until {
            time::sleep(POLL).await;
            return Ok(());
        }
        tokio::select! {
            () = time::sleep_until(self.next_losses) => {}
            ready = self.ring.readable() => {
                ready.context("cannot poll the ring buffer")?.clear_ready();
                self.awake_until = Instant::now() + AWAKE;
            }
        }
        Ok(())
    }

    /// Hands over what is in the ring, until `sink` has had enough; once a second also what was lost.
    ///
    /// # Errors
    /// When the counters can't be read, or `sink` fails.
    pub fn drain(&mut self, tracker: &mut Tracker, mut sink: impl FnMut(&Event) -> Result<Flow>) -> Result<Flow> {
        while let Some(item) = self.ring.get_mut().next() {
            self.awake_until = Instant::now() + AWAKE;
            let event = Record::read_from_bytes(&item).ok().and_then(|record| self.reader.event(&record, tracker));
            let Some(event) = event else {
                self.losses.unreadable();
                continue;
            };
            tracker.observe(&event);
            if sink(&event)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        if Instant::now() < self.next_losses {
            return Ok(Flow::More);
        }
        self.next_losses = Instant::now() + LOSSES;
        self.tell_losses(tracker, sink)
    }

    /// Hands over what was lost and not yet told.
    ///
    /// # Errors
    /// When the counters can't be read, or `sink` fails.
    pub fn tell_losses(&mut self, tracker: &mut Tracker, mut sink: impl FnMut(&Event) -> Result<Flow>) -> Result<Flow> {
        let losses = self.losses.take()?;
        let mut flow = Flow::More;
        for lost in losses.into_iter().chain(tracker.take_forgotten()) {
            let event = Event { mono_ns: facts::mono_ns(), body: Body::Lost(lost) };
            tracker.observe(&event);
            flow = sink(&event)?;
        }
        Ok(flow)
    }
}

/// Whether a sink wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    More,
    Enough,
}
