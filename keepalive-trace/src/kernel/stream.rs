//! The event stream: from the ring buffer to the model's events.
use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use keepalive_trace_ebpf::WAKE_NS;
use tokio::{
    io::unix::{AsyncFd, AsyncFdReadyGuard},
    time::{self, Instant},
};

use super::{
    ends::Ends,
    facts,
    greeting::Greetings,
    http::{Heads, Passing},
    losses::Losses,
    owner::Owners,
    pace::Pace,
    probes::Probes,
    record::{Reader, holding},
    seen::Seen,
    sockets::{Inventory, Snapshot},
    witness::Witness,
};
use crate::model::{
    event::{Attach, Body, Event, Lost, Place},
    following,
    owner::Owners as Wanted,
    sighting::What,
    sysctl::{Following, Write},
    tracker::{Census, Tracker},
};

/// The kernel side wakes us for the first record after a pause. From then on we come by ourselves, this often...
const POLL: Duration = Duration::from_nanos(WAKE_NS);

/// ...and go to sleep when so long after the last record nothing new has come: twice what the kernel side takes for a pause,
/// so that no record can fall between.
const AWAKE: Duration = Duration::from_nanos(2 * WAKE_NS);

/// So long after something came, what was lost with it is looked up...
const LOSSES: Duration = Duration::from_secs(1);

/// ...and while nothing comes after this pause, and each time after twice as long...
const IDLE_LOSSES: Duration = Duration::from_secs(8);

/// ...up to this.
const MOST_IDLE_LOSSES: Duration = Duration::from_secs(64);

/// How many records are taken out of the ring at a time.
const BATCH: usize = 1024;

/// Where HTTP is watched.
struct Http {
    ring: AsyncFd<RingBuf<MapData>>,
    heads: Heads,
    greetings: Greetings,
}

/// Everything that the probes see, in order.
pub struct Stream {
    ring: AsyncFd<RingBuf<MapData>>,
    /// Heads of HTTP messages, where they are watched.
    http: Option<Http>,
    reader: Reader,
    losses: Losses,
    /// Where the timer is hooked with kprobes.
    witness: Option<Witness>,
    /// In quiet mode.
    ends: Option<Ends>,
    owners: Owners,
    /// Something was seen whose owner is to be looked up.
    owner_asked_for: bool,
    awake_until: Instant,
    next_losses: Instant,
    /// How long after that losses are looked up again, unless something comes.
    idle_losses: Duration,
    records: u64,
    batch: Vec<Seen>,
    /// What counting the connections that follow a sysctl may cost.
    pace: Pace,
    /// Events were lost, and the ends of connections may be among them.
    ends_lost: bool,
    /// Skipped runs that may have lost an end, and are not counted as lost yet.
    unsure_ends: u64,
    events: Vec<Event>,
}

impl Stream {
    /// # Errors
    /// When a map is missing, or the ring can't be polled.
    pub fn open(probes: &mut Probes, reader: Reader) -> Result<Self> {
        let ring = take_ring(probes, "RING")?;
        let http = if probes.watches_http() {
            let (ring, greetings) = (take_ring(probes, "HEADS")?, Greetings::watch(&mut probes.ebpf)?);
            Some(Http { ring, heads: Heads::default(), greetings })
        } else {
            None
        };
        Ok(Self {
            ring,
            http,
            reader,
            losses: Losses::watch(&mut probes.ebpf, std::mem::take(&mut probes.hits))?,
            witness: if probes.attach == Attach::Kprobe { Some(Witness::of(&mut probes.ebpf)?) } else { None },
            ends: if probes.quiet { Some(Ends::watch(&mut probes.ebpf)?) } else { None },
            owners: Owners::default(),
            owner_asked_for: false,
            awake_until: Instant::now() + AWAKE,
            next_losses: Instant::now() + LOSSES,
            idle_losses: IDLE_LOSSES,
            records: 0,
            batch: Vec::with_capacity(BATCH),
            pace: Pace::default(),
            ends_lost: false,
            unsure_ends: 0,
            events: Vec::new(),
        })
    }

