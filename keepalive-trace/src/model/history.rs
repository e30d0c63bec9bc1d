//! One connection's story, built from its events alone: live, and from any recording of them.
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
};

use super::{
    errno::Errno,
    event::{Body, ConnId, Connection, End, Event, Family, How, Open, Outcome, Probe, ProbeResult, Reply, ReplyKind, Timer},
    http::{self, Finding, Findings, Http},
    owner::Owner,
    settings::Settings,
    verdict::Verdict,
};

mod packed;
mod story;

use packed::{PackedMicros, PackedOwner, PackedSettings};
use story::{Calm, Round, Story};
pub use story::{Chapter, Spoken, Timeline, What};

/// A peer that was heard so recently is well, milliseconds.
const WELL_MS: u64 = 1000;

/// One connection's story. Small, since there may be a million; and what events change comes first, so that it is in few places.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct History {
    pub id: ConnId,
    /// When something was last seen of it: nanoseconds of CLOCK_MONOTONIC.
    pub last_ns: u64,
    /// The round that goes on, where it is more than a first probe that was the last thing seen; and the healthy ones right before
    /// it: most connections have nothing else.
    round: Option<Box<Round>>,
    calm: Calm,
    story: Option<Box<Story>>,
    pub tally: Tally,
    owner: PackedOwner,
    settings: PackedSettings,
    pub verdict: Option<Verdict>,
    /// From here on it is what stays as it began: how it came to be known, when (nanoseconds of CLOCK_MONOTONIC), and its ends.
    pub how: How,
    pub family: Family,
    pub opened_ns: u64,
    pub errno: Option<Errno>,
    connect_us: PackedMicros,
    netns: Option<NonZeroU32>,
    local: Endpoint,
    remote: Endpoint,
}

/// Probes, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub answered: u32,
    /// Given up, or passed over by an answer to a later one.
    pub unanswered: u32,
    /// Of the round that goes on.
    pub pending: u32,
}

impl Tally {
    /// All that the kernel counts, sent or dropped on this host.
    pub fn probes(&self) -> u32 {
        self.answered.saturating_add(self.unanswered).saturating_add(self.pending)
    }

    /// A probe that is the n-th of its round. The kernel's number decides: what went before may have been missed, or may
    /// belong to a round that ended unseen.
    fn probe(&mut self, n: Option<u32>) {
        self.began(n.map_or(self.pending, |n| n.saturating_sub(1)));
        self.pending = self.pending.saturating_add(1);
    }

    /// So many probes of the round are out.
    fn began(&mut self, pending: u32) {
        if pending < self.pending {
            self.unanswered = self.unanswered.saturating_add(self.pending);
            self.pending = 0;
        }
        self.pending = pending;
    }

    fn answered(&mut self) {
        if self.pending > 0 {
            self.answered += 1;
            self.unanswered = self.unanswered.saturating_add(self.pending - 1);
            self.pending = 0;
        }
    }

    fn over(&mut self) {
        self.unanswered = self.unanswered.saturating_add(self.pending);
        self.pending = 0;
    }
}

/// An address and a port in 18 bytes, IPv4 as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint {
    address: [u8; 16],
    port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        const MAPPED: u128 = 0xffff << 32;
        let number = match address.ip() {
            IpAddr::V4(v4) => MAPPED | u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Self { address: number.to_be_bytes(), port: address.port() }
    }
}

impl Endpoint {
    fn address(self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.address).to_canonical(), self.port)
    }
}

impl History {
    /// Begins with the connection's first event, which need not be its opening where that was lost.
    pub fn begin(connection: &Connection, at_ns: u64) -> Self {
        Self {
            id: connection.id,
            netns: connection.netns.and_then(NonZeroU32::new),
            family: connection.family,
            local: connection.local.into(),
            remote: connection.remote.into(),
            owner: connection.owner.into(),
            how: How::FirstEvent,
            connect_us: PackedMicros::default(),
            opened_ns: at_ns,
            last_ns: at_ns,
            settings: connection.settings.into(),
            tally: Tally::default(),
            verdict: None,
            errno: None,
            round: None,
            calm: Calm::default(),
            story: None,
        }
    }

    /// Inode of its network namespace.
    pub fn netns(&self) -> Option<u32> {
        self.netns.map(NonZeroU32::get)
    }

    pub fn owner(&self) -> Option<Owner> {
        self.owner.get()
    }

    /// Somebody found out who it is.
    pub fn set_owner(&mut self, owner: Option<Owner>) {
        self.owner = owner.into();
    }

