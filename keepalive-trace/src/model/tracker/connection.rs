//! From a socket that was seen to the connection that is told of.
use std::sync::Arc;

use crate::model::{
    event::{Body, Connection, Event, Open},
    history::History,
    holding::Use,
    sighting::Socket,
    state::State,
};

/// A history and the event that it begins with.
pub(super) fn opened(first: Connection, at_ns: u64, open: Open) -> (History, Event) {
    let mut history = History::begin(&first, at_ns);
    let event = Event { mono_ns: at_ns, body: Body::Open(first, open) };
    history.apply(&event);
    (history, event)
}

/// The use of its socket that a history tells of.
pub(super) fn used(history: &History) -> Use {
    Use {
        netns: history.netns(),
        local_port: history.local().port(),
        remote_port: history.remote().port(),
        opener: history.owner().map(|owner| owner.task.pid),
    }
}

/// The same of a connection that begins.
pub(super) fn used_first(first: &Connection) -> Use {
    Use {
        netns: first.netns,
        local_port: first.local.port(),
        remote_port: first.remote.port(),
        opener: first.owner.map(|owner| owner.task.pid),
    }
}

/// The connection at an event. What this sighting leaves out is as it was before.
pub(super) fn connection(socket: &Socket, history: &History, cgroup: Option<Arc<str>>) -> Connection {
    let seen = socket.connection(history.id, history.owner());
    Connection { cgroup: seen.cgroup.or(cgroup), settings: seen.settings.or(history.settings()), ..seen }
}

/// What is known of a connection without looking at its socket, which may be another's by now.
pub(super) fn remembered(history: &History, address: u64, state: State) -> Socket {
    Socket {
        address,
        cookie: None,
        family: history.family,
        local: history.local(),
        remote: history.remote(),
        netns: history.netns(),
        cgroup: None,
        state,
        orphan: false,
        settings: history.settings(),
        idle_ms: None,
        probes_out: None,
        clock: None,
    }
}