    /// Hands over the connections that are there already, in order with all that happens meanwhile. To be called once, when
    /// everything is attached: then nothing is missed between, and what is seen twice is known by its socket.
    ///
    /// # Errors
    /// When the kernel's lists can't be read, or `sink` fails.
    pub fn begin(
        &mut self,
        probes: &mut Probes,
        tracker: &mut Tracker,
        netns: &[u32],
        mut sink: impl FnMut(&Event) -> Result<Flow>,
    ) -> Result<Flow> {
        let Snapshot { mut sockets, holders, namespaces: _, failures } = Snapshot::take(probes, &mut self.owners, netns)?;
        if let [first, others @ ..] = &failures[..] {
            let others = if others.is_empty() { String::new() } else { format!(" (and {} more like this)", others.len()) };
            log::warn!("some connections come to be known only as something happens on them: {first:#}{others}");
        }
        // There may be a million: each becomes a sighting when it is its turn, and not before.
        sockets.sort_by_key(|record| record.mono_ns);
        self.fill(usize::MAX);
        let mut batch = std::mem::take(&mut self.batch);
        batch.sort_by_key(Seen::mono_ns);
        // Owners are known before anything is told, and connections before their owners can be.
        tracker.expect_holders(holders.iter().map(holding).collect());
        drop(holders);
        let mut flow = Flow::More;
        let mut meanwhile = batch.iter().peekable();
        for record in &sockets {
            let Some(sighting) = self.reader.sighting(record) else {
                self.losses.unreadable();
                continue;
            };
            let socket = Seen::Socket(sighting);
            while flow == Flow::More
                && let Some(seen) = meanwhile.next_if(|seen| seen.mono_ns() < socket.mono_ns())
            {
                flow = self.follow(seen, probes, tracker, &mut sink)?;
            }
            if flow == Flow::More {
                flow = self.follow(&socket, probes, tracker, &mut sink)?;
            }
            if flow == Flow::Enough {
                break;
            }
        }
        drop(sockets);
        for seen in meanwhile {
            if flow == Flow::Enough {
                break;
            }
            flow = self.follow(seen, probes, tracker, &mut sink)?;
        }
        tracker.looked_around();
        Ok(flow)
    }

    /// Waits until it is time to look into the ring again, or `moment` has come (CLOCK_MONOTONIC, nanoseconds). Safe to cancel.
    ///
    /// # Errors
    /// When the ring can't be polled.
    pub async fn wait(&mut self, moment: Option<u64>) -> Result<()> {
        if Instant::now() < self.awake_until {
            time::sleep(POLL).await;
            return Ok(());
        }
        let moment = moment.map(|moment| Instant::now() + Duration::from_nanos(moment.saturating_sub(facts::mono_ns())));
        let look = self.witness.as_ref().and_then(Witness::due).map(Instant::from_std);
        let next = moment.into_iter().chain(look).fold(self.next_losses, Instant::min);
        tokio::select! {
            () = time::sleep_until(next) => {}
            ready = self.ring.readable() => {
                ready.context("cannot poll the ring buffer")?.clear_ready();
                self.awake_until = Instant::now() + AWAKE;
            }
            ready = readable(self.http.as_ref()) => {
                ready.context("cannot poll the ring buffer")?.clear_ready();
                self.awake_until = Instant::now() + AWAKE;
            }
        }
        Ok(())
    }

    /// Hands over what is in the ring, until `sink` has had enough; also what was lost: a second after
    /// whatever came, and within a minute where nothing comes.
    ///
    /// # Errors
    /// When the kernel's lists or counters can't be read, or `sink` fails.
    pub fn drain(
        &mut self,
        probes: &mut Probes,
        tracker: &mut Tracker,
        mut sink: impl FnMut(&Event) -> Result<Flow>,
    ) -> Result<Flow> {
        while self.fill(BATCH) {
            self.owner_asked_for |= self.batch.iter().any(Seen::asks_for_owner);
            if self.owner_asked_for && self.owners.is_due() {
                let now = self.batch.first().map_or(0, Seen::mono_ns);
                self.look_for_owners(probes, tracker, now)?;
            }
            let batch = std::mem::take(&mut self.batch);
            for seen in &batch {
                if self.follow(seen, probes, tracker, &mut sink)? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
            }
            self.batch = batch;
        }
        // Asked for too soon after the last look.
        if self.owner_asked_for && self.owners.is_due() {
            self.look_for_owners(probes, tracker, facts::mono_ns())?;
        }
        tracker.settle(facts::mono_ns(), &mut self.events);
        if self.hand_over(&mut sink)? == Flow::Enough {
            return Ok(Flow::Enough);
        }
        let lost = self.witness.as_mut().is_some_and(|witness| witness.look_again(&probes.ebpf));
        if Instant::now() >= self.next_losses {
            self.next_losses = Instant::now() + self.idle_losses;
            self.idle_losses = MOST_IDLE_LOSSES.min(2 * self.idle_losses);
            if self.tell_ends(&mut sink)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        } else if !lost {
            return Ok(Flow::More);
        }
        self.take_stock(probes, tracker, sink)
    }

