//! Which histories are told, and in what order: the worst first.
use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    event::ConnId,
    history::History,
    http::{self, Cause},
    verdict::Verdict,
};

/// So many stories are told unless more are asked for.
pub const FEW: usize = 10;

/// The class of histories in which nothing went wrong.
const FINE: u8 = 6;

/// The place of a history among others: those that died, by verdict; those of which HTTP lost a request; those in danger; those that
/// recovered; the rest. Of the same, the latest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    class: u8,
    verdict: Option<Verdict>,
    /// Nanoseconds since 1970.
    last: Reverse<i64>,
    id: ConnId,
}

impl Rank {
    /// `wall_offset_ns`: CLOCK_REALTIME minus CLOCK_MONOTONIC of the run, nanoseconds.
    pub fn of(history: &History, wall_offset_ns: i64) -> Self {
        let tally = history.tally;
        let class = match history.verdict {
            Some(verdict) if verdict.is_death() => 0,
            _ if history.http().is_some_and(|http| http.cause == Some(Cause::Race)) => 1,
            None if tally.pending > 0 => 2,
            _ if tally.unanswered > 0 => 3,
            Some(verdict) if !verdict.is_orderly() => 4,
            _ if history.http().is_some_and(http::End::is_bad) => 5,
            _ => FINE,
        };
        let last = Reverse(wall_offset_ns.saturating_add_unsigned(history.last_ns));
        Self { class, verdict: history.verdict, last, id: history.id }
    }

    /// Something went wrong.
    pub fn is_bad(self) -> bool {
        self.class < FINE
    }
}

/// Keeps the worst of what it is offered, and counts the others.
#[derive(Debug)]
pub struct Worst<T> {
    /// Also those in which nothing went wrong.
    all: bool,
    limit: usize,
    kept: BinaryHeap<Ranked<T>>,
    /// Past the limit.
    pub more: u64,
    /// Not kept, since nothing went wrong.
    pub fine: u64,
}

#[derive(Debug)]
struct Ranked<T> {
    rank: Rank,
    value: T,
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<T> Worst<T> {
    pub fn new(all: bool, limit: usize) -> Self {
        Self { all, limit, kept: BinaryHeap::new(), more: 0, fine: 0 }
    }

    /// `make` is called for those that are kept, for now.
    pub fn offer(&mut self, rank: Rank, make: impl FnOnce() -> T) {
        if !self.all && !rank.is_bad() {
            self.fine += 1;
            return;
        }
        if self.kept.len() >= self.limit {
            self.more += 1;
            if self.kept.peek().is_none_or(|last| last.rank <= rank) {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(Ranked { rank, value: make() });
    }

    /// What was kept, the worst first.
    pub fn into_sorted(self) -> Vec<T> {
        self.kept.into_sorted_vec().into_iter().map(|ranked| ranked.value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(class: u8, last: i64) -> Rank {
        Rank { class, verdict: None, last: Reverse(last), id: ConnId(0) }
    }

    #[test]
    fn the_worst_are_kept_in_order_and_the_others_counted() {
        let mut worst = Worst::new(false, 3);
        for (class, last) in [(2, 5), (FINE, 9), (0, 1), (2, 7), (1, 1), (FINE, 1)] {
            worst.offer(rank(class, last), || (class, last));
        }
        assert_eq!((worst.more, worst.fine), (1, 2));
        assert_eq!(worst.into_sorted(), [(0, 1), (1, 1), (2, 7)]);
    }

    #[test]
    fn all_of_them_are_kept_where_all_are_asked_for_and_none_where_there_is_no_room() {
        let mut all = Worst::new(true, usize::MAX);
        (0..50).for_each(|last| all.offer(rank(FINE, last), || last));
        assert_eq!(all.into_sorted().len(), 50);
        let mut none = Worst::new(true, 0);
        none.offer(rank(0, 1), || ());
        assert_eq!((none.more, none.into_sorted().len()), (1, 0));
    }
}
