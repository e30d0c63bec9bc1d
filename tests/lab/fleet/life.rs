//! One connection's life: what happens on it, and when.
mod timer;

use std::net::SocketAddr;

use keepalive_trace::model::{
    event::{Body, Changed, ConnId, Connection, End, Family, How, Open, Precision, Reply, ReplyKind, Via},
    judge::{self, Evidence},
    owner::{Owner, Task},
    settings::Settings,
    state::State,
    sysctl::Sysctls,
    verdict::Verdict,
    wheel,
};

use super::{
    dice::Dice,
    ends::{self, Ending},
    services::{self, NAMESPACES, Service},
};

/// Jiffies a second.
pub const HZ: u32 = 250;
pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;
const JIFFY: u64 = SECOND / HZ as u64;

/// How long an ended connection's last words take.
const MOMENT: u64 = 6_000;
/// Another time-out than keepalive's goes on for so long after the last that was heard.
const RETRIES: u64 = 924 * SECOND;

/// What becomes of the last probe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Nothing,
    Ack { at: u64 },
    Reset { at: u64 },
}

pub struct Life {
    number: u32,
    pub service: usize,
    worker: u32,
    local: SocketAddr,
    remote: SocketAddr,
    how: How,
    pub opens: u64,
    /// Whether somebody has been told whose it is.
    owned: bool,
    /// The process looks for its owner, sets its options, and sets others later: at these moments.
    owner_at: Option<u64>,
    sets_at: Option<u64>,
    own: [u32; 4],
    pub settings: Settings,
    /// Since when the timer has not followed what was written to a sysctl.
    pub stale: Option<u64>,
    fate: Option<Verdict>,
    /// From when on the fate is due.
    due: u64,
    /// The end, once it is certain.
    ends: Option<(u64, Verdict)>,
    heard: u64,
    answer: Answer,
    sent: u64,
    pending: u32,
    probes_sent: u32,
    unanswered: u32,
    dropped: u32,
    /// The timer's deadline and the delay that it was armed with, where it is armed.
    armed: Option<(u64, u64)>,
    pub over: bool,
    pub open: bool,
}

/// All that a life has around it.
pub struct World<'a> {
    pub service: &'a Service,
    pub sysctls: Sysctls,
    pub dice: &'a mut Dice,
}

/// Where it stands among the others.
pub struct Place {
    pub number: u32,
    pub service: usize,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// None for one that is there before the run.
    pub opens: Option<u64>,
    pub begins: u64,
    pub ends: u64,
}

impl Life {
    pub fn new(place: Place, world: &mut World<'_>) -> Self {
        let Place { number, service, local, remote, opens, begins, ends } = place;
        let World { service: of, sysctls, dice } = world;
        let at = opens.unwrap_or(begins);
        let mut fate = ends::fate(dice);
        let own = of.own;
        let timed = of.keepalive;
        // What the settings rule out becomes something else.
        fate = match fate {
            Some(Verdict::UserTimeout) if timed && own[3] == 0 => Some(Verdict::KeepaliveTimeout),
            Some(Verdict::KeepaliveTimeout) if timed && own[3] != 0 => Some(Verdict::UserTimeout),
            Some(_) if ends::takes_silence(fate) && !timed => Some(Verdict::PeerClose),
            Some(Verdict::NeverEstablished) if opens.is_none() || of.serves => Some(Verdict::LocalClose),
            fate => fate,
        };
        let how = match (opens, fate, of.serves) {
            (None, ..) => How::Snapshot,
            (_, Some(Verdict::NeverEstablished), _) => How::FirstEvent,
            (_, _, true) => How::Accept,
            (_, _, false) => How::Connect,
        };
        let tries = how == How::FirstEvent;
        // A listener's options are there from the start; who connects sets them then.
        let late = how == How::Connect && timed;
        let held = !dice.chance(if how == How::Snapshot { 100 } else { 10 });
        let retuned = timed && own != [0; 4] && dice.chance(20);
        let sets_at = if late { Some(at + dice.skewed(40_000, 3 * MS)) } else { None };
        let retuned_at = retuned.then(|| at + dice.below(ends.saturating_sub(at)).max(10 * MS));
        let mut life = Self {
            number,
            service,
            worker: dice.below(of.cgroups.len().max(4) as u64) as u32,
            local,
            remote,
            how,
            opens: at,
            owned: held,
            owner_at: (!held && !tries).then(|| at + dice.skewed(2 * MS, 900 * MS)),
            sets_at: sets_at.or(retuned_at.filter(|_| !tries)),
            own: if late { [0; 4] } else { own },
            settings: services::in_force(timed && !late && !tries, if late { [0; 4] } else { own }, *sysctls),
            stale: None,
            fate,
            due: at + dice.below(ends.saturating_sub(at)).max(20 * MS),
            ends: None,
            heard: at,
            answer: Answer::Nothing,
            sent: 0,
            pending: 0,
            probes_sent: 0,
            unanswered: 0,
            dropped: 0,
            armed: None,
            over: false,
            open: false,
        };
        if tries {
            life.ends = Some((at, Verdict::NeverEstablished));
        } else if let Some(verdict) = fate.filter(|_| !ends::takes_silence(fate)) {
            life.ends = Some((life.due, verdict));
        }
        life
    }

