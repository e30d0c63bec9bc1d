//! Rules about when probes come, and when they have told.
use super::{
    Finding, Found,
    case::Case,
    remedy::{INTVL, Knob, LONGEST_OPTION_S, TIME, duration, joined, quick, quickest, within_limit},
};
use crate::model::{
    deadlines::{detection, first_run, interval, longest_delay},
    settings::{Origin, Settings},
    wheel::level,
};

pub fn late_for_limit(case: &Case<'_>) -> Option<Found> {
    let (limit, hz) = (case.limits.idle_limit_ms?, case.limits.hz);
    // One that is ended unprobed is a finding by itself.
    let unprobed = case.settings.probes.value == 0 && case.settings.user_timeout_ms == 0;
    if !case.on() || unprobed || hz == 0 {
        return None;
    }
    let why = format!("{}, and the limit is {}", lateness(case, limit)?, duration(limit));
    let Some(cure) = within_limit(case.settings, limit, hz) else {
        let remedy = "no TCP_KEEPIDLE keeps it, 1 s being the least: raise the limit".to_owned();
        return Some(Found { finding: Finding::LateForLimit, why, remedy, cure: Vec::new() });
    };
    let mut remedy = format!("{} in {}", joined(&cure), case.owner());
    let sysctls = same_by_sysctl(case.settings, &cure);
    if !sysctls.is_empty() {
        remedy += &format!(", which takes effect at once; or {}, but armed timers keep their deadlines", case.write(&sysctls));
    }
    Some(Found { finding: Finding::LateForLimit, why, remedy, cure })
}

/// Which probe can come after the limit, and how long after.
fn lateness(case: &Case<'_>, limit: i64) -> Option<String> {
    let hz = case.limits.hz;
    let time = case.settings.time_s.value;
    let Some(first) = first_run(case.settings, hz).map(|window| window.ms(hz).latest_ms) else {
        return Some(format!("with a time of {time} s no probe comes for months"));
    };
    if first > limit {
        return Some(format!("the first probe can come {} after the last sign of life (time {time} s)", duration(first)));
    }
    let fresh = case.listed.socket.probes_out == Some(0) && !case.busy();
    let fires = case.fires().filter(|_| fresh).zip(case.idle_ms()).map(|(fires, idle)| fires.latest_ms + idle);
    if let Some(idle) = fires.filter(|idle| *idle > limit) {
        return Some(format!("the armed timer can fire when it has been idle for {}", duration(idle)));
    }
    // One that is no longer than the time is never later than the first probe.
    let intvl = case.settings.intvl_s.value;
    match interval(case.settings, hz).map(|window| window.ms(hz).latest_ms) {
        None => Some(format!("with an interval of {intvl} s no second probe comes for months")),
        Some(apart) if apart > limit => Some(format!("the next probe can come {} after the first", duration(apart))),
        Some(_) => None,
    }
}

/// What would do the same by sysctl, for the values that come from there.
fn same_by_sysctl(settings: &Settings, knobs: &[Knob]) -> Vec<Knob> {
    let sysctl = |knob: &Knob| match *knob {
        Knob::KeepIdle(s) if settings.time_s.origin == Origin::Sysctl => Some((TIME, s)),
        Knob::KeepIntvl(s) if settings.intvl_s.origin == Origin::Sysctl => Some((INTVL, s)),
        _ => None,
    };
    knobs.iter().filter_map(sysctl).map(|(name, s)| Knob::Sysctl { name, value: s.into() }).collect()
}

/// A probe that was answered leaves the timer armed for the interval, so that only more than that tells.
pub fn armed_before_sysctl(case: &Case<'_>) -> Option<Found> {
    let hz = case.limits.hz;
    let Settings { keepalive: _, time_s, intvl_s, probes: _, user_timeout_ms: _ } = case.settings;
    let (timer, unprobed) = (case.listed.timer?, case.listed.socket.probes_out == Some(0));
    let sane = hz > 0 && time_s.value >= 0 && intvl_s.value >= 0;
    if !case.on() || time_s.origin != Origin::Sysctl || !unprobed || !sane {
        return None;
    }
    let longest = longest_delay(case.settings, hz);
    let left = u64::try_from(timer.left).unwrap_or(0);
    // A wheel whose clock lags may put a timer into the next level.
    let higher = timer.level.is_some_and(|armed| armed > level(longest + u64::from(hz), hz));
    if left <= longest && !higher {
        return None;
    }
    let fires = timer.fires(longest, hz).ms(hz);
    let option = u32::try_from(time_s.value).ok().filter(|time| (1..=LONGEST_OPTION_S).contains(time));
    let cure = option.map_or_else(|| vec![Knob::KeepAlive(false), Knob::KeepAlive(true)], |time| vec![Knob::KeepIdle(time)]);
    let re_arm = option.map_or_else(|| "SO_KEEPALIVE off and on".to_owned(), |time| Knob::KeepIdle(time).to_string());
    let fires = duration(fires.latest_ms);
    Some(Found {
        finding: Finding::ArmedBeforeSysctl,
        why: format!("the timer fires within {fires} and was armed for longer than {TIME} is now, {} s", time_s.value),
        remedy: format!("{re_arm} in {} re-arms it at once; else it follows when it fires, within {fires}", case.owner()),
        cure,
    })
}

pub fn slow_detection(case: &Case<'_>) -> Option<Found> {
    let (within, hz) = (case.limits.detect_within_ms?, case.limits.hz);
    let takes = detection(case.listed, hz);
    if hz == 0 || takes.is_some_and(|takes| takes <= within) {
        return None;
    }
    let takes = takes.map_or_else(
        || "keepalive never notices a dead peer".to_owned(),
        |takes| format!("keepalive can take {} to notice a dead peer", duration(takes)),
    );
    let why = format!("{takes}, and that shall take {} at most", duration(within));
    let Some(quick) = quick(case.settings, within, hz) else {
        let least = quickest(hz).map_or_else(String::new, |ms| format!(", {} being the least", duration(ms)));
        let remedy = format!("keepalive can't be that fast{least}: allow more, or ask the peer in the application's protocol");
        return Some(Found { finding: Finding::SlowDetection, why, remedy, cure: Vec::new() });
    };
    Some(Found {
        finding: Finding::SlowDetection,
        why,
        remedy: format!("{} in {}: at most {}", joined(&quick.knobs), case.owner(), duration(quick.latest_ms)),
        cure: quick.knobs,
    })
}
