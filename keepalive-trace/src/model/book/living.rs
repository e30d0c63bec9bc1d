//! The connections that live, among a million too.
use std::{hash::BuildHasher as _, hint::black_box, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

use crate::model::{
    event::{ConnId, Connection},
    history::History,
};

/// What is kept of a connection. It begins where a cache line does, so that what events change of it lies in two.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Page {
    pub(super) cgroup: Option<Arc<str>>,
    pub(super) history: History,
}

impl Page {
    pub(super) fn new(connection: &Connection, at_ns: u64) -> Self {
        Self { history: History::begin(connection, at_ns), cgroup: connection.cgroup.clone() }
    }
}

/// Pages by their connections.
#[derive(Debug, Default)]
pub(super) struct Living {
    /// Numbers of pages alone: small, so that much of it stays near.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    pages: Slab<Page>,
    /// What was fetched last, in the order in which it was asked for.
    fetched: Vec<u32>,
    hashes: Vec<u64>,
}

/// No page has it.
const NONE: u32 = u32::MAX;

impl Living {
    /// A connection's page; a new one, where it has none and `begin` gives it one. It is the `nth` that was fetched, if any.
    pub(super) fn page(&mut self, id: ConnId, nth: Option<usize>, begin: impl FnOnce() -> Option<Page>) -> Option<&mut Page> {
        let Self { index, hasher, pages, fetched, .. } = self;
        let fetched = nth.and_then(|nth| fetched.get(nth)).filter(|number| is_of(pages, **number, id));
        if let Some(number) = fetched {
            return pages.get_mut(*number as usize);
        }
        let hash = hasher.hash_one(id);
        let number = match index.find(hash, |number| is_of(pages, *number, id)) {
            Some(number) => *number,
            None => {
                let number = pages.insert(begin()?) as u32;
                index.insert_unique(hash, number, |number| hasher.hash_one(pages[*number as usize].history.id));
                number
            }
        };
        pages.get_mut(number as usize)
    }

    /// Takes a connection's page out.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Page> {
        let Self { index, hasher, pages, .. } = self;
        let found = index.find_entry(hasher.hash_one(id), |number| is_of(pages, *number, id)).ok()?;
        let (number, _) = found.remove();
        pages.try_remove(number as usize)
    }

    /// Those that are left, the oldest page first.
    pub(super) fn pages(self) -> impl Iterator<Item = Page> {
        self.pages.into_iter().map(|(_, page)| page)
    }

    /// Fetches what is needed of some connections soon. They lie anywhere in a large table: looked at one after the other, with
    /// as little between as can be, and nothing that waits for what is found, they are waited for together.
    pub(super) fn fetch(&mut self, ids: impl Iterator<Item = Option<ConnId>>) {
        let Self { index, hasher, pages, fetched, hashes } = self;
        hashes.clear();
        // Where there is none, whatever is found is of no use and does no harm.
        hashes.extend(ids.map(|id| hasher.hash_one(id.unwrap_or(ConnId(0)))));
        fetched.clear();
        fetched.extend(hashes.iter().map(|hash| index.iter_hash(*hash).next().copied().unwrap_or(NONE)));
        let near = |look: fn(&History) -> u64| {
            let pages = fetched.iter().filter_map(|number| pages.get(*number as usize));
            pages.fold(0_u64, |sum, page| sum.wrapping_add(look(&page.history)))
        };
        black_box((near(History::fetch), near(History::fetch_round)));
    }
}

fn is_of(pages: &Slab<Page>, number: u32, id: ConnId) -> bool {
    pages.get(number as usize).is_some_and(|page| page.history.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_three_lines() {
        assert_eq!(size_of::<Option<Page>>(), 192);
    }
}
