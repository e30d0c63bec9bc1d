//! How long handshakes took, by whom they were made with: what another one to the same address would take.
use std::{collections::VecDeque, net::IpAddr};

use hashbrown::HashMap;

/// How many addresses are kept. Past that the oldest is forgotten.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// The last one's time, microseconds, by namespace and address.
    took: HashMap<(Option<u32>, IpAddr), u32>,
    order: VecDeque<(Option<u32>, IpAddr)>,
}

impl Handshakes {
    pub(super) fn took(&mut self, netns: Option<u32>, peer: IpAddr, us: u32) {
        if self.took.insert((netns, peer), us).is_none() {
            self.order.push_back((netns, peer));
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.took.remove(&oldest);
        }
    }

    pub(super) fn would_take(&self, netns: Option<u32>, peer: IpAddr) -> Option<u32> {
        self.took.get(&(netns, peer)).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn the_last_of_the_same_address_in_the_same_namespace_counts() {
        let mut handshakes = Handshakes::default();
        handshakes.took(Some(1), peer(1), 300);
        handshakes.took(Some(1), peer(1), 200);
        assert_eq!(handshakes.would_take(Some(1), peer(1)), Some(200));
        assert_eq!([(Some(2), peer(1)), (Some(1), peer(2))].map(|(netns, peer)| handshakes.would_take(netns, peer)), [None; 2]);
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let mut handshakes = Handshakes::default();
        (0..=MOST as u32).for_each(|number| handshakes.took(None, peer(number), number));
        assert_eq!((handshakes.took.len(), handshakes.order.len()), (MOST, MOST));
        assert_eq!([peer(0), peer(1)].map(|peer| handshakes.would_take(None, peer)), [None, Some(1)]);
    }
}
