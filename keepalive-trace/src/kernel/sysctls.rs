//! The keepalive sysctls of network namespaces, as `/proc/sys` shows them to whoever is in one.
use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _};

use anyhow::{Context as _, Result};

use super::{facts, namespaces::Namespaces};
use crate::model::sysctl::Sysctls;

/// The namespace of the host: the first process's.
const HOST: &str = "/proc/1/ns/net";

/// Every namespace's values, by inode, and why some are missing.
pub fn of(namespaces: &Namespaces) -> (BTreeMap<u32, Sysctls>, Vec<anyhow::Error>) {
    let read = |inode| Ok((inode, here().with_context(|| format!("cannot read the sysctls of the network namespace {inode}"))?));
    let (values, failures) = namespaces.visit(read);
    (values.into_iter().collect(), failures)
}

/// Those of the calling thread's namespace.
fn here() -> Result<Sysctls> {
    facts::sysctls().context("/proc/sys/net/ipv4/tcp_keepalive_*")
}

/// The inode of the host's namespace, where we may know it; in a container it is that of the container's first process.
pub fn host() -> Option<u32> {
    u32::try_from(fs::metadata(HOST).ok()?.ino()).ok()
}

/// The host's values.
pub fn of_host() -> Option<(u32, Sysctls)> {
    let inode = host()?;
    let (values, _) = of(&Namespaces::find().only(&[inode]));
    values.into_iter().next()
}
