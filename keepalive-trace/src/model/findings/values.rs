//! Rules about what is set, and to what.
use super::{
    Finding, Found,
    case::Case,
    remedy::{INTVL, Knob, PROBES, TIME, duration, joined, within_limit},
};
use crate::model::{settings::Settings, state::State, units::counted};

/// An idle time from which a connection without keepalive is worth a word, milliseconds: longer than pauses between requests
/// last, and about when common middleboxes have forgotten it.
const LONG_IDLE_MS: i64 = 600_000;
/// TCP_KEEPIDLE where no limit asks for another, seconds.
const USUAL_IDLE_S: u32 = 60;
/// What the kernel starts every network namespace with: time and interval in seconds, and probes.
const DEFAULTS: [i64; 3] = [7200, 75, 9];

pub fn no_keepalive(case: &Case<'_>) -> Option<Found> {
    let limit = case.limits.idle_limit_ms;
    let idle = case.idle_ms()?;
    let waits = case.listed.socket.state != State::FIN_WAIT1 && !case.busy();
    if case.on() || !waits || idle < limit.map_or(LONG_IDLE_MS, |limit| limit.min(LONG_IDLE_MS)) {
        return None;
    }
    let fitting = limit.and_then(|limit| within_limit(case.settings, limit, case.limits.hz));
    let mut cure = vec![Knob::KeepAlive(true)];
    cure.extend(fitting.unwrap_or_else(|| vec![Knob::KeepIdle(USUAL_IDLE_S)]));
    Some(Found {
        finding: Finding::NoKeepalive,
        why: format!("idle for {} with keepalive off: if the peer is gone, nobody will notice", duration(idle)),
        remedy: format!("{} in {}; without SO_KEEPALIVE the sysctls do nothing", joined(&cure), case.owner()),
        cure,
    })
}

pub fn user_timeout_overrides(case: &Case<'_>) -> Option<Found> {
    let Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms } = case.settings;
    let (timeout, probes) = (i64::from(*user_timeout_ms), i64::from(probes.value));
    if !keepalive || timeout == 0 || probes == 0 || time_s.value < 0 || intvl_s.value < 0 {
        return None;
    }
    let last = (i64::from(time_s.value) + probes * i64::from(intvl_s.value)).saturating_mul(1000);
    if timeout >= last {
        return None;
    }
    // `setsockopt()` takes an int.
    let enough = u32::try_from(last).ok().filter(|ms| i32::try_from(*ms).is_ok());
    let least = enough.map_or_else(String::new, |ms| format!("{} or more, or ", Knob::UserTimeoutMs(ms)));
    Some(Found {
        finding: Finding::UserTimeoutOverrides,
        why: format!(
            "TCP_USER_TIMEOUT {timeout} ms ends it before the last of {} has gone unanswered, after {}",
            counted(probes.unsigned_abs(), "probe"),
            duration(last)
        ),
        remedy: format!("{least}{} for none, in {}", Knob::UserTimeoutMs(0), case.owner()),
        cure: vec![Knob::UserTimeoutMs(enough.unwrap_or(0))],
    })
}

pub fn netns_differs(case: &Case<'_>) -> Option<Found> {
    let (host, sysctls) = case.limits.host?;
    let elsewhere = case.listed.socket.netns.is_some_and(|netns| netns != host);
    if !case.on() || !elsewhere {
        return None;
    }
    let there = [sysctls.time_s, sysctls.intvl_s, i64::from(sysctls.probes)];
    let differing = case.by_sysctl().into_iter().zip(there).zip(["s", "s", "probes"]);
    let (said, cure): (Vec<String>, Vec<Knob>) = differing
        .filter_map(|(((name, here), there), unit)| {
            let here = here.filter(|here| *here != there)?;
            let said = format!("{name} is {here} {unit} here and {there} {unit} on the host");
            Some((said, Knob::Sysctl { name, value: there }))
        })
        .unzip();
    if cure.is_empty() {
        return None;
    }
    Some(Found { finding: Finding::NetnsDiffers, why: joined(&said), remedy: case.write(&cure), cure })
}

pub fn dangerous_sysctl(case: &Case<'_>) -> Option<Found> {
    if !case.on() {
        return None;
    }
    let timed = case.settings.user_timeout_ms != 0;
    let (said, cure): (Vec<String>, Vec<Knob>) = case
        .by_sysctl()
        .into_iter()
        .zip(DEFAULTS)
        .filter_map(|((name, value), usual)| {
            let value = value?;
            let effect = match (name, value) {
                (TIME, ..0) => "disarms the timer for months",
                (TIME, 0) => "sends a probe every interval whatever else is sent",
                (INTVL, ..0) => "disarms the timer for months after the first probe",
                (INTVL, 0) if timed => "sends a probe every tick until TCP_USER_TIMEOUT",
                (INTVL, 0) => "sends a probe every tick and ends the connection within milliseconds",
                (PROBES, 0) if !timed => "ends idle connections without a probe",
                _ => return None,
            };
            Some((format!("{name}={value} {effect}"), Knob::Sysctl { name, value: usual }))
        })
        .unzip();
    if cure.is_empty() {
        return None;
    }
    let remedy = format!("{}, the kernel's default; armed timers keep their deadlines", case.write(&cure));
    Some(Found { finding: Finding::DangerousSysctl, why: joined(&said), remedy, cure })
}
