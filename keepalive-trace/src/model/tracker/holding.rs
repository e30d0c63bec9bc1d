//! Who holds a socket, as far as somebody looked.
use crate::model::{
    history::History,
    owner::{Owner, Owners, Task},
};

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

/// Of all that hold a socket: the one that was asked for, else the one that opened it, else the first.
pub(super) fn chosen(wanted: &Owners, held: &[Holding], history: &History) -> Option<Owner> {
    let ports = (history.local().port(), history.remote().port());
    let is_it = |holding: &&Holding| {
        (holding.local_port, holding.remote_port) == ports
            && history.netns().zip(holding.netns).is_none_or(|(one, other)| one == other)
    };
    let tasks = || held.iter().filter(is_it).map(|holding| holding.task);
    let opener = history.owner().map(|owner| owner.task.pid);
    let asked = tasks().find(|task| !wanted.all() && wanted.wants(Some(task)));
    let task = asked.or_else(|| tasks().find(|task| Some(task.pid) == opener)).or_else(|| tasks().next())?;
    Some(Owner { task, holders: u32::try_from(tasks().count()).unwrap_or(u32::MAX) })
}
