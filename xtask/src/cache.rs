//! Downloads that are kept: each in a folder of its own with a stamp beside it, put in place only when whole.
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{shell, workspace};

const STAMP: &str = "stamp.json";

/// What a kept file is and must be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stamp {
    pub package: String,
    pub version: String,
    pub sha256: String,
}

/// Keeps other runs away from the cache until it is dropped.
pub fn lock() -> Result<File> {
    let path = workspace::cache()?.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The kept file and its stamp, if it is there and still what was stamped.
pub fn get(entry: &str, name: &str) -> Option<(PathBuf, Stamp)> {
    let folder = workspace::cache().ok()?.join(entry);
    let stamp: Stamp = serde_json::from_slice(&fs::read(folder.join(STAMP)).ok()?).ok()?;
    let file = folder.join(name);
    (shell::sha256(&file).ok()? == stamp.sha256).then_some((file, stamp))
}

/// Makes a file with `make` in a folder beside, stamps it and moves both into place. Wants the [`lock`].
pub fn put(
    entry: &str,
    name: &str,
    package: &str,
    version: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<(PathBuf, Stamp)> {
    let folder = workspace::cache()?.join(entry);
    let fresh = folder.with_file_name(format!(".{}.new", folder.file_name().unwrap_or_default().display()));
    remove(&fresh)?;
    workspace::folder(fresh.clone())?;
    let stamp = stamped(&fresh, name, package, version, make);
    let placed = stamp.and_then(|stamp| place(&fresh, &folder).map(|()| stamp));
    if placed.is_err() {
        remove(&fresh)?;
    }
    placed.map(|stamp| (folder.join(name), stamp))
}

fn stamped(folder: &Path, name: &str, package: &str, version: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<Stamp> {
    let file = folder.join(name);
    make(&file)?;
    let stamp = Stamp { package: package.to_owned(), version: version.to_owned(), sha256: shell::sha256(&file)? };
    let path = folder.join(STAMP);
    fs::write(&path, serde_json::to_vec_pretty(&stamp)?).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(stamp)
}

fn place(fresh: &Path, folder: &Path) -> Result<()> {
    remove(folder)?;
    fs::rename(fresh, folder).with_context(|| format!("cannot move {} into place", folder.display()))
}

/// Removes the folder, if there is one.
pub fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}
