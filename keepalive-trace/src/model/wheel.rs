//! The kernel's timer wheel (`kernel/time/timer.c`): it never fires early, and late by at most one step, which grows with
//! the delay. Once the level in which a timer waits is known, so is the very jiffy at which it fires.
use super::window::Window;

/// Each level's steps are eight times those of the level below.
const LEVEL_SHIFT: u32 = 3;
/// Delays below this many jiffies are kept to the jiffy; each further level reaches eight times as far.
const REACH: u64 = 63;

/// A timer in the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// Jiffies from now to its deadline (`timer_list.expires`); below 0 where that has passed.
    pub left: i64,
    /// The deadline's low half, jiffies: where it lies in its slot.
    pub expires: u32,
    /// The level in which it waits, where the kernel tells (`timer_list.flags`).
    pub level: Option<u8>,
}

impl Armed {
    /// To its deadline, milliseconds.
    pub fn left_ms(&self, hz: u32) -> i64 {
        self.left * 1000 / i64::from(hz.max(1))
    }

    /// When it fires, from now. To the jiffy where the level is known: at the end of its slot, which may still be ahead
    /// though the deadline has passed. Elsewhere it follows from the longest delay, in jiffies, that it can have been armed
    /// with.
    ///
    /// A delay beyond the wheel's capacity ends there, and a timer in the last level may have been such a one.
    pub fn fires(&self, longest_delay: u64, hz: u32) -> Window {
        let Self { left, expires, level } = *self;
        let longest = longest_delay.max(u64::try_from(left).unwrap_or(0));
        let late = level.map_or_else(|| lateness(longest, hz), |level| Window::exactly(rounding(expires, level)));
        let from_now = |late: u64| u64::try_from(left.saturating_add_unsigned(late)).map_or(1, |jiffies| jiffies.max(1));
        let window = Window { earliest: from_now(late.earliest), latest: from_now(late.latest) };
        if longest < cutoff(hz) || level.is_some_and(|level| level < last_level(hz)) {
            return window;
        }
        let capacity = leg(longest, hz);
        let armed_ago = i64::try_from(longest).unwrap_or(i64::MAX).saturating_sub(left);
        let forced = capacity.earliest.saturating_sub(u64::try_from(armed_ago).unwrap_or(0)).max(1);
        // The wheel's clock may be a tick ahead, so that the delay was one less.
        let beyond = u64::try_from(left).is_ok_and(|left| left > cutoff(hz));
        Window {
            earliest: window.earliest.min(forced),
            latest: if beyond { window.latest.min(capacity.latest) } else { window.latest },
        }
    }
}

/// `LVL_DEPTH - 1`: slow clocks do with one level less.
fn last_level(hz: u32) -> u8 {
    if hz > 100 { 8 } else { 7 }
}

fn granularity(level: u8) -> u64 {
    1 << (u32::from(level.min(8)) * LEVEL_SHIFT)
}

/// `WHEEL_TIMEOUT_CUTOFF`, jiffies: from here on a delay is cut to `WHEEL_TIMEOUT_MAX`.
pub fn cutoff(hz: u32) -> u64 {
    REACH * granularity(last_level(hz))
}

/// In which level a timer waits that is armed with this delay, jiffies: `calc_wheel_index`.
pub fn level(delay: u64, hz: u32) -> u8 {
    let last = last_level(hz);
    (0..last).find(|level| delay < REACH * granularity(*level)).unwrap_or(last)
}

/// By how many jiffies a timer that is armed with this delay may fire late.
pub fn step(delay: u64, hz: u32) -> u64 {
    granularity(level(delay, hz))
}

/// The same for a delay in seconds, in milliseconds. A delay of 0 or less fires at the next tick.
pub fn step_ms(delay_s: i64, hz: u32) -> i64 {
    let delay = u64::try_from(delay_s).unwrap_or(0).saturating_mul(hz.into());
    i64::try_from(step(delay, hz) * 1000 / u64::from(hz.max(1))).unwrap_or(i64::MAX)
}

/// Jiffies from a deadline to the end of its slot, where the timer fires: `calc_index`. The deadline's low half is enough
/// for every level.
pub fn rounding(expires: u32, level: u8) -> u64 {
    let granularity = granularity(level);
    granularity - u64::from(expires) % granularity
}

/// How long after its deadline a timer may fire, jiffies, wherever in its slot that lies.
pub fn lateness(delay: u64, hz: u32) -> Window {
    Window { earliest: 1, latest: step(delay, hz) }
}

/// From arming with this delay to firing. One that is beyond the wheel's capacity ends there, early.
pub fn leg(delay: u64, hz: u32) -> Window {
    let held = if delay < cutoff(hz) { delay } else { cutoff(hz) - granularity(last_level(hz)) };
    Window::exactly(held).then(lateness(delay, hz))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
