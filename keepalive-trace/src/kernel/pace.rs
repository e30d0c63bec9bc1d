//! How often something costly may be done, whoever provokes it.
use std::time::{Duration, Instant};

/// What may be spent at once...
const BURST: Duration = Duration::from_millis(500);
/// ...and how many times as long it takes to be forgotten: 2 % of a CPU.
const SHARE: u32 = 50;

/// Remembers what was spent, and forgets it slowly.
#[derive(Debug, Default)]
pub struct Pace {
    /// When all that was spent will have been forgotten.
    paid: Option<Instant>,
}

impl Pace {
    /// Does it, unless too much was spent of late.
    pub fn spend<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        let started = Instant::now();
        if self.paid.is_some_and(|paid| paid > started + BURST * SHARE) {
            return None;
        }
        let done = work();
        let now = Instant::now();
        self.paid = Some(self.paid.map_or(now, |paid| paid.max(now)) + started.elapsed() * SHARE);
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_what_goes_on_is_not() {
        let mut pace = Pace::default();
        assert_eq!(pace.spend(|| 7), Some(7));
        pace.paid = Some(Instant::now() + BURST * SHARE + Duration::from_secs(60));
        assert_eq!(pace.spend(|| 7), None);
        pace.paid = Some(Instant::now() + BURST);
        assert_eq!(pace.spend(|| 7), Some(7));
    }
}
