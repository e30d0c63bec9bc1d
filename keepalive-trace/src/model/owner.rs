//! Who holds a socket.
use std::{borrow::Cow, fmt};

/// A task's name as the kernel keeps it: 15 bytes at most, padded with NULs. It need not be UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Comm([u8; 16]);

impl Comm {
    /// Up to its NUL; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> Cow<'_, str> {
        let bytes = self.bytes();
        str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
    }

    /// Up to its NUL.
    pub fn bytes(&self) -> &[u8] {
        let nuls = u128::from_le_bytes(self.0).leading_zeros() / 8;
        &self.0[..self.0.len() - nuls as usize]
    }

    /// With the NULs behind it.
    pub fn padded(&self) -> &[u8; 16] {
        &self.0
    }

    /// Of these bytes, if they are a name.
    pub fn exactly(bytes: &[u8]) -> Option<Self> {
        let mut name = [0; 16];
        name.get_mut(..bytes.len())?.copy_from_slice(bytes);
        (!bytes.contains(&0)).then_some(Self(name))
    }
}

impl From<[u8; 16]> for Comm {
    /// What a longer name left behind the NUL is no part of the name: older kernels don't clear it.
    #[inline]
    fn from(bytes: [u8; 16]) -> Self {
        const LOWEST: u128 = u128::MAX / 0xff;
        let name = u128::from_le_bytes(bytes);
        // The lowest bit that is set here is the uppermost one of the first NUL.
        let nul = name.wrapping_sub(LOWEST) & !name & LOWEST << 7;
        let behind = u128::MAX.checked_shl(nul.trailing_zeros() & !7).unwrap_or(0);
        Self((name & !behind).to_le_bytes())
    }
}

impl From<&str> for Comm {
    fn from(text: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(text.bytes().take(15)) {
            *to = from;
        }
        Self::from(bytes)
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// A process that did something. It need not be a socket's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Thread group id, in the kernel's first pid namespace.
    pub pid: u32,
    /// Name of the thread group's leader.
    pub comm: Comm,
}

/// The process that holds a socket; of several, the one that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub task: Task,
    /// How many processes hold it.
    pub holders: u32,
}

impl Owner {
    pub fn alone(task: Task) -> Self {
        Self { task, holders: 1 }
    }
}

/// Which owners somebody wants to hear of. Empty lists select all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    pub pids: Vec<u32>,
    /// Whole names, as the kernel cuts them: 15 bytes at most.
    pub comms: Vec<Comm>,
}

impl Owners {
    pub fn all(&self) -> bool {
        self.pids.is_empty() && self.comms.is_empty()
    }

    /// One that is not known is nobody's.
    pub fn wants(&self, task: Option<&Task>) -> bool {
        let wanted = |task: &Task| {
            (self.pids.is_empty() || self.pids.contains(&task.pid)) && (self.comms.is_empty() || self.comms.contains(&task.comm))
        };
        self.all() || task.is_some_and(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_nul_and_may_be_no_text_at_all() {
        assert_eq!(Comm::from(*b"nginx\0garbage...").text(), "nginx");
        assert_eq!(Comm::from(*b"nginx\0garbage..."), Comm::from("nginx"));
        assert_eq!(Comm::from([0xff; 16]).text().chars().count(), 16);
        for nul in 0..16 {
            // A byte of 1 behind the NUL looks like another one to those who subtract.
            let mut bytes = [0x80; 16];
            bytes[nul..].fill(1);
            bytes[nul] = 0;
            assert_eq!(Comm::from(bytes).bytes(), &bytes[..nul]);
            assert_eq!(Comm::from(bytes).padded()[nul..], [0; 16][nul..]);
        }
        assert_eq!(Comm::from("a-name-that-is-much-too-long").text(), "a-name-that-is-");
    }

    #[test]
    fn an_owner_is_wanted_by_pid_and_by_name_and_an_unknown_one_only_by_those_who_want_all() {
        let task = Task { pid: 7, comm: Comm::from("nginx") };
        let owners = |pids: &[u32], comms: &[&str]| Owners {
            pids: pids.to_vec(),
            comms: comms.iter().map(|comm| Comm::from(*comm)).collect(),
        };
        assert!(owners(&[], &[]).wants(None));
        assert!(owners(&[6, 7], &[]).wants(Some(&task)) && owners(&[7], &["nginx"]).wants(Some(&task)));
        assert!(!owners(&[7], &["curl"]).wants(Some(&task)) && !owners(&[8], &[]).wants(Some(&task)));
        assert!(!owners(&[7], &[]).wants(None));
    }
}
