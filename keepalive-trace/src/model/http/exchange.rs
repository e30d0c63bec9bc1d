//! The story of one connection, as far as HTTP goes.
use super::{Cause, End, Finding, Findings, Http, Line, Message, Other, Passed, Promise, Saved, SavedFrom, What};
use crate::model::{settings::Settings, units::seconds, verdict::Verdict};

/// A server's clock may tick once a second, and its promise is rounded: it may close so much earlier than it said, nanoseconds. So
/// much later, a close that did not come is missing.
pub const SLACK_NS: u64 = 1_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// What was asked, answered and promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// This host asks.
    asks: Option<bool>,
    requests: u32,
    /// Final ones: no 100 among them.
    responses: u32,
    /// The last that was given.
    promise: Promise,
    /// Requests that were answered since then.
    since_promise: u32,
    /// The promised number doesn't count down: it is that of all requests, as Node.js means it, and not of those to come.
    max_is_of_all: bool,
    /// The first number of requests that was promised: by which response, and how many.
    most: Option<(u32, u32)>,
    /// Somebody said that the connection closes after this exchange.
    closes: bool,
    /// The connection speaks something else now.
    other: Option<Other>,
    last_request: Option<u32>,
    /// The connection had been idle for so long before that, nanoseconds.
    last_idle_ns: Option<u64>,
    /// When the last message passed, nanoseconds of CLOCK_MONOTONIC.
    last_ns: u64,
    /// Sent by this host after so long, nanoseconds, when the server had promised so many seconds.
    late: Option<(u64, u32)>,
    close: Option<Close>,
}

/// Who hung up first, and how things were then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Close {
    by_server: bool,
    rst: bool,
    idle_ns: Option<u64>,
    /// Requests that had no answer.
    unanswered: u32,
    /// A request that the server had not received when it closed.
    crossed: bool,
}

impl Close {
    /// Whether a program hung up. A RST may also be the kernel's, which had waited long enough, or a middlebox's.
    fn is_of_program(&self, verdict: Verdict) -> bool {
        !self.rst || matches!(verdict, Verdict::PeerReset | Verdict::LocalAbort)
    }
}

/// What is known of the connection beside HTTP, when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    pub verdict: Verdict,
    pub settings: Option<Settings>,
    /// How long its handshake took, microseconds; and the last one to the same address.
    pub connect_us: Option<u32>,
    pub peer_us: Option<u32>,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub at_ns: u64,
}

impl Exchange {
    /// Takes in what passed; gives what there is to tell.
    pub fn note(&mut self, at_ns: u64, Passed { left, idle_ns, what }: &Passed) -> Option<Http> {
        if self.other.is_some() {
            return None;
        }
        match what {
            What::Message(message, seq) => {
                let http = self.message(message, *seq, *left, *idle_ns);
                self.last_ns = at_ns;
                Some(http)
            }
            What::Other(other) => {
                self.other = Some(*other);
                None
            }
            What::Close { rst, ack } => {
                self.closed(*left, *rst, *ack, *idle_ns);
                None
            }
        }
    }

    fn message(&mut self, message: &Message, seq: u32, left: bool, idle_ns: Option<u64>) -> Http {
        let Message { line, is_1_0, connection, promise } = *message;
        let n = match line {
            Line::Request(_) => {
                self.asks.get_or_insert(left);
                self.requested(seq, left, idle_ns);
                self.requests
            }
            Line::Response(status) => {
                self.asks.get_or_insert(!left);
                // Its request may have been before anybody looked.
                self.requests = self.requests.max(self.responses + 1);
                let n = self.responses + 1;
                if (100..200).contains(&status) && status != 101 {
                    return Http { line, n, connection, promise, idle_before_ms: idle_ns.map(|ns| ns / 1_000_000) };
                }
                self.other = (status == 101).then_some(Other::After(status));
                self.responses = n;
                self.since_promise += 1;
                if promise != Promise::default() {
                    self.max_is_of_all |= promise.max.is_some() && promise.max == self.promise.max;
                    (self.promise, self.since_promise) = (promise, 0);
                    self.most = self.most.or(promise.max.map(|max| (n, max)));
                }
                n
            }
        };
        // Who speaks HTTP/1.0 must ask for it each time, and is told each time that it has it.
        self.closes |= connection.close || is_1_0 && !connection.keep_alive;
        Http { line, n, connection, promise, idle_before_ms: idle_ns.map(|ns| ns / 1_000_000) }
    }

    fn requested(&mut self, seq: u32, left: bool, idle_ns: Option<u64>) {
        // What comes late may have left in time.
        self.last_idle_ns = idle_ns.filter(|_| self.requests == self.responses);
        if left && self.requests == self.responses {
            let late = idle_ns.zip(self.promise.timeout_s).filter(|(ns, timeout)| *ns >= u64::from(*timeout) * SECOND_NS);
            self.late = self.late.or(late);
        }
        self.requests += 1;
        self.last_request = Some(seq);
        if let Some(close) = &mut self.close {
            close.crossed |= close.by_server;
        }
    }

