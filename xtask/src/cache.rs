//! Downloads that are kept: each in a folder of its own with a stamp beside it, put in place only when whole.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{shell, workspace};

const STAMP: &str = "stamp.json";

/// What the kept files of an entry are and must be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stamp {
    pub package: String,
    pub version: String,
    /// Of the first file.
    sha256: String,
    /// Of each other file, by name. Stamps did without it when every entry was one file.
    #[serde(default)]
    others: BTreeMap<String, String>,
}

/// Keeps other runs away from the cache until it is dropped.
pub fn lock() -> Result<File> {
    let path = workspace::cache()?.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The kept files and their stamp, if all of them are there and still what was stamped.
pub fn get<const N: usize>(entry: &str, names: [&str; N]) -> Option<([PathBuf; N], Stamp)> {
    checked(&workspace::cache().ok()?.join(entry), names)
}

/// Makes the files with `make` in a folder beside, stamps them and moves all into place. Wants the [`lock`].
pub fn put<const N: usize>(
    entry: &str,
    names: [&str; N],
    package: &str,
    version: &str,
    make: impl FnOnce(&[PathBuf; N]) -> Result<()>,
) -> Result<([PathBuf; N], Stamp)> {
    filled(&workspace::cache()?.join(entry), names, package, version, make)
}

fn checked<const N: usize>(folder: &Path, names: [&str; N]) -> Option<([PathBuf; N], Stamp)> {
    let stamp: Stamp = serde_json::from_slice(&fs::read(folder.join(STAMP)).ok()?).ok()?;
    let files = names.map(|name| folder.join(name));
    let stamped = |(place, file): (usize, &PathBuf)| {
        let sum = if place == 0 { Some(&stamp.sha256) } else { stamp.others.get(names[place]) };
        sum.is_some_and(|sum| shell::sha256(file).is_ok_and(|is| is == *sum))
    };
    files.iter().enumerate().all(stamped).then_some((files, stamp))
}

fn filled<const N: usize>(
    folder: &Path,
    names: [&str; N],
    package: &str,
    version: &str,
    make: impl FnOnce(&[PathBuf; N]) -> Result<()>,
) -> Result<([PathBuf; N], Stamp)> {
    let fresh = folder.with_file_name(format!(".{}.new", folder.file_name().unwrap_or_default().display()));
    remove(&fresh)?;
    workspace::folder(fresh.clone())?;
    let made = make(&names.map(|name| fresh.join(name)));
    let stamp = made.and_then(|()| stamped(&fresh, names, package, version));
    let placed = stamp.and_then(|stamp| place(&fresh, folder).map(|()| stamp));
    if placed.is_err() {
        remove(&fresh)?;
    }
    placed.map(|stamp| (names.map(|name| folder.join(name)), stamp))
}

fn stamped<const N: usize>(folder: &Path, names: [&str; N], package: &str, version: &str) -> Result<Stamp> {
    let mut sums = names.iter().map(|name| Ok(((*name).to_owned(), shell::sha256(&folder.join(name))?)));
    let (_, sha256) = sums.next().context("an entry has a file at least")??;
    let others = sums.collect::<Result<_>>()?;
    let stamp = Stamp { package: package.to_owned(), version: version.to_owned(), sha256, others };
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

#[cfg(test)]
mod tests {
    use std::{env, process};

    use anyhow::bail;

    use super::*;

    const NAMES: [&str; 2] = ["image", "module"];

    /// A folder of a test's own, gone with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let folder = env::temp_dir().join(format!("keepalive-trace-cache-{test}-{}", process::id()));
            Self(workspace::folder(folder).unwrap())
        }

        fn entry(&self) -> PathBuf {
            self.0.join("entry")
        }

        /// What is beside the entry, and must not be.
        fn left_over(&self) -> Vec<PathBuf> {
            let all = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
            all.filter(|path| *path != self.entry()).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            remove(&self.0).unwrap();
        }
    }

    fn fill<const N: usize>(folder: &Path, names: [&str; N], version: &str) -> Result<([PathBuf; N], Stamp)> {
        filled(folder, names, "package", version, |files| {
            files.iter().try_for_each(|file| fs::write(file, format!("{version} of {}", file.display())))?;
            Ok(())
        })
    }

    #[test]
    fn what_was_put_is_got_until_one_of_its_files_differs() {
        let scratch = Scratch::new("differs");
        let entry = scratch.entry();
        for (spoilt, place) in [("image", 0), ("module", 1)] {
            let (put, _) = fill(&entry, NAMES, "1").unwrap();
            let (got, stamp) = checked(&entry, NAMES).unwrap();
            assert_eq!((&got, stamp.version.as_str()), (&put, "1"));
            fs::write(&got[place], "cut").unwrap();
            assert!(checked(&entry, NAMES).is_none(), "{spoilt} was changed");
            fs::remove_file(&got[place]).unwrap();
            assert!(checked(&entry, NAMES).is_none(), "{spoilt} was removed");
        }
    }

    #[test]
    fn an_entry_from_before_there_were_more_files_counts_for_its_one_file_only() {
        let scratch = Scratch::new("before");
        let entry = workspace::folder(scratch.entry()).unwrap();
        fs::write(entry.join("image"), "an image").unwrap();
        let sum = shell::sha256(&entry.join("image")).unwrap();
        let stamp = format!(r#"{{"package": "p", "version": "1", "sha256": "{sum}"}}"#);
        fs::write(entry.join(STAMP), stamp).unwrap();
        assert!(checked(&entry, ["image"]).is_some());
        assert!(checked(&entry, NAMES).is_none());
        // Not even when such a file lies there: nothing says that it is whole.
        fs::write(entry.join("module"), "a module").unwrap();
        assert!(checked(&entry, NAMES).is_none());
        fill(&entry, NAMES, "2").unwrap();
        assert_eq!(checked(&entry, NAMES).unwrap().1.version, "2");
    }

    #[test]
    fn a_broken_download_leaves_the_old_entry_and_nothing_else() {
        let scratch = Scratch::new("broken");
        let entry = scratch.entry();
        let broken = |entry: &Path| {
            filled(entry, NAMES, "package", "2", |[image, _]| {
                fs::write(image, "half of it")?;
                bail!("the line is cut")
            })
        };
        broken(&entry).unwrap_err();
        assert!(!entry.exists());
        fill(&entry, NAMES, "1").unwrap();
        broken(&entry).unwrap_err();
        // One of the files was never made.
        filled(&entry, NAMES, "package", "2", |[image, _]| Ok(fs::write(image, "the image")?)).unwrap_err();
        assert_eq!(checked(&entry, NAMES).unwrap().1.version, "1");
        assert!(scratch.left_over().is_empty());
    }
}
