//! The tracer's JSON lines, as its users would read them.
use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{
    clock::{self, Moment},
    netns::Id,
    pair::Connection,
};

/// One line of `--json`. What a kind of event doesn't have is `None`; keys that no test asks for are left unread.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the keys are those of the published schema, and are described there")]
pub struct Event {
    /// The line itself.
    #[serde(skip)]
    pub line: String,

    #[serde(rename = "event")]
    pub kind: String,
    pub time: Option<String>,
    pub mono_ns: Option<Moment>,

    pub conn: Option<String>,
    pub ip: Option<u8>,
    pub laddr: Option<String>,
    pub lport: Option<u16>,
    pub raddr: Option<String>,
    pub rport: Option<u16>,
    pub netns: Option<u64>,
    pub state: Option<String>,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub holders: Option<u32>,
    pub cgroup: Option<String>,

    pub how: Option<String>,
    pub connect_us: Option<u64>,
    pub by_pid: Option<u32>,
    pub by_comm: Option<String>,

    #[serde(rename = "kind")]
    pub answer: Option<String>,
    pub rtt_us: Option<u64>,
    pub precision: Option<String>,
    pub missed: Option<u32>,

    pub verdict: Option<String>,
    pub errno: Option<String>,
    pub probes_sent: Option<u32>,
    pub age_ms: Option<u64>,
    pub why: Option<String>,

    pub n: Option<u32>,
    pub of: Option<u32>,
    pub result: Option<String>,
    pub outcome: Option<String>,
    pub idle_ms: Option<u64>,
    pub late_ms: Option<i64>,
    pub next_ms: Option<i64>,
    /// Of a socket: of a namespace this is a count, to be read with [`Namespace`].
    #[serde(deserialize_with = "flag")]
    pub keepalive: Option<bool>,
    pub time_s: Option<i64>,
    pub intvl_s: Option<i64>,
    pub probes: Option<u32>,
    pub user_timeout_ms: Option<u64>,
    pub origin: Option<Origin>,

    pub reason: Option<String>,
    pub cause: Option<String>,
    pub in_timer: Option<bool>,
    pub unanswered: Option<u32>,
    pub task_pid: Option<u32>,
    pub task_comm: Option<String>,

    pub wheel_ms: Option<i64>,

    pub name: Option<String>,
    pub old: Option<i64>,
    pub new: Option<i64>,
    pub sockets: Option<u64>,
    pub follow_now: Option<u64>,
    pub follow_later: Option<u64>,
    pub follow_never: Option<u64>,
    pub never_socket: Option<u64>,
    pub never_off: Option<u64>,
    pub nearest_at: Option<String>,
    pub median_at: Option<String>,
    pub last_at: Option<String>,
    pub via: Option<String>,
    pub waited_ms: Option<u64>,
    pub armed_before_sysctl: Option<bool>,

    pub dir: Option<String>,
    pub method: Option<String>,
    pub status: Option<u16>,
    pub connection: Option<String>,
    pub timeout_s: Option<u32>,
    pub max: Option<u32>,
    pub idle_before_ms: Option<u64>,
    pub http: Option<String>,
    pub requests: Option<u32>,
    pub responses: Option<u32>,
    pub handshakes_saved: Option<u32>,
    pub saved_us: Option<u64>,
    pub saved_from: Option<String>,
    #[serde(default)]
    pub findings: Vec<String>,

    pub count: Option<u64>,
    #[serde(rename = "where")]
    pub place: Option<String>,

    pub attach: Option<String>,
    pub hz: Option<u64>,
    pub schema: Option<u32>,
    pub kernel: Option<String>,

    pub events: Option<u64>,
    pub lost: Option<u64>,
    pub connections: Option<u64>,
    pub verdicts: Option<BTreeMap<String, u64>>,
}

