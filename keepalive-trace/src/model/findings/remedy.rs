//! The knobs there are, and the values for them that keep a limit.
use std::fmt;

use crate::model::{
    deadlines::death,
    settings::{Origin, Settings, Sourced},
    sysctl::Name,
    units::seconds,
    wheel::leg,
};

pub const TIME: &str = Name::Time.name();
pub const INTVL: &str = Name::Intvl.name();
pub const PROBES: &str = Name::Probes.name();

/// The longest TCP_KEEPIDLE and TCP_KEEPINTVL that `setsockopt()` takes, seconds.
pub const LONGEST_OPTION_S: u32 = 32_767;

/// Something to set, on the socket or in its network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// SO_KEEPALIVE. Off and on again re-arms the timer.
    KeepAlive(bool),
    /// TCP_KEEPIDLE, seconds. It re-arms the timer at once, whatever the value was.
    KeepIdle(u32),
    /// TCP_KEEPINTVL, seconds.
    KeepIntvl(u32),
    KeepCnt(u32),
    /// TCP_USER_TIMEOUT, milliseconds; 0 for none.
    UserTimeoutMs(u32),
    /// Armed timers keep their deadlines.
    Sysctl {
        name: &'static str,
        value: i64,
    },
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepAlive(true) => f.write_str("SO_KEEPALIVE"),
            Self::KeepAlive(false) => f.write_str("SO_KEEPALIVE off"),
            Self::KeepIdle(s) => write!(f, "TCP_KEEPIDLE {s} s"),
            Self::KeepIntvl(s) => write!(f, "TCP_KEEPINTVL {s} s"),
            Self::KeepCnt(count) => write!(f, "TCP_KEEPCNT {count}"),
            Self::UserTimeoutMs(ms) => write!(f, "TCP_USER_TIMEOUT {ms} ms"),
            Self::Sysctl { name, value } => write!(f, "{name}={value}"),
        }
    }
}

/// `TCP_KEEPIDLE 5 s, TCP_KEEPINTVL 1 s and TCP_KEEPCNT 3`
pub fn joined<T: fmt::Display>(things: &[T]) -> String {
    let [first @ .., last] = things else { return String::new() };
    let first: Vec<String> = first.iter().map(ToString::to_string).collect();
    if first.is_empty() { last.to_string() } else { format!("{} and {last}", first.join(", ")) }
}

/// Milliseconds, in seconds; whole ones without decimals.
pub fn duration(ms: i64) -> String {
    if ms % 1000 == 0 { format!("{} s", ms / 1000) } else { seconds(ms) }
}

/// The longest TCP_KEEPIDLE, whole seconds, whose first probe keeps the limit however late the timer wheel is. It is the
/// longest TCP_KEEPINTVL too. None: not even a second does.
pub fn longest_idle(limit_ms: i64, hz: u32) -> Option<u32> {
    if hz == 0 {
        return None;
    }
    largest(LONGEST_OPTION_S, |idle| leg(u64::from(idle) * u64::from(hz), hz).ms(hz).latest_ms <= limit_ms)
}

/// The times with which every probe keeps the limit, changed no more than needed. They re-arm the timer.
pub fn within_limit(settings: &Settings, limit_ms: i64, hz: u32) -> Option<Vec<Knob>> {
    let longest = longest_idle(limit_ms, hz)?;
    let kept = |value: i32| u32::try_from(value).ok().filter(|value| *value <= longest);
    let idle = kept(settings.time_s.value).filter(|time| *time > 0).unwrap_or(longest);
    let mut knobs = vec![Knob::KeepIdle(idle)];
    if kept(settings.intvl_s.value).is_none() {
        knobs.push(Knob::KeepIntvl(longest));
    }
    Some(knobs)
}

/// What it takes to notice a dead peer within so long.
pub struct Quick {
    pub knobs: Vec<Knob>,
    /// Then it takes so long at most.
    pub latest_ms: i64,
}

/// Half of the time idle, the other half for three probes, as much of it as the timer wheel leaves; fewer probes where that
/// is too little. None: keepalive can't be that fast.
pub fn quick(settings: &Settings, within_ms: i64, hz: u32) -> Option<Quick> {
    let most = u32::try_from(within_ms / 1000).unwrap_or(u32::MAX);
    let worst = |settings: &Settings| death(settings, hz).map(|window| window.latest_ms).filter(|latest| *latest <= within_ms);
    let (total, count) = [3, 2, 1].into_iter().find_map(|count| {
        let total = largest(most, |total| worst(&shared_out(total, count)).is_some())?;
        Some((total, count))
    })?;
    let counted = shared_out(total, count);
    let timed = Settings { user_timeout_ms: settings.user_timeout_ms, ..counted };
    let mut knobs = option_values(&counted);
    if !settings.keepalive {
        knobs.insert(0, Knob::KeepAlive(true));
    }
    if let Some(latest_ms) = worst(&timed) {
        return Some(Quick { knobs, latest_ms });
    }
    knobs.push(Knob::UserTimeoutMs(0));
    Some(Quick { knobs, latest_ms: worst(&counted)? })
}

/// The least that keepalive can need, milliseconds.
pub fn quickest(hz: u32) -> Option<i64> {
    death(&shared_out(1, 1), hz).map(|window| window.latest_ms)
}

/// So many seconds, half of them idle, a sixth for each probe.
fn shared_out(total_s: u32, count: u32) -> Settings {
    let on_socket = |s: u32| i32::try_from(s.clamp(1, LONGEST_OPTION_S)).unwrap_or(i32::MAX);
    Settings {
        keepalive: true,
        time_s: Sourced { value: on_socket(total_s / 2), origin: Origin::Socket },
        intvl_s: Sourced { value: on_socket(total_s / 6), origin: Origin::Socket },
        probes: Sourced { value: count, origin: Origin::Socket },
        user_timeout_ms: 0,
    }
}

fn option_values(settings: &Settings) -> Vec<Knob> {
    let Settings { keepalive: _, time_s, intvl_s, probes, user_timeout_ms: _ } = settings;
    let s = |value: i32| value.unsigned_abs();
    vec![Knob::KeepIdle(s(time_s.value)), Knob::KeepIntvl(s(intvl_s.value)), Knob::KeepCnt(probes.value)]
}

/// The largest number from 1 that fits, where all smaller ones fit too.
fn largest(most: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut good, mut bad) = (0, most.saturating_add(1));
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) { good = middle } else { bad = middle }
    }
    (good > 0).then_some(good)
}
