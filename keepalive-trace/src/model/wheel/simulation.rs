//! The kernel's wheel, as plainly as its C code reads, and what of it must agree with the arithmetic.
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

const SIZE: u64 = 64;

/// `struct timer_base`.
struct Wheel {
    clk: u64,
    depth: usize,
    /// Buckets of each level, 64 a level: indices of timers.
    vectors: Vec<Vec<usize>>,
    pending: Vec<usize>,
}

impl Wheel {
    fn new(hz: u32, clk: u64) -> Self {
        let depth = if hz > 100 { 9 } else { 8 };
        Self { clk, depth, vectors: vec![Vec::new(); depth * 64], pending: vec![0; depth] }
    }

    /// `calc_index`.
    fn index(expires: u64, level: usize) -> usize {
        let slot = (expires >> (3 * level)) + 1;
        level * 64 + usize::try_from(slot % SIZE).unwrap()
    }

    /// `calc_wheel_index`.
    fn wheel_index(&self, expires: u64) -> usize {
        let start = |level: usize| (SIZE - 1) << ((level - 1) * 3);
        let delta = expires.wrapping_sub(self.clk);
        if let Some(level) = (0..8).find(|level| delta < start(level + 1)) {
            return Self::index(expires, level);
        }
        if delta.cast_signed() < 0 {
            return usize::try_from(self.clk % SIZE).unwrap();
        }
        let cutoff = start(self.depth);
        let expires = if delta >= cutoff { self.clk + cutoff - (1 << ((self.depth - 1) * 3)) } else { expires };
        Self::index(expires, self.depth - 1)
    }

    /// `enqueue_timer`: the level that the timer's flags then tell.
    fn arm(&mut self, timer: usize, expires: u64) -> u8 {
        let index = self.wheel_index(expires);
        self.vectors[index].push(timer);
        self.pending[index / 64] += 1;
        u8::try_from(index / 64).unwrap()
    }

    /// `collect_expired_timers` and the end of that tick.
    fn tick(&mut self) -> Vec<usize> {
        let mut fired = Vec::new();
        let mut clk = self.clk;
        for level in 0..self.depth {
            let bucket = std::mem::take(&mut self.vectors[level * 64 + usize::try_from(clk % SIZE).unwrap()]);
            self.pending[level] -= bucket.len();
            fired.extend(bucket);
            if !clk.is_multiple_of(8) {
                break;
            }
            clk >>= 3;
        }
        self.clk += 1;
        fired
    }

    /// Ticks at which only levels without timers would be looked at bring nothing: on to the next that may, as an idle
    /// CPU does.
    fn skip(&mut self, until: u64) {
        let empty = self.pending.iter().take_while(|pending| **pending == 0).count();
        let next = self.clk.next_multiple_of(1 << (3 * empty.min(self.depth - 1)));
        self.clk = next.min(until).max(self.clk);
    }
}

/// A timer: how many ticks after the one before it is armed, and for how long from the wheel's clock.
#[derive(Clone, Copy, Debug)]
struct Arming {
    gap: u64,
    delay: i64,
}

fn armings(delays: impl Strategy<Value = i64>, longest_gap: u64) -> impl Strategy<Value = Vec<Arming>> {
    let gaps = prop_oneof![2 => 0..3_u64, 4 => 0..5000_u64, 1 => 0..longest_gap];
    vec((gaps, delays).prop_map(|(gap, delay)| Arming { gap, delay }), 1..120)
}

fn delays() -> impl Strategy<Value = i64> {
    prop_oneof![
        1 => -70..0_i64,
        2 => 0..600_i64,
        4 => 0..4_000_000_i64,
        4 => (0..9_u32, -2..3_i64).prop_map(|(level, around)| (63 << (3 * level)) + around),
        2 => 0..2_000_000_000_i64,
    ]
}

