//! Where sysctls are, and those that are one for the whole machine, whatever the namespace.
use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

/// The file of one of `net.ipv4`: whoever opens it finds that of the network namespace that he is in.
pub fn path(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}

/// A value that holds until this is dropped; then the old one is back.
pub struct Lent {
    path: PathBuf,
    before: String,
}

/// Changes one of `net.ipv4` for a while. The calling thread must be in the first network namespace.
pub fn lend(name: &str, value: impl ToString) -> Result<Lent> {
    let path = PathBuf::from(path(name));
    let before = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::write(&path, value.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Lent { path, before })
}

impl Drop for Lent {
    fn drop(&mut self) {
        // It could be written a moment ago.
        let _ = fs::write(&self.path, &self.before);
    }
}