/// A `namespace` line: what a network namespace's sysctls are, and how many go by them.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the keys are those of the published schema, and are described there")]
pub struct Namespace {
    pub netns: u64,
    pub host: bool,
    pub name: Option<String>,
    pub time_s: i64,
    pub intvl_s: i64,
    pub probes: u32,
    pub sockets: u64,
    pub keepalive: u64,
    pub follow: u64,
    #[serde(default)]
    pub findings: Vec<String>,
}

/// Where each setting comes from: `socket` or `sysctl`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys are those of the published schema, and are described there")]
pub struct Origin {
    pub time: String,
    pub intvl: String,
    pub probes: String,
}

/// A flag, where it is one.
fn flag<'de, D: Deserializer<'de>>(value: D) -> Result<Option<bool>, D::Error> {
    Ok(Value::deserialize(value)?.as_bool())
}

impl fmt::Debug for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.line)
    }
}

impl Event {
    /// Reads a line.
    pub fn parse(line: &str) -> serde_json::Result<Self> {
        Ok(Self { line: line.to_owned(), ..serde_json::from_str(line)? })
    }

    /// True when it speaks of this connection, by its namespace and its ports.
    pub fn is_of(&self, connection: &Connection) -> bool {
        let ports = (self.lport, self.rport);
        self.is_in(connection.netns) && ports == (Some(connection.local.port()), Some(connection.remote.port()))
    }

    /// True when it speaks of a connection in this namespace.
    pub fn is_in(&self, netns: Id) -> bool {
        self.netns == Some(netns.inode) && self.at() >= netns.since
    }

    /// True for a run of one of the two functions that keepalive is about, `tcp_keepalive_timer` and `tcp_send_active_reset`: a
    /// `probe`, a `timer`, a `reset`. The others say what the history makes of such runs.
    pub fn is_run(&self) -> bool {
        matches!(self.kind.as_str(), "probe" | "timer" | "reset")
    }

    /// Its essence in a few words, to compare a whole story at a glance: `open connect`, `probe 2/3 sent`, `timer not-idle`,
    /// `reply 2 ack`, `request 1 GET`, `response 1 200`, `settings on 1/1/3`, `sysctl net.ipv4.tcp_keepalive_time 7200 -> 60`, `reset keepalive-timeout`, `end peer-close`.
    pub fn gist(&self) -> String {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
        let number = |value: Option<u32>| value.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let seconds = |value: Option<i64>| value.map_or_else(|| "?".to_owned(), |number| number.to_string());
        match self.kind.as_str() {
            "probe" => format!("probe {}/{} {}", number(self.n), number(self.of), word(&self.result)),
            "timer" => format!("timer {}", word(&self.outcome)),
            "reset" if self.in_timer == Some(true) => format!("reset {}", word(&self.cause)),
            "reset" => "reset outside the timer".to_owned(),
            "open" => format!("open {}", word(&self.how)),
            "settings" if self.keepalive == Some(false) => "settings off".to_owned(),
            "settings" => {
                format!("settings on {}/{}/{}", seconds(self.time_s), seconds(self.intvl_s), number(self.probes))
            }
            "reply" => format!("reply {} {}", number(self.n), word(&self.answer)),
            "http" if self.method.is_some() => format!("request {} {}", number(self.n), word(&self.method)),
            "http" => format!("response {} {}", number(self.n), number(self.status.map(u32::from))),
            "end" => format!("end {}", word(&self.verdict)),
            "sysctl" if self.errno.is_some() => format!("sysctl {} {} refused", word(&self.name), seconds(self.old)),
            "sysctl" => format!("sysctl {} {} -> {}", word(&self.name), seconds(self.old), seconds(self.new)),
            other => other.to_owned(),
        }
    }

    /// What a `namespace` line says.
    pub fn namespace(&self) -> Result<Namespace> {
        ensure!(self.kind == "namespace", "no namespace: {self:?}");
        serde_json::from_str(&self.line).with_context(|| format!("a line that is not understood: {self:?}"))
    }

