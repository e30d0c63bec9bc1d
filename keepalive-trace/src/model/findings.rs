//! What is wrong with a connection's keepalive, by rules: why, in numbers, and which knob to turn to what.
use super::{finding::Finding, listing::Listed, state::State, sysctl::Sysctls};

pub use remedy::{Knob, longest_idle};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub finding: Finding,
    /// One sentence with numbers and their units.
    pub why: String,
    /// Which knob to turn, and to what. The owner's name in it is as the kernel has it: escape it for a terminal.
    pub remedy: String,
    /// The same for machines: once all of these are set, the finding is gone. Empty where nothing helps. The remedy may name
    /// another way beside it.
    pub cure: Vec<Knob>,
}

/// What connections are measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Jiffies a second; where it is 0, for unknown, nothing is said of deadlines.
    pub hz: u32,
    /// After so long without traffic a middlebox drops a flow.
    pub idle_limit_ms: Option<i64>,
    /// Within so long a dead peer shall be noticed.
    pub detect_within_ms: Option<i64>,
    /// The host's network namespace by its inode, and its sysctls.
    pub host: Option<(u32, Sysctls)>,
}

/// All findings, in the order of `Finding::ALL`. There are none of listeners, of handshakes, and of orphans, which no process can help any
/// more.
pub fn lint(listed: &Listed, limits: &Limits) -> Vec<Found> {
    const STATES: [State; 4] = [State::ESTABLISHED, State::CLOSE_WAIT, State::FIN_WAIT1, State::FIN_WAIT2];
    let socket = &listed.socket;
    let Some(settings) = socket.settings.as_ref().filter(|_| STATES.contains(&socket.state) && !socket.orphan) else {
        return Vec::new();
    };
    let case = case::Case { listed, settings, limits };
    let rules = [
        values::no_keepalive,
        values::user_timeout_overrides,
        timing::late_for_limit,
        timing::armed_before_sysctl,
        values::netns_differs,
        timing::slow_detection,
        values::dangerous_sysctl,
    ];
    rules.iter().filter_map(|rule| rule(&case)).collect()
}

mod case;
/// The same of a network namespace, whether or not a connection follows it.
pub fn of_namespace(netns: u32, sysctls: &Sysctls, host: Option<&(u32, Sysctls)>) -> Vec<Finding> {
    let Sysctls { time_s, intvl_s, probes } = *sysctls;
    let differs = host.is_some_and(|(inode, values)| *inode != netns && values != sysctls);
    let dangerous = time_s <= 0 || intvl_s <= 0 || probes == 0;
    let found = [(differs, Finding::NetnsDiffers), (dangerous, Finding::DangerousSysctl)];
    found.into_iter().filter(|(found, _)| *found).map(|(_, finding)| finding).collect()
}

#[cfg(test)]
mod properties;
mod remedy;
#[cfg(test)]
mod tests;
mod timing;
mod values;
