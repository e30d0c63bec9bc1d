//! Packages of Debian with all that they depend on, there for as long as something is made of them.
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::apt::{Apt, LISTS_AGE};
use crate::{cache, progress, shell, workspace};

/// Downloaded, and not yet unpacked.
pub struct Debs {
    files: Vec<PathBuf>,
    /// The first package's.
    pub version: String,
    folder: PathBuf,
}

impl Debs {
    /// Makes something of the suite's versions of these packages, which are gone afterwards. Only one run at a time may do so.
    pub fn with<T>(packages: &[&str], suite: &str, make: impl Fn(&Self) -> Result<T>) -> Result<T> {
        let apt = Apt::open()?;
        apt.refresh(LISTS_AGE)?;
        let task = progress::task(format!("{} of {suite}, with all that is wanted for it", packages.join(", ")));
        let folder = workspace::cache()?.join("download");
        let fetch = || make(&Self::download(&apt, packages, suite, &folder)?);
        let made = fetch().or_else(|_| {
            // The mirror drops a version when a newer one comes: then the lists are too old.
            apt.refresh(Duration::ZERO)?;
            fetch()
        });
        cache::remove(&folder)?;
        task.done(if made.is_ok() { "fetched" } else { "failed" });
        made
    }

    fn download(apt: &Apt, packages: &[&str], suite: &str, folder: &Path) -> Result<Self> {
        // What a run that was killed left there may be half, or of another version.
        cache::remove(folder)?;
        let files = apt.download_all(packages, suite, &workspace::folder(folder.to_owned())?)?;
        let first = packages.first().context("nothing is made of no packages")?;
        let version = files.iter().find_map(|deb| version(first, deb));
        let version = version.with_context(|| format!("apt-get downloaded no {first}"))?;
        Ok(Self { files, version, folder: folder.to_owned() })
    }

    /// Unpacks those whose files' names are wanted, into one folder.
    pub fn unpack(&self, is_wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
        let root = workspace::folder(self.folder.join("root"))?;
        let name = |deb: &Path| deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for deb in self.files.iter().filter(|deb| is_wanted(&name(deb))) {
            shell::capture(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root))?;
        }
        Ok(root)
    }
}

/// `PACKAGE_VERSION_amd64.deb`
fn version(package: &str, deb: &Path) -> Option<String> {
    let name = deb.file_name()?.to_str()?.strip_prefix(package)?.strip_prefix('_')?;
    Some(name.split_once('_')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_package_and_of_no_other() {
        assert_eq!(version("iproute2", Path::new("/x/iproute2_6.15.0-1_amd64.deb")).unwrap(), "6.15.0-1");
        assert_eq!(version("iproute2", Path::new("/x/iproute2-doc_6.15.0-1_all.deb")), None);
        assert_eq!(version("iproute2", Path::new("/x/libc6_2.41-12_amd64.deb")), None);
    }
}