    /// When something happens next, if anything does.
    pub fn next(&self) -> Option<u64> {
        if self.over {
            return None;
        }
        if !self.open {
            return Some(self.opens);
        }
        let times = [self.owner_at, self.sets_at, self.ends.map(|(at, _)| at), self.fires()];
        times.into_iter().flatten().min()
    }

    /// The deadline of the timer.
    pub fn deadline(&self) -> Option<u64> {
        self.armed.map(|(deadline, _)| deadline)
    }

    fn fires(&self) -> Option<u64> {
        let (deadline, delay) = self.armed?;
        let level = wheel::level(delay / JIFFY, HZ);
        Some(deadline + wheel::rounding((deadline / JIFFY) as u32, level) * JIFFY)
    }

    fn arm(&mut self, now: u64, delay: u64) {
        // Deadlines are whole jiffies.
        self.armed = Some(((now / JIFFY) * JIFFY + delay, delay));
    }

    fn time(&self) -> u64 {
        self.settings.time_s.value.max(0) as u64 * SECOND
    }

    fn interval(&self) -> u64 {
        self.settings.intvl_s.value.max(0) as u64 * SECOND
    }

    fn task(&self, world: &World<'_>) -> Task {
        world.service.task(self.worker)
    }

    fn connection(&self, now: u64, state: State, world: &World<'_>) -> Connection {
        let local_is_v4 = self.local.is_ipv4();
        Connection {
            id: ConnId((u64::from(self.number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            cookie: self.number.is_multiple_of(16).then(|| u64::from(self.number) + 4096),
            family: if local_is_v4 { Family::V4 } else { Family::V6 },
            local: self.local,
            remote: self.remote,
            netns: Some(NAMESPACES[world.service.netns]),
            cgroup: world.service.cgroup(self.worker),
            owner: self.owned.then(|| Owner { task: self.task(world), holders: 1 + u32::from(self.number.is_multiple_of(50)) }),
            state,
            settings: Some(self.settings),
            idle_ms: Some(now.saturating_sub(self.heard) / MS),
            probes_out: Some(self.pending),
        }
    }

    /// What happens at that moment, which [`Self::next`] has named.
    pub fn step(&mut self, now: u64, world: &mut World<'_>, out: &mut Vec<Body>) {
        if !self.open {
            self.begin(now, world, out);
        } else if let Some((_, verdict)) = self.ends.filter(|(at, _)| *at <= now) {
            self.end(now, verdict, world, out);
        } else if self.owner_at.is_some_and(|at| at <= now) {
            (self.owner_at, self.owned) = (None, true);
            out.push(Body::Owner(self.connection(now, State::ESTABLISHED, world)));
        } else if self.sets_at.is_some_and(|at| at <= now) {
            self.set(now, world, out);
        } else {
            self.fire(now, world, out);
        }
    }

    fn begin(&mut self, now: u64, world: &mut World<'_>, out: &mut Vec<Body>) {
        self.open = true;
        let tries = self.how == How::FirstEvent;
        if self.how == How::Snapshot {
            let idle = world.dice.below(self.time().max(SECOND));
            self.heard = now.saturating_sub(idle);
        }
        // One that was opened after a write follows it.
        self.settings = services::in_force(self.settings.keepalive, self.own, world.sysctls);
        let connect_us = (self.how == How::Connect).then(|| self.trip_us(world.service.near_us, world.dice));
        let state = if tries { State::CLOSE } else { State::ESTABLISHED };
        out.push(Body::Open(self.connection(now, state, world), Open { how: self.how, connect_us }));
        if self.settings.keepalive && !tries {
            let idle = now - self.heard;
            self.arm(now, self.time().saturating_sub(idle).max(JIFFY));
        }
    }

    fn set(&mut self, now: u64, world: &mut World<'_>, out: &mut Vec<Body>) {
        let first = !self.settings.keepalive;
        self.sets_at = None;
        self.own = world.service.own;
        if !first {
            // What somebody had set in haste is set once more.
            self.own[0] = self.own[0].max(10) * 2;
        }
        self.settings = services::in_force(true, self.own, world.sysctls);
        self.stale = None;
        let by = Some(self.task(world));
        let connection = self.connection(now, State::ESTABLISHED, world);
        out.push(Body::Settings(connection, Changed { by, via: Some(Via::Setsockopt) }));
        self.arm(now, self.time().saturating_sub(now - self.heard).max(JIFFY));
    }

    fn end(&mut self, now: u64, verdict: Verdict, world: &mut World<'_>, out: &mut Vec<Body>) {
        self.hear(now, world, out);
        let task = self.task(world);
        let tried_us = if self.how == How::FirstEvent { world.dice.skewed(60, 3_000_000) } else { 0 };
        let ending = ends::ending(verdict, task, self.pending.max(1), tried_us, world.dice);
        let Ending { signs, closed, orphan, reset } = &ending;
        if let Answer::Reset { at } = self.answer {
            let rtt_us = Some((at - self.sent) / 1000);
            let (n, missed) = (Some(self.pending), self.pending - 1);
            let reply = Reply { n, kind: ReplyKind::Reset, rtt_us, precision: Precision::Exact, missed };
            out.push(Body::Reply(self.connection(now, State::ESTABLISHED, world), reply));
            self.unanswered += missed;
            self.pending = 0;
        }
        if let Some((reset, state)) = reset {
            out.push(Body::Reset(self.connection(now, *state, world), reset.clone()));
        }
        if closed.left.is_some_and(|left| left.unacked > 0) && verdict != Verdict::NeverEstablished {
            self.heard = now.saturating_sub(RETRIES).max(self.heard.min(now));
        }
        let evidence = Evidence {
            signs,
            closed,
            orphan: *orphan,
            settings: Some(self.settings),
            idle_ms: Some(now.saturating_sub(self.heard) / MS),
            unanswered: self.pending,
            dropped: self.dropped,
        };
        let judged = judge::judge(&evidence);
        let mut why = judge::why(judged, &evidence);
        let follows = services::in_force(self.settings.keepalive, self.own, world.sysctls) != self.settings;
        let armed_before_sysctl = self.stale.is_some() && follows && self.settings.keepalive;
        if armed_before_sysctl {
            why += "; its timer had been armed before the sysctl was written";
        }
        let seen = matches!(self.how, How::Connect | How::Accept);
        let end = End {
            verdict: judged,
            errno: closed.errno.filter(|_| !orphan),
            probes_sent: self.probes_sent,
            unanswered: self.unanswered + self.pending,
            age_ms: closed.trying_us.map(|us| us / 1000).or(seen.then(|| (now - self.opens) / MS)),
            armed_before_sysctl,
            why,
            http: None,
        };
        if let Some(task) = closed.by {
            self.owned |= task == self.task(world);
        }
        out.push(Body::End(self.connection(now, State::CLOSE, world), end));
        (self.over, self.armed) = (true, None);
    }

    fn trip_us(&self, near_us: u64, dice: &mut Dice) -> u64 {
        // A peer is as far away as it was.
        let far = u64::from(self.number.wrapping_mul(2_654_435_761) >> 26) + 1;
        near_us + dice.skewed(0, near_us / 4) + if far > 40 { far * 900 } else { far * 20 }
    }
}
