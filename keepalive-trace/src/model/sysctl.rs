//! The keepalive sysctls: their values, and writes to them.
use super::{
    errno::Errno,
    owner::Task,
    settings::{Origin, Settings},
};

/// `net.ipv4.tcp_keepalive_{time,intvl,probes}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    Time,
    Intvl,
    Probes,
}

impl Name {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "net.ipv4.tcp_keepalive_time",
            Self::Intvl => "net.ipv4.tcp_keepalive_intvl",
            Self::Probes => "net.ipv4.tcp_keepalive_probes",
        }
    }

    /// What stands behind its values.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Time | Self::Intvl => " s",
            Self::Probes => "",
        }
    }

    /// The value in force on a socket, where it comes from the sysctl.
    pub fn followed(self, settings: &Settings) -> Option<i64> {
        let (value, origin) = match self {
            Self::Time => (settings.time_s.value.into(), settings.time_s.origin),
            Self::Intvl => (settings.intvl_s.value.into(), settings.intvl_s.origin),
            Self::Probes => (settings.probes.value.into(), settings.probes.origin),
        };
        (settings.keepalive && origin == Origin::Sysctl).then_some(value)
    }
}

/// `net.ipv4.tcp_keepalive_{time,intvl,probes}` of one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctls {
    pub time_s: i64,
    pub intvl_s: i64,
    pub probes: u32,
}

/// Somebody wrote one, however it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub mono_ns: u64,
    /// Inode of the network namespace whose value it is: not always the writer's own.
    pub netns: u32,
    pub name: Name,
    /// The value before: seconds, or a number of probes.
    pub old: i64,
    /// The value after, likewise.
    pub new: i64,
    /// Why nothing was changed.
    pub refused: Option<Errno>,
    pub by: Option<Task>,
}

/// What a write means for the connections that were there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    pub sockets: u64,
    /// Nothing that is armed stands between them and the new value.
    pub now: u64,
    /// Their timer is armed under the old value, and keeps its deadline.
    pub later: u64,
    /// The value is set on the socket.
    pub never_socket: u64,
    /// SO_KEEPALIVE is off.
    pub never_off: u64,
    /// By when those that follow later will have done so.
    pub by: Option<Deadlines>,
}

/// Moments of CLOCK_MONOTONIC, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    pub nearest_ns: u64,
    pub median_ns: u64,
    pub last_ns: u64,
}

impl Following {
    pub fn never(&self) -> u64 {
        self.never_socket + self.never_off
    }
}