    /// Hands over what was lost since the last time. Where that may be ends of connections, a walk through the sockets shows which.
    ///
    /// # Errors
    /// When the kernel's counters or lists can't be read, or `sink` fails.
    pub fn take_stock(
        &mut self,
        probes: &mut Probes,
        tracker: &mut Tracker,
        mut sink: impl FnMut(&Event) -> Result<Flow>,
    ) -> Result<Flow> {
        self.witness.iter_mut().for_each(|witness| witness.look(&probes.ebpf));
        self.count_probes(probes)?;
        if self.tell_losses(tracker, &mut sink)? == Flow::Enough {
            return Ok(Flow::Enough);
        }
        self.unsure_ends += self.losses.unsure_ends();
        if !self.ends_lost && self.unsure_ends == 0 || !probes.can_walk("sockets") {
            return Ok(Flow::More);
        }
        let Self { pace, owners, .. } = self;
        let began_ns = facts::mono_ns();
        // Twice: a walk may pass over a socket while others of its hash chain go.
        let walks = pace.spend(|| [(); 2].map(|()| Snapshot::take(probes, owners, &[])));
        let Some(walks) = walks else { return Ok(Flow::More) };
        // Of a full ring and the like, ends are counted already.
        let unsure = if std::mem::take(&mut self.ends_lost) { 0 } else { self.unsure_ends };
        self.unsure_ends = 0;
        let mut census = Census { began_ns, ..Census::default() };
        for walk in walks {
            let Snapshot { sockets, holders: _, namespaces, failures } = walk?;
            if let Some(failure) = failures.first() {
                log::warn!("connections whose end was lost are not looked for: {failure:#}");
                return tell_skips(unsure, &mut sink);
            }
            census.namespaces.extend(namespaces.inodes());
            census.sockets.extend(sockets.iter().map(|record| (record.sk, record.lport, record.rport)));
        }
        // Ends that came before or during the walk are in the ring.
        while self.fill(BATCH) {
            let batch = std::mem::take(&mut self.batch);
            for seen in &batch {
                if self.follow(seen, probes, tracker, &mut sink)? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
            }
            self.batch = batch;
        }
        let missing = tracker.end_missing(&census, &mut self.events);
        if self.hand_over(&mut sink)? == Flow::Enough {
            return Ok(Flow::Enough);
        }
        tell_skips(if unsure > 0 { missing } else { 0 }, &mut sink)
    }

    /// Where HTTP was to be watched and a client began with TLS: whom it greeted. Once in a run.
    ///
    /// # Errors
    /// When the kernel side can't be asked for another, where this was nobody's.
    pub fn greeted(&mut self, tracker: &Tracker) -> Result<Option<SocketAddr>> {
        self.http.as_mut().map_or(Ok(None), |http| http.greetings.take(tracker, facts::mono_ns()))
    }

    /// Takes the probes out of the kernel; what they had seen can still be read.
    ///
    /// # Errors
    /// When the counters can't be read.
    pub fn detach(&mut self, probes: &mut Probes) -> Result<()> {
        self.witness.iter_mut().for_each(|witness| witness.look_twice(&probes.ebpf));
        let counted = self.count_probes(probes).and_then(|()| self.losses.last_skips());
        probes.detach();
        counted
    }

