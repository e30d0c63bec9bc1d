//! Debian's `ss` and `tcpdump`, for a guest that has none. Only the bench asks for them.
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::packed::{Packed, libraries};
use crate::vm::Given;

const SS: Packed = Packed { name: "ss", packages: &["iproute2"], suite: "trixie", files: |root| program(root, "usr/bin/ss") };
const TCPDUMP: Packed =
    Packed { name: "tcpdump", packages: &["tcpdump"], suite: "bookworm", files: |root| program(root, "usr/bin/tcpdump") };

/// An archive for [`crate::vm::Initramfs::with_packed`], in which `ss` is in `/bin`.
pub fn ss() -> Result<PathBuf> {
    SS.provide()
}

/// Likewise.
pub fn tcpdump() -> Result<PathBuf> {
    TCPDUMP.provide()
}

fn program(root: &Path, path: &str) -> Result<Vec<Given>> {
    let program = root.join(path);
    let mut files = vec![Given::program(&program)];
    files.extend(libraries(root, &[program])?);
    Ok(files)
}