    fn closed(&mut self, left: bool, rst: bool, ack: u32, idle_ns: Option<u64>) {
        let Some(asks) = self.asks else { return };
        if self.close.is_some() {
            return;
        }
        let by_server = left != asks;
        let unanswered = self.requests - self.responses;
        // The client's sequence numbers: what the server has received ends where it expects the next.
        let after = |seq: u32| seq.wrapping_sub(ack).cast_signed() >= 0;
        // A RST in answer to something says nothing of what was received: its number is 0.
        let after = |seq: u32| !(rst && ack == 0) && after(seq);
        let crossed = by_server && unanswered > 0 && self.last_request.is_some_and(after);
        self.close = Some(Close { by_server, rst, idle_ns, unanswered, crossed });
    }

    /// What it was in the end; none where no message was seen.
    pub fn end(&self, around: &Around) -> Option<End> {
        let (requests, responses) = (self.requests, self.responses);
        let saved = requests.checked_sub(1)?;
        let own = around.connect_us.map(|us| (us, SavedFrom::Connection));
        let saved = own
            .or(around.peer_us.map(|us| (us, SavedFrom::Peer)))
            .filter(|_| saved > 0)
            .map(|(us, from)| Saved { us: u64::from(us) * u64::from(saved), from });
        Some(End { cause: self.cause(around), requests, responses, saved, findings: self.findings(around) })
    }

    /// Who hung up first. A connection that a program of this host aborts ends before its RST leaves (`tcp_close`, `tcp_disconnect`).
    fn closing(&self, around: &Around) -> Option<Close> {
        let aborted = |asks: bool| Close {
            by_server: !asks,
            rst: true,
            idle_ns: Some(around.at_ns.saturating_sub(self.last_ns)),
            unanswered: self.requests - self.responses,
            crossed: false,
        };
        self.close.or_else(|| self.asks.filter(|_| around.verdict == Verdict::LocalAbort).map(aborted))
    }

    /// Who hung up first, if it was a program.
    fn hung_up(&self, around: &Around) -> Option<Close> {
        self.closing(around).filter(|close| close.is_of_program(around.verdict))
    }

    fn cause(&self, around: &Around) -> Option<Cause> {
        let close = self.hung_up(around).filter(|_| self.other.is_none())?;
        if close.crossed || self.is_unread(close) {
            return Some(Cause::Race);
        }
        if close.unanswered > 0 {
            return None;
        }
        // Whoever is told that this was the last one may be the first to close.
        if (close.by_server || self.closes) && self.is_used_up() {
            return Some(Cause::MaxRequests);
        }
        if self.closes {
            return Some(Cause::ConnectionClose);
        }
        // A server's own limit may be shorter than what it says. Whoever closes at once has other reasons.
        let has_idled = !self.is_early(close) || close.idle_ns >= Some(SLACK_NS);
        (close.by_server && has_idled).then_some(Cause::IdleTimeout)
    }

    /// The timeout was due when the request came, and the server closed without having read it: that sends a RST.
    fn is_unread(&self, close: Close) -> bool {
        let due = |timeout: u32| self.last_idle_ns.is_some_and(|ns| ns + SLACK_NS >= u64::from(timeout) * SECOND_NS);
        close.by_server && close.rst && close.unanswered == 1 && self.promise.timeout_s.is_some_and(due)
    }

    /// As many requests were answered as were promised.
    fn is_used_up(&self) -> bool {
        let answered = if self.max_is_of_all { self.responses } else { self.since_promise };
        self.promise.max.is_some_and(|max| answered >= max)
    }

    /// The server closed earlier than it had said.
    fn is_early(&self, close: Close) -> bool {
        let lasted = |timeout: u32| close.idle_ns.is_some_and(|ns| ns + SLACK_NS >= u64::from(timeout) * SECOND_NS);
        self.promise.timeout_s.is_some_and(|timeout| !lasted(timeout))
    }

    /// Requests that may be answered.
    fn allowed(&self) -> u32 {
        let before = |first: u32| if self.max_is_of_all { 0 } else { first };
        self.most.map_or(u32::MAX, |(first, most)| before(first).saturating_add(most))
    }

    fn findings(&self, around: &Around) -> Findings {
        let found = [
            (self.breaks_promise(around), Finding::PromiseBroken),
            (self.reuses_late(), Finding::ReuseBeyondPromise),
            (self.never_probed(around).is_some(), Finding::KeepaliveNeverActs),
            (self.zombie_for(around).is_some(), Finding::ZombieUncovered),
        ];
        found.into_iter().filter(|(found, _)| *found).map(|(_, finding)| finding).collect()
    }

    fn breaks_promise(&self, around: &Around) -> bool {
        let announced = self.closes || self.other.is_some() || self.is_used_up();
        let early = self
            .hung_up(around)
            .is_some_and(|close| close.by_server && close.unanswered == 0 && close.idle_ns.is_some() && self.is_early(close));
        early && !announced || self.responses > self.allowed()
    }