    /// The settings in force when last seen.
    pub fn settings(&self) -> Option<Settings> {
        self.settings.get()
    }

    /// How long the handshake took, microseconds.
    pub fn connect_us(&self) -> Option<u32> {
        self.connect_us.get()
    }

    pub fn local(&self) -> SocketAddr {
        self.local.address()
    }

    pub fn remote(&self) -> SocketAddr {
        self.remote.address()
    }

    /// Probes of the round that goes on that this host dropped itself.
    pub fn dropped(&self) -> u32 {
        self.round().map_or(0, |round| round.dropped)
    }

    /// How old it was, milliseconds, where its beginning was seen.
    pub fn age_ms(&self, at_ns: u64) -> Option<u64> {
        matches!(self.how, How::Connect | How::Accept).then(|| at_ns.saturating_sub(self.opened_ns) / 1_000_000)
    }

    /// Whether these are its ends. A namespace that is not known is no difference.
    pub fn is_between(&self, netns: Option<u32>, local: SocketAddr, remote: SocketAddr) -> bool {
        let elsewhere = self.netns().zip(netns).is_some_and(|(one, other)| one != other);
        !elsewhere && self.local == local.into() && self.remote == remote.into()
    }

    /// Its chapters, oldest first.
    pub fn timeline(&self) -> Timeline {
        let mut timeline = self.story.as_ref().map(|story| story.timeline()).unwrap_or_default();
        timeline.chapters.extend(self.calm.chapter());
        timeline.chapters.extend(self.round().and_then(|round| round.chapter(self.settings(), None)));
        timeline
    }

    /// The verdict's sentence, where the end was not an orderly one, or HTTP had to do with it.
    pub fn why(&self) -> Option<&str> {
        self.story.as_ref().map(|story| story.why()).filter(|why| !why.is_empty())
    }

    /// What HTTP had to do with its end, where it was watched and seen.
    pub fn http(&self) -> Option<&http::End> {
        self.story.as_ref()?.http()
    }

    /// What was wrong with how HTTP kept it; of one that is open, up to `now_ns`.
    pub fn http_findings(&self, now_ns: u64) -> Findings {
        match self.http() {
            Some(end) => end.findings,
            None if self.verdict.is_none() && self.is_due(now_ns) => Findings::from_iter([Finding::ZombieUncovered]),
            None => Findings::default(),
        }
    }

    /// The server was to close it long ago, and without keepalive nobody here would notice that it is gone.
    fn is_due(&self, now_ns: u64) -> bool {
        let off = self.settings().is_some_and(|settings| !settings.keepalive);
        let last = self.story.as_ref().and_then(|story| story.last_spoken()).filter(|_| off && self.how == How::Connect);
        let promised = last.and_then(|(spoken, last_ns)| {
            let timeout = spoken.promise.timeout_s.filter(|_| spoken.requests <= spoken.responses)?;
            Some(last_ns.saturating_add(u64::from(timeout) * 1_000_000_000 + http::SLACK_NS))
        });
        promised.is_some_and(|due_ns| now_ns > due_ns)
    }

    /// Looks at both ends of what the next event may change, so that it is near by then. The number means nothing.
    pub(super) fn fetch(&self) -> u64 {
        self.last_ns ^ u64::from(self.settings.is_known())
    }

    /// The same, of the round that goes on.
    pub(super) fn fetch_round(&self) -> u64 {
        self.round.as_ref().map_or(0, |round| round.to_ns)
    }