    /// A moment that one of its keys names by the wall's clock, in CLOCK_MONOTONIC.
    pub fn moment(&self, named: &Option<String>) -> Result<Moment> {
        let named = named.as_ref().with_context(|| format!("no such moment: {self:?}"))?;
        let time = self.time.as_ref().with_context(|| format!("no time: {self:?}"))?;
        let later = clock::of_rfc3339(named)? - clock::of_rfc3339(time)?;
        Moment::try_from(i128::from(self.at()) + later).with_context(|| format!("before the boot: {self:?}"))
    }

    /// When it happened; the beginning of time where it doesn't say.
    pub fn at(&self) -> Moment {
        self.mono_ns.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_timer_and_its_resets_are_runs() {
        let kinds = ["start", "open", "settings", "timer", "probe", "reply", "reset", "end", "lost", "stop"];
        let event = |kind: &str| Event { kind: kind.to_owned(), ..Event::default() };
        let runs: Vec<&str> = kinds.into_iter().filter(|kind| event(kind).is_run()).collect();
        assert_eq!(runs, ["timer", "probe", "reset"]);
    }

    #[test]
    fn a_line_is_read_and_told_in_a_few_words() {
        let gist = |line: &str| Event::parse(line).unwrap().gist();
        assert_eq!(gist(r#"{"event":"probe","n":2,"of":3,"result":"sent","mono_ns":7}"#), "probe 2/3 sent");
        assert_eq!(gist(r#"{"event":"probe"}"#), "probe ?/? ?");
        assert_eq!(gist(r#"{"event":"timer","outcome":"not-idle","next_ms":5}"#), "timer not-idle");
        assert_eq!(gist(r#"{"event":"reset","in_timer":true,"cause":"user-timeout"}"#), "reset user-timeout");
        assert_eq!(gist(r#"{"event":"reset","in_timer":false,"reason":"TCP_STATE"}"#), "reset outside the timer");
        assert_eq!(gist(r#"{"event":"open","how":"connect","connect_us":90}"#), "open connect");
        assert_eq!(gist(r#"{"event":"settings","keepalive":true,"time_s":1,"intvl_s":2,"probes":3}"#), "settings on 1/2/3");
        assert_eq!(gist(r#"{"event":"settings","keepalive":false,"time_s":1}"#), "settings off");
        assert_eq!(gist(r#"{"event":"reply","n":3,"kind":"reset","missed":2}"#), "reply 3 reset");
        assert_eq!(gist(r#"{"event":"end","verdict":"peer-close"}"#), "end peer-close");
        assert_eq!(gist(r#"{"event":"stop","verdicts":{"unknown":1}}"#), "stop");
        assert_eq!(gist(r#"{"event":"sysctl","name":"net.x","old":9,"new":-1}"#), "sysctl net.x 9 -> -1");
        assert_eq!(gist(r#"{"event":"sysctl","name":"net.x","old":9,"errno":"EINVAL"}"#), "sysctl net.x 9 refused");
    }

    #[test]
    fn keepalive_is_a_flag_of_a_socket_and_a_count_of_a_namespace() {
        let line = concat!(
            r#"{"event":"namespace","netns":7,"host":true,"time_s":7200,"intvl_s":75,"probes":9,"sockets":5,"#,
            r#""keepalive":3,"follow":2}"#
        );
        let event = Event::parse(line).unwrap();
        assert_eq!((event.keepalive, event.namespace().unwrap().keepalive), (None, 3));
        assert_eq!(Event::parse(r#"{"event":"open","keepalive":true}"#).unwrap().keepalive, Some(true));
    }

    #[test]
    fn a_moment_named_by_the_wall_s_clock_is_told_by_the_other() {
        let [time, named] =
            ["2026-01-31T23:59:59.500000000Z", "2026-02-01T00:00:01.000000007Z"].map(|time| Some(time.to_owned()));
        let event = Event { time, mono_ns: Some(5), ..Event::default() };
        assert_eq!(event.moment(&named).unwrap(), 1_500_000_012);
    }
}
