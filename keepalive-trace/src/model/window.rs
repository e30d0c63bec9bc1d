//! Spans of time in which something will happen: in jiffies as the kernel counts, and in milliseconds as people do.

/// When something happens, jiffies from the present one: 1 is the next tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub earliest: u64,
    pub latest: u64,
}

/// When something happens, milliseconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowMs {
    pub earliest_ms: i64,
    pub latest_ms: i64,
}

impl Window {
    pub fn exactly(jiffies: u64) -> Self {
        Self { earliest: jiffies, latest: jiffies }
    }

    /// One after the other.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let Self { earliest, latest } = next;
        Self { earliest: self.earliest.saturating_add(earliest), latest: self.latest.saturating_add(latest) }
    }

    /// So many times, one after the other.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        let Self { earliest, latest } = self;
        Self { earliest: earliest.saturating_mul(count), latest: latest.saturating_mul(count) }
    }

    /// In real time. How much of the present jiffy is over is unknown, so that the nth tick from now comes after more than
    /// n - 1 jiffies and at most n; and the tick takes up to one more until it has done its work.
    pub fn ms(self, hz: u32) -> WindowMs {
        let Self { earliest, latest } = self;
        let hz = u64::from(hz.max(1));
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        WindowMs {
            earliest_ms: signed(earliest.saturating_sub(1).saturating_mul(1000) / hz),
            latest_ms: signed(latest.saturating_add(1).saturating_mul(1000).div_ceil(hz)),
        }
    }
}

impl WindowMs {
    pub fn contains(&self, ms: i64) -> bool {
        (self.earliest_ms..=self.latest_ms).contains(&ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_may_come_at_once_and_is_done_within_two_jiffies() {
        assert_eq!(Window::exactly(1).ms(250), WindowMs { earliest_ms: 0, latest_ms: 8 });
    }

    #[test]
    fn what_is_no_whole_millisecond_is_rounded_outwards() {
        assert_eq!(Window { earliest: 2, latest: 3 }.ms(300), WindowMs { earliest_ms: 3, latest_ms: 14 });
    }

    #[test]
    fn windows_without_end_stay_without_end() {
        let endless = Window { earliest: u64::MAX, latest: u64::MAX };
        assert_eq!(endless.then(endless).times(9), endless);
        assert!(endless.ms(100).latest_ms > 0);
    }
}
