//! Debian's `ss`, with the loader and the libraries that it needs, for a guest that has none. Only the bench asks for it.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    apt::{Apt, LISTS_AGE},
    unpacked::version,
};
use crate::{
    cache, progress, shell,
    vm::{Given, pack},
    workspace,
};

const ENTRY: &str = "ss";
const ARCHIVE: &str = "ss.cpio";
const PACKAGE: &str = "iproute2";
/// The same whatever this machine is, so that figures can be compared.
const SUITE: &str = "trixie";

const LOADER: &str = "ld-linux-x86-64.so.2";
/// Where a package has its libraries, and where the loader looks for them in the guest, too.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// An archive for [`crate::vm::Initramfs::with_packed`], in which `ss` is in `/bin`.
pub fn ss() -> Result<PathBuf> {
    let kept = || cache::get(ENTRY, [ARCHIVE]).map(|([archive], _)| archive);
    if let Some(archive) = kept() {
        return Ok(archive);
    }
    let _lock = cache::lock()?;
    // Another run may have brought it while this one waited for the lock.
    kept().map_or_else(fetch, Ok)
}

fn fetch() -> Result<PathBuf> {
    let apt = Apt::open()?;
    apt.refresh(LISTS_AGE)?;
    let task = progress::task(format!("ss of {SUITE}'s {PACKAGE}"));
    let folder = workspace::cache()?.join("download");
    let fetched = download(&apt, &folder).or_else(|_| {
        // The mirror drops a version when a newer one comes: then the lists are too old.
        apt.refresh(std::time::Duration::ZERO)?;
        download(&apt, &folder)
    });
    cache::remove(&folder)?;
    task.done(if fetched.is_ok() { "fetched" } else { "failed" });
    fetched
}

fn download(apt: &Apt, folder: &Path) -> Result<PathBuf> {
    // What a run that was killed left there may be half, or of another version.
    cache::remove(folder)?;
    let debs = apt.download_all(PACKAGE, SUITE, &workspace::folder(folder.to_owned())?)?;
    let version =
        debs.iter().find_map(|deb| version(PACKAGE, deb)).with_context(|| format!("apt-get downloaded no {PACKAGE}"))?;
    let root = workspace::folder(folder.join("root"))?;
    for deb in &debs {
        shell::capture(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root))?;
    }
    let files = files(&root)?;
    let ([archive], _) = cache::put(ENTRY, [ARCHIVE], PACKAGE, &version, |[archive]| pack(&files, archive))?;
    Ok(archive)
}

/// What of the unpacked packages `ss` needs: the loader itself knows.
fn files(root: &Path) -> Result<Vec<Given>> {
    let libraries = root.join("usr").join(LIBRARIES);
    let (loader, program) = (libraries.join(LOADER), root.join("usr/bin/ss"));
    let mut command = Command::new(&loader);
    command.args(["--inhibit-cache", "--library-path"]).arg(&libraries).arg("--list").arg(&program);
    let list = shell::capture(&mut command)?;
    let mut files = vec![Given::program(&program), Given { host: loader, guest: format!("lib64/{LOADER}") }];
    for (name, host) in list.lines().filter_map(needed) {
        // One of this machine's own would not be the same everywhere.
        ensure!(host.starts_with(root), "ss needs {name}, which none of {PACKAGE}'s packages has");
        files.push(Given { host, guest: format!("{LIBRARIES}/{name}") });
    }
    Ok(files)
}

/// `name => path (address)`; the kernel's own library and the loader have no arrow.
fn needed(line: &str) -> Option<(&str, PathBuf)> {
    let (name, found) = line.trim().split_once(" => ")?;
    let path = found.rsplit_once(" (").map_or(found, |(path, _)| path);
    Some((name, PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_lists_is_taken_by_the_name_that_is_asked_for() {
        let line = "\tlibelf.so.1 => /a folder/libelf.so.1 (0x00007f862d792000)";
        assert_eq!(needed(line).unwrap(), ("libelf.so.1", PathBuf::from("/a folder/libelf.so.1")));
        assert_eq!(needed("\tlibelf.so.1 => not found").unwrap().1, PathBuf::from("not found"));
        assert_eq!(needed("\tlinux-vdso.so.1 (0x00007f862d80b000)"), None);
    }
}
