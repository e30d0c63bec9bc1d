//! A bounded table of connections: one slab in pages, a small index by socket, and two queues that say who goes first.
use hashbrown::HashTable;

/// Entries of a page: the slab grows by pages, and never copies itself.
const PAGE: usize = 1024;
/// Links use the uppermost bit for what else is to be known of a node.
const FLAG: u32 = 1 << 31;
const NONE: u32 = FLAG - 1;

/// Where an entry is, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

/// Entries by socket. Past `capacity` the one that ended longest ago goes, else the one unseen longest.
#[derive(Debug)]
pub struct Table<T> {
    capacity: usize,
    pages: Vec<Vec<Node<T>>>,
    len: u32,
    /// The latest entry of each socket.
    index: HashTable<u32>,
    living: Queue,
    ended: Queue,
}

#[derive(Debug)]
struct Node<T> {
    socket: u64,
    /// Flagged when it has ended.
    before: Link,
    /// Flagged when the index has it.
    after: Link,
    value: T,
}

/// To another node, with a flag.
#[derive(Clone, Copy, Debug)]
struct Link(u32);

impl Link {
    fn new(slot: u32, flag: bool) -> Self {
        Self(slot | if flag { FLAG } else { 0 })
    }

    fn slot(self) -> u32 {
        self.0 & !FLAG
    }

    fn flag(self) -> bool {
        self.0 & FLAG != 0
    }

    fn set_slot(&mut self, slot: u32) {
        *self = Self::new(slot, self.flag());
    }

    fn set_flag(&mut self, flag: bool) {
        *self = Self::new(self.slot(), flag);
    }
}

/// A list through the nodes, the oldest first.
#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u32,
    last: u32,
}

impl Queue {
    const EMPTY: Self = Self { first: NONE, last: NONE };
}

impl<T> Table<T> {
    /// At least one.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, NONE as usize);
        Self { capacity, pages: Vec::new(), len: 0, index: HashTable::new(), living: Queue::EMPTY, ended: Queue::EMPTY }
    }

    /// The latest entry of a socket.
    pub fn find(&self, socket: u64) -> Option<Slot> {
        self.index.find(hash(socket), |slot| self.node(*slot).socket == socket).map(|slot| Slot(*slot))
    }

    pub fn get(&self, slot: Slot) -> &T {
        &self.node(slot.0).value
    }

    pub fn get_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.node_mut(slot.0).value
    }

    /// All entries, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.iter_mut().flatten().map(|node| &mut node.value)
    }

    pub fn is_ended(&self, slot: Slot) -> bool {
        self.node(slot.0).before.flag()
    }

    /// A new living entry, which is from now on what [`Self::find`] finds; and the one that had to go for it.
    pub fn insert(&mut self, socket: u64, value: T) -> (Slot, Option<T>) {
        if let Some(Slot(old)) = self.find(socket) {
            self.unindex(old);
        }
        let node = Node { socket, before: Link::new(NONE, false), after: Link::new(NONE, true), value };
        let (slot, evicted) = if let Some(Slot(slot)) = self.next_to_go() {
            self.unlink(slot);
            self.unindex(slot);
            (slot, Some(std::mem::replace(self.node_mut(slot), node).value))
        } else {
            let slot = self.len;
            if (self.len as usize).is_multiple_of(PAGE) {
                self.pages.push(Vec::with_capacity(PAGE.min(self.capacity - self.len as usize)));
            }
            if let Some(page) = self.pages.last_mut() {
                page.push(node);
            }
            self.len += 1;
            (slot, None)
        };
        self.link(slot);
        let Self { pages, index, .. } = self;
        index.insert_unique(hash(socket), slot, |slot| hash(pages[*slot as usize / PAGE][*slot as usize % PAGE].socket));
        (Slot(slot), evicted)
    }

    /// The one that has to go for the next new entry.
    pub fn next_to_go(&self) -> Option<Slot> {
        let first = if self.ended.first == NONE { self.living.first } else { self.ended.first };
        (self.len as usize == self.capacity && first != NONE).then_some(Slot(first))
    }

    /// It was seen just now.
    pub fn touch(&mut self, slot: Slot) {
        if !self.is_ended(slot) {
            self.unlink(slot.0);
            self.link(slot.0);
        }
    }

    /// It has ended: it goes before all that live.
    pub fn end(&mut self, slot: Slot) {
        self.unlink(slot.0);
        self.node_mut(slot.0).before.set_flag(true);
        self.link(slot.0);
    }

    /// All entries that have not ended, with their sockets.
    pub fn living(&self) -> impl Iterator<Item = (u64, Slot)> {
        let nodes = self.pages.iter().flatten().zip(0..);
        nodes.filter(|(node, _)| !node.before.flag()).map(|(node, slot)| (node.socket, Slot(slot)))
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten().map(|node| &node.value)
    }

    fn node(&self, slot: u32) -> &Node<T> {
        &self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    fn node_mut(&mut self, slot: u32) -> &mut Node<T> {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    fn unindex(&mut self, slot: u32) {
        let node = self.node_mut(slot);
        if node.after.flag() {
            node.after.set_flag(false);
            let hash = hash(node.socket);
            if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
                entry.remove();
            }
        }
    }

    fn queue(&mut self, ended: bool) -> &mut Queue {
        if ended { &mut self.ended } else { &mut self.living }
    }

    /// To the end of its queue.
    fn link(&mut self, slot: u32) {
        let ended = self.is_ended(Slot(slot));
        let queue = self.queue(ended);
        let last = std::mem::replace(&mut queue.last, slot);
        if last == NONE {
            queue.first = slot;
        } else {
            self.node_mut(last).after.set_slot(slot);
        }
        let node = self.node_mut(slot);
        node.before.set_slot(last);
        node.after.set_slot(NONE);
    }

    /// Out of its queue.
    fn unlink(&mut self, slot: u32) {
        let &Node { before, after, .. } = self.node(slot);
        let (before, after, ended) = (before.slot(), after.slot(), before.flag());
        if before == NONE {
            self.queue(ended).first = after;
        } else {
            self.node_mut(before).after.set_slot(after);
        }
        if after == NONE {
            self.queue(ended).last = before;
        } else {
            self.node_mut(after).before.set_slot(before);
        }
    }
}

