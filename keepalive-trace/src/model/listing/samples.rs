//! Sockets as tests list them.
use std::net::SocketAddr;

use super::*;
use crate::model::{
    event::Family,
    owner::{Comm, Task},
    settings::{Settings, Sourced},
    state::State,
};

/// Keepalive on, without a user timeout, all from the namespace's sysctls.
pub fn by_sysctl(time_s: i32, intvl_s: i32, probes: u32) -> Settings {
    Settings {
        keepalive: true,
        time_s: Sourced::pick(0, time_s),
        intvl_s: Sourced::pick(0, intvl_s),
        probes: Sourced::pick(0, probes),
        user_timeout_ms: 0,
    }
}

/// The same, set on the socket where not 0.
pub fn by_socket(time_s: i32, intvl_s: i32, probes: u32) -> Settings {
    Settings {
        time_s: Sourced::pick(time_s, 0),
        intvl_s: Sourced::pick(intvl_s, 0),
        probes: Sourced::pick(probes, 0),
        ..by_sysctl(0, 0, 0)
    }
}

/// An established connection of `app[812]` in network namespace 7, heard from just now, its timer unknown.
pub fn listed(settings: Settings) -> Listed {
    Listed {
        mono_ns: 0,
        socket: Socket {
            address: 1,
            cookie: None,
            family: Family::V4,
            local: SocketAddr::from(([10, 0, 0, 5], 51334)),
            remote: SocketAddr::from(([10, 0, 0, 9], 5432)),
            netns: Some(7),
            cgroup: None,
            state: State::ESTABLISHED,
            orphan: false,
            settings: Some(settings),
            idle_ms: Some(0),
            probes_out: Some(0),
            clock: None,
        },
        owner: Some(Owner::alone(Task { pid: 812, comm: Comm::from("app") })),
        timer: None,
        queued: None,
    }
}

/// The same, idle for so long.
pub fn idle_for(idle_ms: u64, settings: Settings) -> Listed {
    let listed = listed(settings);
    Listed { socket: Socket { idle_ms: Some(idle_ms), ..listed.socket }, ..listed }
}

/// The same, with its timer armed.
pub fn armed(timer: Armed, settings: Settings) -> Listed {
    Listed { timer: Some(timer), ..listed(settings) }
}