fn clocks() -> impl Strategy<Value = u64> {
    let wrap = u64::from(u32::MAX);
    prop_oneof![0..1_000_000_000_u64, (0..5_000_000_u64).prop_map(move |before| wrap - before)]
}

/// What is known of a timer while it waits.
struct Waiting {
    delay: i64,
    expires: u64,
    armed_at: u64,
    level: u8,
}

impl Waiting {
    fn fires(&self, now: u64, level: Option<u8>, hz: u32) -> Window {
        let left = self.expires.wrapping_sub(now).cast_signed();
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what the kernel side tells")]
        let armed = Armed { left, expires: self.expires as u32, level };
        armed.fires(u64::try_from(self.delay).unwrap_or(0), hz)
    }

    fn check(&self, fired: u64, hz: u32) -> Result<(), TestCaseError> {
        let Self { delay, expires, armed_at, level } = *self;
        let delta = u64::try_from(delay).unwrap_or(0);
        prop_assert_eq!(level, super::level(delta, hz));
        let forced = delta >= cutoff(hz);
        if delay < 0 {
            prop_assert_eq!(fired, armed_at);
        } else if !forced {
            prop_assert_eq!(fired, expires + rounding(u32::try_from(expires & u64::from(u32::MAX)).unwrap(), level));
        }
        if delay >= 0 {
            let window = leg(delta, hz);
            prop_assert!((window.earliest..=window.latest).contains(&(fired - armed_at)), "{:?} {}", window, fired - armed_at);
        }
        // The clock is that of the next tick.
        for now in [armed_at - 1, armed_at + (fired - armed_at) / 3, fired - 1] {
            let now = now.min(fired - 1);
            let (exact, wide) = (self.fires(now, Some(level), hz), self.fires(now, None, hz));
            for window in [exact, wide] {
                prop_assert!((window.earliest..=window.latest).contains(&(fired - now)), "{window:?} {}", fired - now);
            }
            prop_assert!(delta + 1 >= cutoff(hz) || exact.earliest == exact.latest);
        }
        Ok(())
    }
}

/// All of them in one run of the wheel: each fires once, and when the arithmetic says.
fn check_all(mut wheel: Wheel, armings: &[Arming], hz: u32, skips: bool) -> Result<(), TestCaseError> {
    let mut waiting: Vec<Option<Waiting>> = Vec::new();
    let mut coming = armings.iter().copied().peekable();
    let mut next_at = wheel.clk + armings[0].gap;
    while coming.peek().is_some() || wheel.pending.iter().any(|pending| *pending > 0) {
        while let Some(Arming { delay, .. }) = coming.next_if(|_| wheel.clk >= next_at) {
            let expires = wheel.clk.wrapping_add_signed(delay);
            let level = wheel.arm(waiting.len(), expires);
            waiting.push(Some(Waiting { delay, expires, armed_at: wheel.clk, level }));
            next_at = wheel.clk + coming.peek().map_or(0, |next| next.gap);
        }
        if skips {
            wheel.skip(if coming.peek().is_some() { next_at } else { u64::MAX });
        }
        let now = wheel.clk;
        if coming.peek().is_some() && now >= next_at {
            continue;
        }
        for timer in wheel.tick() {
            waiting[timer].take().expect("a timer fires once").check(now, hz)?;
        }
    }
    prop_assert!(waiting.iter().all(Option::is_none));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn every_timer_fires_at_the_very_jiffy_that_its_level_tells(
        hz in select(vec![100, 250, 300, 1000]), start in clocks(), armings in armings(delays(), 3_000_000),
    ) {
        check_all(Wheel::new(hz, start.max(100)), &armings, hz, true)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2) })]

    #[test]
    fn the_same_holds_where_every_single_tick_is_taken(start in clocks(), armings in armings(-70..1_200_000_i64, 5000)) {
        for hz in [100, 250, 300, 1000] {
            check_all(Wheel::new(hz, start.max(100)), &armings, hz, false)?;
        }
    }
}