/// Sockets are some KiB apart, and nobody chooses their addresses: one multiplication spreads them well enough over both the
/// upper bits and the lower ones.
fn hash(socket: u64) -> u64 {
    let spread = socket.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    spread ^ spread >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ended_goes_first_and_then_the_one_unseen_longest() {
        let mut table = Table::new(3);
        let slots = [1, 2, 3].map(|socket| table.insert(socket, socket).0);
        table.touch(slots[0]);
        table.end(slots[2]);
        assert_eq!(table.insert(4, 4).1, Some(3), "ended");
        assert_eq!(table.insert(5, 5).1, Some(2), "unseen since it came");
        assert_eq!(table.insert(6, 6).1, Some(1), "touched, but before 4 came");
        assert_eq!([4, 5, 6, 1].map(|socket| table.find(socket).is_some()), [true, true, true, false]);
    }

    #[test]
    fn a_socket_used_again_is_found_as_its_latest_entry_and_both_stay() {
        let mut table = Table::new(3);
        let (first, _) = table.insert(7, "first");
        table.end(first);
        table.insert(7, "second");
        assert_eq!(table.find(7).map(|slot| *table.get(slot)), Some("second"));
        assert_eq!(table.iter().count(), 2);
        table.insert(8, "third");
        assert_eq!(table.insert(9, "fourth").1, Some("first"));
        assert_eq!(table.find(7).map(|slot| *table.get(slot)), Some("second"), "its forerunner took nothing with it");
    }

    #[test]
    fn it_never_outgrows_its_capacity_whatever_is_done() {
        let mut table = Table::new(2000);
        for round in 0..20_000_u64 {
            let (slot, evicted) = table.insert(round % 3000, round);
            assert_eq!(evicted.is_some(), round >= 2000);
            match round % 3 {
                0 => table.end(slot),
                1 => table.touch(slot),
                _ => {}
            }
        }
        assert_eq!((table.iter().count(), table.index.len() <= 2000), (2000, true));
    }
}
