//! The tracer's JSON lines, as its users would read them.
use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use crate::{clock::Moment, netns::Id, pair::Connection};

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

/// Where each setting comes from: `socket` or `sysctl`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys are those of the published schema, and are described there")]
pub struct Origin {
    pub time: String,
    pub intvl: String,
    pub probes: String,
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
    /// `reply 2 ack`, `settings on 1/1/3`, `reset keepalive-timeout`, `end peer-close`.
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
            "end" => format!("end {}", word(&self.verdict)),
            other => other.to_owned(),
        }
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
    }
}