    /// Adds the connection's next event.
    pub fn apply(&mut self, event: &Event) {
        let Some(connection) = event.body.connection() else { return };
        let at = event.mono_ns;
        let round = self.round();
        // Who holds it is found out whenever somebody looks.
        if !matches!(event.body, Body::Owner(_)) {
            self.last_ns = self.last_ns.max(at);
            if self.round.is_none() && !matches!(event.body, Body::Reply(..)) {
                self.round = round.map(Box::new);
            }
        }
        if connection.owner.is_some() {
            self.owner = connection.owner.into();
        }
        match &event.body {
            Body::Open(_, Open { how, connect_us }) => {
                self.how = *how;
                self.connect_us = (*connect_us).into();
                self.follow(connection);
                let probes = connection.probes_out.unwrap_or(0);
                self.tally.began(probes);
                let round = Round { probes, from_ns: at, to_ns: at, ..Round::default() };
                self.round = (probes > 0).then(|| Box::new(round));
            }
            Body::Settings(_, changed) => {
                self.follow(connection);
                self.add(Chapter {
                    from_ns: at,
                    to_ns: at,
                    what: What::Settings { to: connection.settings, by: changed.by, via: changed.via },
                });
            }
            Body::Probe(_, probe) => {
                self.follow(connection);
                self.probe(at, probe);
            }
            // That the timer comes too early after other traffic is the rule, and no news; and so is data on its way to a peer
            // that was heard within the last second.
            Body::Timer(_, Timer { outcome: Outcome::NotIdle, .. }) => {}
            Body::Timer(..) if connection.idle_ms.is_some_and(|idle| idle < WELL_MS) => {}
            Body::Timer(_, timer) => self.again(at, What::Silent { outcome: timer.outcome, times: 1 }),
            Body::Reply(_, reply) => {
                self.tally.answered();
                self.reply(at, reply, round);
            }
            Body::End(_, End { verdict, errno, why, http, .. }) => {
                self.tally.over();
                (self.verdict, self.errno) = (Some(*verdict), *errno);
                let round = self.round.take();
                self.end_round(round.map(|round| *round), None);
                if !verdict.is_orderly() || http.is_some() {
                    self.story.get_or_insert_default().conclude(why);
                }
                if let Some(http) = http {
                    self.story.get_or_insert_default().set_http(http);
                }
            }
            Body::Http(_, http) => self.speak(at, http),
            Body::Owner(_)
            | Body::Reset(..)
            | Body::Start(_)
            | Body::Namespace(_)
            | Body::Sysctl(..)
            | Body::Uneventful(_)
            | Body::Lost(_)
            | Body::Stop(_) => {}
        }
    }

    /// Settings that are not known are those of before.
    fn follow(&mut self, connection: &Connection) {
        if connection.settings.is_some() {
            self.settings = connection.settings.into();
        }
    }

    fn probe(&mut self, at: u64, probe: &Probe) {
        if probe.result == Some(ProbeResult::Congested) {
            self.again(at, What::Congested { times: 1 });
            return;
        }
        let before = self.tally.pending;
        self.tally.probe(probe.n);
        if before == 0 || self.tally.pending <= before {
            let round = self.round.take();
            self.end_round(round.map(|round| *round), None);
        }
        let dropped = probe.result == Some(ProbeResult::DroppedLocally);
        if self.round.is_none() && self.tally.pending == 1 && !dropped && self.last_ns == at {
            return;
        }
        let round = self.round.get_or_insert_with(|| Box::new(Round { from_ns: at, ..Round::default() }));
        (round.probes, round.to_ns) = (self.tally.pending, at);
        round.dropped += u32::from(dropped);
    }

    /// The round that goes on.
    fn round(&self) -> Option<Round> {
        let first = || Round { probes: 1, from_ns: self.last_ns, to_ns: self.last_ns, dropped: 0 };
        self.round.as_deref().copied().or_else(|| (self.tally.pending == 1).then(first))
    }

    fn reply(&mut self, at: u64, reply: &Reply, round: Option<Round>) {
        self.round = None;
        match round {
            Some(Round { probes: 1, from_ns, .. }) if reply.kind == ReplyKind::Ack => self.calm.add(from_ns, at, reply),
            Some(round) => self.end_round(Some(Round { to_ns: at, ..round }), Some(reply)),
            None => {}
        }
    }

    /// The round becomes a chapter.
    fn end_round(&mut self, round: Option<Round>, end: Option<&Reply>) {
        if let Some(chapter) = round.and_then(|round| round.chapter(self.settings(), end)) {
            self.add(chapter);
        }
    }

    /// Something that may be the last chapter once more.
    fn again(&mut self, at: u64, what: What) {
        let calm = self.calm.rounds > 0;
        let again = self.story.as_mut().filter(|_| !calm).is_some_and(|story| story.again(at, &what));
        if !again {
            self.add(Chapter { from_ns: at, to_ns: at, what });
        }
    }

    fn speak(&mut self, at: u64, http: &Http) {
        let calm = self.calm.rounds > 0;
        let goes_on = self.story.as_mut().filter(|_| !calm).is_some_and(|story| story.speaks_on(at, http));
        if !goes_on {
            self.add(Chapter { from_ns: at, to_ns: at, what: What::Http(Spoken::begin(http)) });
        }
    }

    fn add(&mut self, chapter: Chapter) {
        let calm = std::mem::take(&mut self.calm).chapter();
        let story = self.story.get_or_insert_default();
        calm.into_iter().chain([chapter]).for_each(|chapter| story.add(chapter));
    }
}

#[cfg(test)]
mod tests;
