//! File systems of the kernel's own that the witnesses read.
use std::{fs, path::Path};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

/// Where the kernel lists its probes.
pub const DEBUG: &str = "/sys/kernel/debug";
/// Where ftrace lists the functions that somebody hooks.
pub const TRACING: &str = "/sys/kernel/tracing";
/// Where cgroups of version 2 are made.
pub const CGROUP: &str = "/sys/fs/cgroup";

/// Mounts what a bare machine has not mounted yet.
pub fn all() -> Result<()> {
    for (kind, place) in [("debugfs", DEBUG), ("tracefs", TRACING), ("cgroup2", CGROUP)] {
        one(kind, place)?;
    }
    Ok(())
}

fn one(kind: &str, place: &str) -> Result<()> {
    if mounted(&fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?, kind, place) {
        return Ok(());
    }
    if !Path::new(place).is_dir() {
        fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
    }
    mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount {kind} at {place}"))
}

fn mounted(mounts: &str, kind: &str, place: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        (fields.next(), fields.next()) == (Some(place), Some(kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_its_place_and_its_kind() {
        let mounts = "none /sys/fs/cgroup tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert!(mounted(mounts, "proc", "/proc"));
        assert!(!mounted(mounts, "cgroup2", CGROUP));
    }
}