    fn reuses_late(&self) -> bool {
        self.asks == Some(true) && (self.late.is_some() || self.requests > self.allowed())
    }

    /// How long keepalive would have waited, seconds, on a connection that HTTP closed before.
    fn never_probed(&self, around: &Around) -> Option<i32> {
        let settings = around.settings.filter(|settings| settings.keepalive)?;
        let idle_ns =
            self.closing(around).filter(|close| close.by_server && self.cause(around) == Some(Cause::IdleTimeout))?.idle_ns?;
        let time_s = settings.time_s.value;
        (u64::try_from(time_s).is_ok_and(|time_s| time_s * SECOND_NS > idle_ns)).then_some(time_s)
    }

    /// How long the server had been silent, nanoseconds, on a connection that it was to close long before.
    fn zombie_for(&self, around: &Around) -> Option<u64> {
        let off = around.settings.is_some_and(|settings| !settings.keepalive);
        let idle = off && self.asks == Some(true) && self.requests == self.responses && self.other.is_none();
        let timeout = self.promise.timeout_s.filter(|_| idle)?;
        let silent_ns = match self.closing(around) {
            None => around.at_ns.saturating_sub(self.last_ns),
            Some(close) => close.idle_ns.filter(|_| !close.by_server || !close.is_of_program(around.verdict))?,
        };
        (silent_ns > u64::from(timeout) * SECOND_NS + SLACK_NS).then_some(silent_ns)
    }

    /// A part of a sentence, for the reason of the connection's end; none where nothing was seen.
    pub fn why(&self, around: &Around) -> Option<String> {
        match self.other {
            Some(Other::Http2) => Some("HTTP: it spoke HTTP/2, which is not read".to_owned()),
            Some(Other::After(status)) => {
                let n = self.responses;
                Some(format!("HTTP: from response {n} ({status}) on it spoke another protocol, which is not read"))
            }
            None => (self.requests > 0).then(|| self.story(around)),
        }
    }

    fn story(&self, around: &Around) -> String {
        let hung_up = self.hung_up(around);
        let silent_ns = self.closing(around).map_or(Some(around.at_ns.saturating_sub(self.last_ns)), |close| close.idle_ns);
        let silent = silent_ns.map(|ns| format!("{} without a message", after(ns)));
        let mut why = match hung_up {
            Some(Close { by_server, rst, .. }) => {
                let who = if by_server { "the server" } else { "the client" };
                let how = if rst { "reset it" } else { "closed it" };
                let silent = silent.map_or_else(String::new, |silent| format!(" after {silent}"));
                format!("HTTP: {who} {how}{silent}")
            }
            None => {
                let silent = silent.map_or_else(String::new, |silent| format!(", {silent}"));
                format!("HTTP: neither the client nor the server closed it{silent}")
            }
        };
        let said = if hung_up.is_some_and(|close| close.by_server) { "having said" } else { "the server having said" };
        match self.promise {
            Promise { timeout_s: Some(timeout), max: Some(max) } => why += &format!(", {said} timeout={timeout}, max={max}"),
            Promise { timeout_s: Some(timeout), max: None } => why += &format!(", {said} timeout={timeout}"),
            Promise { timeout_s: None, max: Some(max) } => why += &format!(", {said} max={max}"),
            Promise { timeout_s: None, max: None } => {}
        }
        let unanswered = self.requests - self.responses;
        if hung_up.is_some_and(|close| close.crossed || self.is_unread(close)) {
            why += "; a request met the close";
        } else if unanswered > 0 {
            why += &format!("; {unanswered} of {} requests had no answer", self.requests);
        } else if hung_up.is_some() && self.closes {
            why += "; it had been announced (Connection: close, or HTTP/1.0)";
        }
        why + &self.faults(around)
    }

    /// What was wrong, in words.
    fn faults(&self, around: &Around) -> String {
        let mut words = String::new();
        if self.responses > self.allowed() {
            words += &format!("; the server answered {} requests, more than it had promised", self.responses);
        } else if self.breaks_promise(around) {
            words += "; that is earlier than it had promised";
        }
        if let Some((idle_ns, timeout)) = self.late.filter(|_| self.reuses_late()) {
            words += &format!("; the client asked again after {}, when timeout={timeout} was over", after(idle_ns));
        } else if self.reuses_late() {
            words += &format!("; the client asked {} times, more than it was allowed", self.requests);
        }
        if let Some(time_s) = self.never_probed(around) {
            words += &format!("; TCP keepalive, at {time_s} s, could never act");
        }
        if let Some(silent_ns) = self.zombie_for(around) {
            words += &format!(
                "; the server's close was due and had not come in {}, and keepalive is off: had the server been gone, nobody would have noticed",
                after(silent_ns)
            );
        }
        words
    }
}

fn after(ns: u64) -> String {
    let ms = ns.saturating_add(500_000) / 1_000_000;
    seconds(i64::try_from(ms).unwrap_or(i64::MAX))
}
