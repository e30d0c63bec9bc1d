//! What the rules look at.
use super::{
    Limits,
    remedy::{INTVL, Knob, PROBES, TIME},
};
use crate::model::{
    deadlines::longest_delay,
    listing::{Listed, Queued},
    settings::{Origin, Settings},
    window::WindowMs,
};

pub struct Case<'a> {
    pub listed: &'a Listed,
    pub settings: &'a Settings,
    pub limits: &'a Limits,
}

impl Case<'_> {
    pub fn on(&self) -> bool {
        self.settings.keepalive
    }

    pub fn owner(&self) -> String {
        let task = self.listed.owner.map(|owner| owner.task);
        task.map_or_else(|| "the application".to_owned(), |task| format!("{}[{}]", task.comm, task.pid))
    }

    /// `sysctl -w` where it is in force for the socket.
    pub fn write(&self, knobs: &[Knob]) -> String {
        let values: Vec<String> = knobs.iter().map(ToString::to_string).collect();
        let command = format!("sysctl -w {}", values.join(" "));
        let netns = self.listed.socket.netns.filter(|netns| self.limits.host.is_none_or(|(host, _)| host != *netns));
        match (netns, self.listed.owner) {
            (None, _) => format!("`{command}`"),
            (Some(netns), None) => format!("`{command}` inside network namespace {netns}"),
            (Some(netns), Some(owner)) => format!("`nsenter -t {} -n {command}` (network namespace {netns})", owner.task.pid),
        }
    }

    pub fn idle_ms(&self) -> Option<i64> {
        i64::try_from(self.listed.socket.idle_ms?).ok()
    }

    /// Known to hold data, so that retransmission rules and not keepalive.
    pub fn busy(&self) -> bool {
        self.listed.queued.is_some_and(|Queued { unacked, unsent }| unacked > 0 || unsent > 0)
    }

    /// When the armed timer fires.
    pub fn fires(&self) -> Option<WindowMs> {
        let hz = self.limits.hz;
        Some(self.listed.timer?.fires(longest_delay(self.settings, hz), hz).ms(hz))
    }

    /// The values that come from sysctls, by name: time and interval in seconds, and probes.
    pub fn by_sysctl(&self) -> [(&'static str, Option<i64>); 3] {
        let Settings { keepalive: _, time_s, intvl_s, probes, user_timeout_ms: _ } = self.settings;
        let value = |origin: Origin, value: i64| (origin == Origin::Sysctl).then_some(value);
        [
            (TIME, value(time_s.origin, time_s.value.into())),
            (INTVL, value(intvl_s.origin, intvl_s.value.into())),
            (PROBES, value(probes.origin, probes.value.into())),
        ]
    }
}