    /// Hands over what is still to be said when nothing more comes.
    ///
    /// # Errors
    /// When the counters can't be read, or `sink` fails.
    pub fn finish(&mut self, tracker: &mut Tracker, mut sink: impl FnMut(&Event) -> Result<Flow>) -> Result<()> {
        tracker.settle(u64::MAX, &mut self.events);
        self.hand_over(&mut sink)?;
        self.tell_ends(&mut sink)?;
        self.tell_losses(tracker, &mut sink)?;
        // No walk could show whether these had lost an end.
        tell_skips(std::mem::take(&mut self.unsure_ends), &mut sink)?;
        Ok(())
    }

    /// Says for the log what was read, and which programs the kernel skipped.
    pub fn log(&self) {
        log::info!("{} records read", self.records);
        if let Ok(unkept @ 1..) = self.losses.unkept() {
            log::info!(
                "the kernel side had no room for how {unkept} connections began (a larger --max-connections gives it more)"
            );
        }
        for (name, missed) in self.losses.missed().filter(|(_, missed)| *missed > 0) {
            log::info!("the kernel skipped {missed} runs of {name}");
        }
    }

    fn look_for_owners(&mut self, probes: &mut Probes, tracker: &mut Tracker, now_ns: u64) -> Result<()> {
        self.owner_asked_for = false;
        let holders = self.owners.look(probes)?;
        tracker.held(&holders.iter().map(holding).collect::<Vec<_>>(), now_ns, &mut self.events);
        Ok(())
    }

    /// Takes records out of the ring, `most` at a time; false when there were none.
    fn fill(&mut self, most: usize) -> bool {
        self.batch.clear();
        let mut found = false;
        while self.batch.len() < most
            && let Some(item) = self.ring.get_mut().next()
        {
            found = true;
            self.records += 1;
            match Seen::read(&item, &mut self.reader) {
                Some(seen) => self.batch.push(seen),
                None => self.losses.unreadable(),
            }
        }
        if let Some(Http { ring, .. }) = &mut self.http {
            let (before, most) = (self.batch.len(), self.batch.len().saturating_add(most));
            while self.batch.len() < most
                && let Some(item) = ring.get_mut().next()
            {
                self.records += 1;
                match Passing::of(&item) {
                    Some(passing) => self.batch.push(Seen::Http(passing)),
                    None => self.losses.unreadable(),
                }
            }
            if self.batch.len() > before {
                found = true;
                self.batch.sort_by_key(Seen::mono_ns);
            }
        }
        if found {
            self.awake_until = Instant::now() + AWAKE;
            self.expect_losses();
        }
        found
    }

    /// Something came: what was lost with it is looked up soon.
    fn expect_losses(&mut self) {
        self.next_losses = self.next_losses.min(Instant::now() + LOSSES);
        self.idle_losses = IDLE_LOSSES;
    }

    fn follow(
        &mut self,
        seen: &Seen,
        probes: &mut Probes,
        tracker: &mut Tracker,
        sink: &mut impl FnMut(&Event) -> Result<Flow>,
    ) -> Result<Flow> {
        match seen {
            Seen::Http(passing) => {
                if let Some(Http { heads, greetings, .. }) = &mut self.http {
                    greetings.meet(passing);
                    tracker.pass(passing.mono_ns(), &passing.whose(), &heads.take(passing), &mut self.events);
                    (0..heads.take_unreadable()).for_each(|_| self.losses.unreadable());
                }
            }
            Seen::Socket(sighting) => {
                if let (Some(witness), What::Probe(_)) = (&mut self.witness, &sighting.what) {
                    witness.begin(&mut probes.ebpf);
                }
                if let (Some(Http { heads, .. }), What::Closed(_)) = (&mut self.http, &sighting.what) {
                    heads.forget(sighting.socket.address);
                    (0..heads.take_unreadable()).for_each(|_| self.losses.unreadable());
                }
                tracker.see(sighting, &mut self.events);
            }
            Seen::Sysctl(write) => {
                let following = self.following(write, probes, tracker.wanted());
                tracker.sysctl(write, following, &mut self.events);
            }
        }
        self.hand_over(sink)
    }

