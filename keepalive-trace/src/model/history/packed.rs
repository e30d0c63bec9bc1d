//! What every history has, in as few bytes as it takes.
use std::num::NonZeroU32;

use crate::model::{
    owner::{Comm, Owner, Task},
    settings::{Origin, Settings, Sourced},
};

/// An owner in 24 bytes; nobody where no process holds anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PackedOwner {
    pid: u32,
    holders: u32,
    comm: Comm,
}

impl From<Option<Owner>> for PackedOwner {
    fn from(owner: Option<Owner>) -> Self {
        let packed = |Owner { task: Task { pid, comm }, holders }| Self { pid, holders: holders.max(1), comm };
        owner.map(packed).unwrap_or_default()
    }
}

impl PackedOwner {
    pub(super) fn get(self) -> Option<Owner> {
        let Self { pid, holders, comm } = self;
        (holders > 0).then_some(Owner { task: Task { pid, comm }, holders })
    }
}

/// Settings in 17 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed)]
pub(super) struct PackedSettings {
    flags: u8,
    time_s: i32,
    intvl_s: i32,
    probes: u32,
    user_timeout_ms: u32,
}

const KNOWN: u8 = 1;
const KEEPALIVE: u8 = 2;
/// Set on the socket.
const TIME: u8 = 4;
const INTVL: u8 = 8;
const PROBES: u8 = 16;

impl From<Option<Settings>> for PackedSettings {
    fn from(settings: Option<Settings>) -> Self {
        let Some(Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms }) = settings else { return Self::default() };
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let flags = KNOWN
            | bit(keepalive, KEEPALIVE)
            | bit(time_s.origin == Origin::Socket, TIME)
            | bit(intvl_s.origin == Origin::Socket, INTVL)
            | bit(probes.origin == Origin::Socket, PROBES);
        Self { flags, time_s: time_s.value, intvl_s: intvl_s.value, probes: probes.value, user_timeout_ms }
    }
}

impl PackedSettings {
    pub(super) fn is_known(self) -> bool {
        self.flags & KNOWN != 0
    }

    pub(super) fn get(self) -> Option<Settings> {
        let Self { flags, time_s, intvl_s, probes, user_timeout_ms } = self;
        let origin = |bit: u8| if flags & bit != 0 { Origin::Socket } else { Origin::Sysctl };
        (flags & KNOWN != 0).then_some(Settings {
            keepalive: flags & KEEPALIVE != 0,
            time_s: Sourced { value: time_s, origin: origin(TIME) },
            intvl_s: Sourced { value: intvl_s, origin: origin(INTVL) },
            probes: Sourced { value: probes, origin: origin(PROBES) },
            user_timeout_ms,
        })
    }
}

/// Microseconds up to some 71 minutes in 4 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PackedMicros(Option<NonZeroU32>);

impl From<Option<u64>> for PackedMicros {
    fn from(us: Option<u64>) -> Self {
        Self(us.and_then(|us| NonZeroU32::new(u32::try_from(us).ok()?.checked_add(1)?)))
    }
}

impl PackedMicros {
    pub(super) fn get(self) -> Option<u32> {
        self.0.map(|one_more| one_more.get() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        for bits in 0..16_u8 {
            let origin = |bit: u8| if bits & bit != 0 { Origin::Socket } else { Origin::Sysctl };
            let settings = Some(Settings {
                keepalive: bits & 8 != 0,
                time_s: Sourced { value: -1, origin: origin(1) },
                intvl_s: Sourced { value: i32::MAX, origin: origin(2) },
                probes: Sourced { value: u32::MAX, origin: origin(4) },
                user_timeout_ms: 2500,
            });
            assert_eq!(PackedSettings::from(settings).get(), settings);
        }
        let owner = Some(Owner { task: Task { pid: 0, comm: Comm::from([0xff; 16]) }, holders: 3 });
        assert_eq!(PackedOwner::from(owner).get(), owner);
        assert_eq!([Some(0), Some(312)].map(|us| PackedMicros::from(us).get()), [Some(0), Some(312)]);
    }

    #[test]
    fn what_is_not_known_stays_unknown() {
        assert_eq!(PackedSettings::from(None).get(), None);
        assert_eq!(PackedOwner::from(None).get(), None);
        assert_eq!([None, Some(1 << 32), Some(u32::MAX.into())].map(|us| PackedMicros::from(us).get()), [None; 3]);
    }
}
