//! Debian's `ss`, for a guest that has none. Only the bench asks for it.
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::packed::{Packed, libraries};
use crate::vm::Given;

const SS: Packed = Packed { name: "ss", packages: &["iproute2"], suite: "trixie", files };

/// An archive for [`crate::vm::Initramfs::with_packed`], in which `ss` is in `/bin`.
pub fn ss() -> Result<PathBuf> {
    SS.provide()
}

fn files(root: &Path) -> Result<Vec<Given>> {
    let program = root.join("usr/bin/ss");
    let mut files = vec![Given::program(&program)];
    files.extend(libraries(root, &[program])?);
    Ok(files)
}