    /// Which connections follow a write when: counted in a walk through its namespace, unless writes come so fast that this would
    /// cost too much.
    fn following(&mut self, write: &Write, probes: &mut Probes, wanted: &Wanted) -> Option<Following> {
        if write.refused.is_some() || write.old == write.new {
            return None;
        }
        let Self { pace, owners, reader, losses, .. } = self;
        let taken = pace.spend(|| Snapshot::take(probes, owners, &[write.netns]))?;
        let Snapshot { sockets, holders, namespaces, failures } = match taken {
            Ok(snapshot) => snapshot,
            Err(error) => {
                log::warn!("the sockets that follow a sysctl are not counted: {error:#}");
                return None;
            }
        };
        if !failures.is_empty() || !namespaces.has(write.netns) {
            let why = failures.first().map_or_else(|| "it can't be found any more".to_owned(), |error| format!("{error:#}"));
            log::warn!("the sockets that follow a sysctl in the network namespace {} are not counted: {why}", write.netns);
            return None;
        }
        let hz = reader.hz;
        let mut inventory = Inventory::new(reader, wanted, &holders);
        let following = following::following(write, sockets.iter().filter_map(|record| inventory.listed(record)), hz);
        (0..inventory.senseless).for_each(|_| losses.unreadable());
        Some(following)
    }

    fn hand_over(&mut self, sink: &mut impl FnMut(&Event) -> Result<Flow>) -> Result<Flow> {
        let mut flow = Flow::More;
        for event in &self.events {
            flow = sink(event)?;
        }
        self.events.clear();
        Ok(flow)
    }

    /// Hands over how many connections ended in order since the last time, in quiet mode. Where some did, more are expected soon.
    fn tell_ends(&mut self, sink: &mut impl FnMut(&Event) -> Result<Flow>) -> Result<Flow> {
        let Some(ends) = &mut self.ends else { return Ok(Flow::More) };
        let mut flow = Flow::More;
        let ended = ends.take(&mut self.reader.cgroups)?;
        if !ended.is_empty() {
            self.expect_losses();
        }
        for ended in ended {
            flow = sink(&Event { mono_ns: facts::mono_ns(), body: Body::Uneventful(ended) })?;
        }
        Ok(flow)
    }

    fn count_probes(&mut self, probes: &Probes) -> Result<()> {
        let Self { losses, witness, .. } = self;
        losses.count_probes(|| witness.as_mut().map_or(0, |witness| witness.at_rest(&probes.ebpf)))
    }

    /// Hands over what was lost and not yet told.
    fn tell_losses(&mut self, tracker: &mut Tracker, mut sink: impl FnMut(&Event) -> Result<Flow>) -> Result<Flow> {
        let losses = self.losses.take()?;
        self.ends_lost |= losses.iter().any(|lost| matches!(lost.place, Place::RingBuffer | Place::SkippedRun));
        let mut flow = Flow::More;
        for lost in losses.into_iter().chain(tracker.take_lost()) {
            flow = sink(&Event { mono_ns: facts::mono_ns(), body: Body::Lost(lost) })?;
        }
        Ok(flow)
    }
}

fn take_ring(probes: &mut Probes, name: &str) -> Result<AsyncFd<RingBuf<MapData>>> {
    let ring = probes.ebpf.take_map(name).with_context(|| format!("the map {name} is missing"))?;
    let ring = RingBuf::try_from(ring).with_context(|| format!("the map {name} is of another kind"))?;
    // SAFETY: the ring owns its descriptor, keeps it open as long as it lives, and always names the same one.
    unsafe { AsyncFd::register(ring) }.context("cannot poll the ring buffer")
}

/// Waits until there is something in the ring, for ever where there is none.
async fn readable(http: Option<&Http>) -> std::io::Result<AsyncFdReadyGuard<'_, RingBuf<MapData>>> {
    match http {
        Some(Http { ring, .. }) => ring.readable().await,
        None => std::future::pending().await,
    }
}

/// Hands over how many events were lost with skipped runs.
fn tell_skips(count: u64, sink: &mut impl FnMut(&Event) -> Result<Flow>) -> Result<Flow> {
    if count == 0 {
        return Ok(Flow::More);
    }
    sink(&Event { mono_ns: facts::mono_ns(), body: Body::Lost(Lost { count, place: Place::SkippedRun }) })
}

/// Whether a sink wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    More,
    Enough,
}
