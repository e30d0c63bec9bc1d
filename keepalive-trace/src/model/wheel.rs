//! The kernel's timer wheel (`kernel/time/timer.c`): it never fires early, and late by at most one step, which grows with
//! the delay.

/// Each level's steps are eight times those of the level below.
const LEVEL_SHIFT: u32 = 3;
/// Delays below this many jiffies are kept to the jiffy; each further level reaches eight times as far.
const REACH: u64 = 63;
const LEVELS: u32 = 9;

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

/// By how many jiffies a timer that was armed with this delay may fire late: `calc_wheel_index`.
pub fn step(delay: u64) -> u64 {
    let level = (0..LEVELS - 1).find(|level| delay < REACH << (level * LEVEL_SHIFT)).unwrap_or(LEVELS - 1);
    1 << (level * LEVEL_SHIFT)
}

/// The same for a delay in seconds, in milliseconds. A delay of 0 or less fires at the next tick.
pub fn step_ms(delay_s: i64, hz: u32) -> i64 {
    let delay = u64::try_from(delay_s).unwrap_or(0).saturating_mul(hz.into());
    i64::try_from(step(delay) * 1000 / u64::from(hz.max(1))).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_one_jiffy_up_to_62_and_then_eight_times_more_at_each_level() {
        for (delay, expected) in
            [(0, 1), (62, 1), (63, 8), (503, 8), (504, 64), (4031, 64), (4032, 512), (32_255, 512), (32_256, 4096)]
        {
            assert_eq!(step(delay), expected, "{delay}");
        }
        assert_eq!(step(u64::MAX), 1 << 24);
    }

    #[test]
    fn the_defaults_are_late_by_up_to_what_was_measured() {
        assert_eq!(step_ms(75, 250), 2048);
        assert_eq!(step_ms(7200, 250), 131_072);
        assert_eq!(step_ms(7200, 1000), 262_144);
        assert_eq!(step_ms(75, 100), 5120);
        assert_eq!(step_ms(-1, 250), 4);
    }

    #[test]
    fn a_step_never_exceeds_an_eighth_of_the_delay_by_more_than_its_first_part() {
        for delay in 63..2_000_000_u64 {
            assert!(step(delay) * 63 <= delay * 8, "{delay}");
        }
    }
}
