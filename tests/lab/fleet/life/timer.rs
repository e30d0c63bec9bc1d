//! The keepalive timer of a connection: when it runs, what it sends, and what comes back.
use keepalive_trace::model::{
    event::{Body, Changed, Connection, Outcome, Precision, Probe, ProbeResult, Reply, ReplyKind, Timer, Via},
    state::State,
    verdict::Verdict,
};

use super::{
    super::{ends, services},
    Answer, JIFFY, Life, MOMENT, MS, SECOND, World,
};

impl Life {
    /// A run of `tcp_keepalive_timer`.
    pub(super) fn fire(&mut self, now: u64, world: &mut World<'_>, out: &mut Vec<Body>) {
        let Some((deadline, delay)) = self.armed.take() else { return };
        let late = ((now - deadline) / MS).cast_signed();
        let busy = if world.dice.chance(4) { world.dice.skewed(4, 60).cast_signed() } else { 0 };
        let lateness = (Some(late + busy), Some(late));
        self.pick_up(now, world, out);
        self.hear(now, world, out);
        if self.pending == 0 && world.dice.chance(world.service.chatty) {
            self.heard = self.heard.max(now - world.dice.below(delay.max(1)));
            if world.dice.chance(120) {
                let outcome = if world.dice.chance(900) { Outcome::DataInFlight } else { Outcome::SocketBusy };
                return self.pass(now, outcome, self.time(), lateness, world, out);
            }
        }
        let idle = now - self.heard;
        let limit = u64::from(self.settings.user_timeout_ms) * MS;
        let given_up = match limit {
            0 => self.pending >= self.settings.probes.value,
            _ => self.pending > 0 && idle >= limit,
        };
        if self.pending == 0 && idle < self.time() {
            self.pass(now, Outcome::NotIdle, self.time() - idle, lateness, world, out);
        } else if given_up {
            let verdict = if limit == 0 { Verdict::KeepaliveTimeout } else { Verdict::UserTimeout };
            self.end(now, verdict, world, out);
        } else {
            self.probe(now, lateness, world, out);
        }
    }

    fn pass(
        &mut self,
        now: u64,
        outcome: Outcome,
        next: u64,
        (late_ms, wheel_ms): (Option<i64>, Option<i64>),
        world: &World<'_>,
        out: &mut Vec<Body>,
    ) {
        self.arm(now, next.max(JIFFY));
        let timer = Timer { outcome, next_ms: Some((next / MS).cast_signed()), late_ms, wheel_ms };
        out.push(Body::Timer(self.connection(now, State::ESTABLISHED, world), timer));
    }

    /// What was written to a sysctl is in force from this run on.
    fn pick_up(&mut self, now: u64, world: &World<'_>, out: &mut Vec<Body>) {
        let Some(written) = self.stale.take() else { return };
        let settings = services::in_force(self.settings.keepalive, self.own, world.sysctls);
        if settings == self.settings {
            return;
        }
        self.settings = settings;
        let waited_ms = u32::try_from((now - written) / MS).unwrap_or(u32::MAX);
        let connection = self.connection(now, State::ESTABLISHED, world);
        out.push(Body::Settings(connection, Changed { by: None, via: Some(Via::Sysctl { waited_ms }) }));
    }

    /// The answer to the last probe, where one has come.
    pub(super) fn hear(&mut self, now: u64, world: &mut World<'_>, out: &mut Vec<Body>) {
        let Answer::Ack { at } = self.answer else { return };
        if self.pending == 0 || at > now {
            return;
        }
        let connection = self.connection(now, State::ESTABLISHED, world);
        let jiffies = at / JIFFY - self.sent / JIFFY;
        let rtt_us = (!world.dice.chance(30)).then_some(jiffies * JIFFY / 1000);
        let missed = self.pending - 1;
        let reply = Reply { n: Some(self.pending), kind: ReplyKind::Ack, rtt_us, precision: Precision::Jiffy, missed };
        self.unanswered += missed;
        (self.pending, self.dropped, self.heard, self.answer) = (0, 0, at, Answer::Nothing);
        out.push(Body::Reply(Connection { idle_ms: Some((now - at) / MS), ..connection }, reply));
    }

    fn probe(&mut self, now: u64, (late_ms, wheel_ms): (Option<i64>, Option<i64>), world: &mut World<'_>, out: &mut Vec<Body>) {
        let n = self.pending + 1;
        let doomed = now >= self.due && ends::takes_silence(self.fate);
        let limit = u64::from(self.settings.user_timeout_ms) * MS;
        let idle = now - self.heard;
        // The last one, before the kernel gives up.
        let last = if limit == 0 { n >= self.settings.probes.value } else { idle + 2 * self.interval() + 10 * SECOND >= limit };
        let trip = self.trip_us(world.service.near_us, world.dice) * 1000;
        let dropped = doomed && self.number.is_multiple_of(7) && self.fate != Some(Verdict::PeerResetOnProbe);
        let lost = !last && world.dice.chance(if self.number.is_multiple_of(11) { 60 } else { 3 });
        self.answer = match self.fate {
            Some(Verdict::PeerResetOnProbe) if doomed && (last || !lost) => Answer::Reset { at: now + trip },
            _ if doomed || lost => Answer::Nothing,
            _ => Answer::Ack { at: now + trip },
        };
        let result = Some(if dropped { ProbeResult::DroppedLocally } else { ProbeResult::Sent });
        let next_ms = Some((self.interval() / MS).cast_signed());
        let probe = Probe { n: Some(n), result, next_ms, late_ms, wheel_ms };
        out.push(Body::Probe(self.connection(now, State::ESTABLISHED, world), probe));
        (self.sent, self.pending) = (now, n);
        self.probes_sent += 1;
        self.dropped += u32::from(dropped);
        self.arm(now, self.interval().max(JIFFY));
        if let Answer::Reset { at } = self.answer {
            self.ends = Some((at + MOMENT, Verdict::PeerResetOnProbe));
        }
    }
}
