//! One connection's state machine: from what was seen of its socket to the events that follow from it.
use super::{
    errno::Errno,
    event::{Body, Changed, Connection, End, Precision, Probe, ProbeResult, Reply, ReplyKind, Reset, Timer, Via},
    history::History,
    http::{Around, Exchange, Http, Passed},
    judge::{self, Evidence, PeerReset, ResetSign, Signs},
    sighting::{Clock, Closed, Sighting, Socket, What},
};

/// What a connection's next events depend on, beside its history.
#[derive(Clone, Debug, Default)]
pub struct Life(Option<Box<Rest>>);

/// What most connections have none of, most of the time.
#[derive(Clone, Debug, Default)]
struct Rest {
    /// The last probe that left this host and is not answered.
    sent: Option<Sent>,
    signs: Option<Box<Signs>>,
    http: Option<Box<Exchange>>,
}

/// A probe on its way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    mono_ns: u64,
    /// None where it could not be read.
    clock: Option<Clock>,
    n: u32,
}

/// An event, before it is said whose.
#[derive(Debug)]
pub enum News {
    Probe(Probe),
    Timer(Timer),
    Reply(Reply),
    Reset(Reset),
}

impl News {
    pub fn of(self, connection: Connection) -> Body {
        match self {
            Self::Probe(probe) => Body::Probe(connection, probe),
            Self::Timer(timer) => Body::Timer(connection, timer),
            Self::Reply(reply) => Body::Reply(connection, reply),
            Self::Reset(reset) => Body::Reset(connection, reset),
        }
    }
}

impl Life {
    fn sent(&self) -> Option<Sent> {
        self.0.as_ref()?.sent
    }

    fn set_sent(&mut self, sent: Option<Sent>) {
        if let Some(rest) = &mut self.0 {
            rest.sent = sent;
            if sent.is_none() && rest.signs.is_none() && rest.http.is_none() {
                self.0 = None;
            }
        } else if sent.is_some() {
            self.0 = Some(Box::new(Rest { sent, ..Rest::default() }));
        }
    }

    fn signs(&mut self) -> &mut Signs {
        self.0.get_or_insert_default().signs.get_or_insert_default()
    }

    fn seen_signs(&self) -> Option<&Signs> {
        self.0.as_ref()?.signs.as_deref()
    }

    /// Something of HTTP passed; gives what there is to tell.
    pub fn pass(&mut self, at_ns: u64, passed: &Passed) -> Option<Http> {
        self.0.get_or_insert_default().http.get_or_insert_default().note(at_ns, passed)
    }

    fn exchange(&self) -> Option<&Exchange> {
        self.0.as_ref()?.http.as_deref()
    }

    /// The answer that this sighting shows: the socket's own clock says that an ACK came after the last probe.
    pub fn answer(&mut self, sighting: &Sighting, history: &History, hz: u32) -> Option<Reply> {
        let sent = self.sent().filter(|_| history.tally.pending > 0)?;
        let rtt_us = match &sighting.what {
            What::Acked => Some(sighting.mono_ns.saturating_sub(sent.mono_ns) / 1000),
            _ => {
                let (then, now) = (sent.clock?, sighting.socket.clock?);
                let jiffies = u32::try_from(now.acked.wrapping_sub(then.now).cast_signed()).ok()?;
                // The clock tells of the latest ACK only: that is the probe's, unless there was other traffic.
                (now.moved == then.moved).then(|| u64::from(jiffies) * 1_000_000 / u64::from(hz.max(1)))
            }
        };
        self.set_sent(None);
        let precision = if sighting.what == What::Acked { Precision::Exact } else { Precision::Jiffy };
        Some(Reply { n: Some(sent.n), kind: ReplyKind::Ack, rtt_us, precision, missed: sent.n.saturating_sub(1) })
    }

    /// The change of settings that this sighting shows.
    pub fn change(&self, sighting: &Sighting, history: &History) -> Option<Changed> {
        let differ = sighting.socket.settings.is_some() && sighting.socket.settings != history.settings();
        if !differ || !sighting.what.shows_settings() {
            return None;
        }
        let (by, via) = match &sighting.what {
            What::Set { by } => (*by, Some(Via::Setsockopt)),
            _ => (None, None),
        };
        Some(Changed { by, via })
    }

