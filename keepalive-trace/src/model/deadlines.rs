//! When keepalive acts on a connection that falls silent: the runs of `tcp_keepalive_timer`, each with the timer wheel's
//! lateness, and the one of them that ends it.
//!
//! A sysctl below 0 disarms: the kernel takes it for some 2^32 jiffies, and that counts as never here. Delays beyond the
//! wheel's capacity (49 days at 250 ticks a second) end there: that is early for an interval, and for the idle time another
//! leg with what is left, so that no probe is ever early.
use super::{
    listing::Listed,
    settings::Settings,
    wheel::{lateness, leg},
    window::{Window, WindowMs},
};

/// When the first probe is sent on a connection that was heard from now. None: never, be it that keepalive is off, that a
/// negative time disarms it, or that 0 probes end it before.
pub fn first_probe(settings: &Settings, hz: u32) -> Option<WindowMs> {
    let unprobed = settings.probes.value == 0 && settings.user_timeout_ms == 0;
    first_run(settings, hz).filter(|_| !unprobed).map(|window| window.ms(hz))
}

/// When keepalive ends a connection that was heard from now and never again. None: never.
pub fn death(settings: &Settings, hz: u32) -> Option<WindowMs> {
    Some(death_after(first_run(settings, hz)?, settings, hz)?.ms(hz))
}

/// When the timer runs again that has just run and found the connection idle for less than the settings' time: it is armed
/// for what is left of that. None where nothing is left, or nothing is armed.
pub fn rearmed(settings: &Settings, elapsed_ms: u64, hz: u32) -> Option<WindowMs> {
    let left = idle(settings, hz)?.checked_sub(jiffies(elapsed_ms, hz)).filter(|left| *left > 0)?;
    Some(leg(left, hz).ms(hz))
}

/// By when keepalive has certainly noticed, milliseconds, if the peer falls silent now. Probes that are already out don't
/// shorten that, and the timer may have been armed with a longer time than the settings have now. None: never.
///
/// As long as data is in flight retransmission rules, and this says nothing.
pub fn detection(listed: &Listed, hz: u32) -> Option<i64> {
    let settings = listed.socket.settings.as_ref()?;
    let first = first_run(settings, hz)?;
    let fresh = death_after(first, settings, hz)?;
    let armed = listed.timer.map(|timer| timer.fires(longest_delay(settings, hz), hz));
    let late = armed.filter(|armed| armed.latest > first.latest);
    let latest = match late {
        Some(armed) => fresh.latest.max(death_after(Window::exactly(armed.latest), settings, hz)?.latest),
        None => fresh.latest,
    };
    Some(Window { latest, ..fresh }.ms(hz).latest_ms)
}

/// When the first run comes that finds the connection idle for long enough.
pub(super) fn first_run(settings: &Settings, hz: u32) -> Option<Window> {
    let idle = idle(settings, hz)?;
    Some(Window::exactly(idle).then(lateness(idle, hz)))
}

/// From a probe to the next run. None: disarmed.
pub(super) fn interval(settings: &Settings, hz: u32) -> Option<Window> {
    in_jiffies(settings.intvl_s.value, hz).map(|delay| leg(delay, hz))
}

/// The longest delay, jiffies, that the timer is armed with under these settings: the idle time, the interval after a probe,
/// or half a second where the queue was full.
pub(super) fn longest_delay(settings: &Settings, hz: u32) -> u64 {
    let [time, intvl] = [settings.time_s.value, settings.intvl_s.value].map(|s| in_jiffies(s, hz).unwrap_or(0));
    time.max(intvl).max(u64::from(hz / 2))
}

/// The run that ends the connection, where this is the first that finds it idle for long enough.
fn death_after(first: Window, settings: &Settings, hz: u32) -> Option<Window> {
    let probes = settings.probes.value;
    match settings.user_timeout_ms {
        0 if probes == 0 => Some(first),
        0 => Some(first.then(interval(settings, hz)?.times(probes.into()))),
        timeout_ms => Some(timed_out(first, interval(settings, hz)?, jiffies(timeout_ms.into(), hz))),
    }
}

/// The first run after the first probe that finds the connection idle for the user timeout, jiffies. The nth run after the
/// first comes at any jiffy between n intervals at their shortest and n at their longest; lateness decides which it is.
fn timed_out(first: Window, interval: Window, timeout: u64) -> Window {
    let run = |n: u64| first.then(interval.times(n));
    let (shortest, longest) = (interval.earliest.max(1), interval.latest.max(1));
    // The first run that can come in time.
    let soonest = timeout.saturating_sub(first.latest).div_ceil(longest).max(1);
    let earliest = run(soonest).earliest.max(timeout);
    // The last run that can come just too early, and the one after it.
    let before = timeout.saturating_sub(1);
    let missed = before.saturating_sub(first.earliest) / shortest;
    let after_missed = if missed > 0 { run(missed).latest.min(before).saturating_add(longest) } else { 0 };
    Window { earliest, latest: run(1).latest.max(after_missed) }
}

/// Jiffies without a sign of life after which the kernel probes. None: it takes a negative time for some 2^32 jiffies.
fn idle(settings: &Settings, hz: u32) -> Option<u64> {
    if !settings.keepalive {
        return None;
    }
    in_jiffies(settings.time_s.value, hz)
}

fn in_jiffies(seconds: i32, hz: u32) -> Option<u64> {
    if hz == 0 {
        return None;
    }
    Some(u64::try_from(seconds).ok()? * u64::from(hz))
}

/// Rounded up, as `msecs_to_jiffies` does; it gives back the jiffies of milliseconds that were rounded down.
fn jiffies(ms: u64, hz: u32) -> u64 {
    ms.saturating_mul(hz.into()).div_ceil(1000)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
