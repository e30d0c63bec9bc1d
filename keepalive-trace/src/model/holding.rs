//! Who holds a socket, as far as somebody looked.
use super::owner::{Owner, Owners, Task};

/// A process holds this socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The kernel's address of the socket.
    pub socket: u64,
    pub netns: Option<u32>,
    pub local_port: u16,
    pub remote_port: u16,
    pub task: Task,
}

/// What tells one use of a socket from another, and who was known to hold it before.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    pub netns: Option<u32>,
    pub local_port: u16,
    pub remote_port: u16,
    /// The process that opened it.
    pub opener: Option<u32>,
}

/// Of all that hold a socket: the one that was asked for, else the one that opened it, else the first.
pub fn chosen(wanted: &Owners, held: &[Holding], of: Use) -> Option<Owner> {
    let Use { netns, local_port, remote_port, opener } = of;
    let is_it = |holding: &&Holding| {
        (holding.local_port, holding.remote_port) == (local_port, remote_port)
            && netns.zip(holding.netns).is_none_or(|(one, other)| one == other)
    };
    let tasks = || held.iter().filter(is_it).map(|holding| holding.task);
    let asked = tasks().find(|task| !wanted.all() && wanted.wants(Some(task)));
    let task = asked.or_else(|| tasks().find(|task| Some(task.pid) == opener)).or_else(|| tasks().next())?;
    Some(Owner { task, holders: u32::try_from(tasks().count()).unwrap_or(u32::MAX) })
}

/// Those of this socket, in a list that is sorted by socket.
pub fn holders_of(all: &[Holding], socket: u64) -> &[Holding] {
    let from = all.partition_point(|holding| holding.socket < socket);
    // Mostly there is one.
    let count = all[from..].iter().take_while(|holding| holding.socket == socket).count();
    &all[from..from + count]
}