    /// What the sighting itself tells, if it is for all to hear; and what is to be remembered of it.
    pub fn news(&mut self, sighting: &Sighting, history: &History) -> Option<News> {
        let socket = &sighting.socket;
        match &sighting.what {
            What::Probe(probe) => {
                let n = probe.n.unwrap_or(history.tally.pending + 1);
                match probe.result {
                    // Where nobody saw the result, it went out as nearly all do.
                    Some(ProbeResult::Sent) | None => {
                        self.set_sent(Some(Sent { mono_ns: sighting.mono_ns, clock: socket.clock, n }));
                    }
                    Some(ProbeResult::DroppedLocally) if n == 1 => self.set_sent(None),
                    Some(ProbeResult::DroppedLocally | ProbeResult::Congested) => {}
                }
                Some(News::Probe(probe.clone()))
            }
            What::Timer(timer) => Some(News::Timer(timer.clone())),
            What::Reset(reset) => {
                let signs = self.signs();
                match reset.cause {
                    Some(cause) => signs.timer = Some(cause),
                    None => {
                        let sign = ResetSign {
                            reason: reset.reason.clone(),
                            state: socket.state,
                            orphan: socket.orphan,
                            task: reset.task,
                        };
                        signs.reset.get_or_insert(sign);
                    }
                }
                Some(News::Reset(reset.clone()))
            }
            What::PeerReset => {
                let on_probe = history.tally.pending > 0 && socket.probes_out.is_some_and(|out| out > 0);
                let sent = self.sent().filter(|_| on_probe);
                self.set_sent(None);
                let on_probe = on_probe.then(|| sent.map_or(history.tally.pending, |sent| sent.n));
                self.signs().peer_reset.get_or_insert(PeerReset { on_probe, orphan: socket.orphan });
                let rtt_us = sent.map(|sent| sighting.mono_ns.saturating_sub(sent.mono_ns) / 1000);
                let n = on_probe?;
                let missed = n.saturating_sub(1);
                Some(News::Reply(Reply { n: Some(n), kind: ReplyKind::Reset, rtt_us, precision: Precision::Exact, missed }))
            }
            What::Aborted { by } => {
                self.signs().aborted.get_or_insert(*by);
                None
            }
            // The tracker's: they begin and end the history.
            What::Snapshot
            | What::Connected { .. }
            | What::Accepted { .. }
            | What::Set { .. }
            | What::Acked
            | What::Closed(_) => None,
        }
    }

    /// Whether something is still to come that says more about the end.
    pub fn awaits_more(&self, closed: &Closed) -> bool {
        judge::awaits_more(self.seen_signs().unwrap_or(&Signs::default()), closed)
    }

    /// The end, judged from all that was seen.
    pub fn end(
        &self,
        closed: &Closed,
        socket: &Socket,
        peer_us: impl FnOnce() -> Option<u32>,
        history: &History,
        at_ns: u64,
    ) -> End {
        let mut signs = self.seen_signs().cloned().unwrap_or_default();
        let pending = history.tally.pending;
        // A RST whose own record is missing shows in the error, and which probe it answers in what is still out.
        if signs.peer_reset.is_none()
            && matches!(closed.errno, Some(Errno::CONNRESET | Errno::PIPE))
            && pending > 0
            && socket.probes_out.is_some_and(|out| out > 0)
        {
            let on_probe = Some(self.sent().map_or(pending, |sent| sent.n));
            signs.peer_reset = Some(PeerReset { on_probe, orphan: socket.orphan });
        }
        let evidence = Evidence {
            unanswered: pending,
            dropped: history.dropped(),
            signs: &signs,
            closed,
            orphan: socket.orphan,
            settings: history.settings(),
            idle_ms: socket.idle_ms,
        };
        let verdict = judge::judge(&evidence);
        let mut why = judge::why(verdict, &evidence);
        let http = self.exchange().and_then(|exchange| {
            let (settings, connect_us) = (history.settings(), history.connect_us());
            let around = Around { verdict, settings, connect_us, peer_us: peer_us(), at_ns };
            if let Some(half) = exchange.why(&around) {
                why += "; ";
                why += &half;
            }
            exchange.end(&around).map(Box::new)
        });
        End {
            verdict,
            errno: closed.errno.filter(|_| !socket.orphan),
            probes_sent: history.tally.probes(),
            unanswered: history.tally.unanswered + pending,
            age_ms: closed.trying_us.map(|us| us / 1000).or_else(|| history.age_ms(at_ns)),
            armed_before_sysctl: false,
            why,
            http,
        }
    }
}
