//! Debian's programs as an archive for a guest that has nothing: with the loader, the C library and all that they want.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::debs::Debs;
use crate::{
    cache, shell,
    vm::{Given, pack},
};

const LOADER: &str = "ld-linux-x86-64.so.2";
/// Where the loader looks for libraries in the guest.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";
/// Where packages have them.
const FOLDERS: [&str; 2] = [LIBRARIES, "usr/lib/x86_64-linux-gnu"];

/// What an archive is made of.
pub struct Packed {
    /// Of the entry in the cache, and of the archive.
    pub name: &'static str,
    /// The first one's version is the archive's.
    pub packages: &'static [&'static str],
    /// The same whatever this machine is, so that results can be compared.
    pub suite: &'static str,
    /// What of the unpacked packages the guest gets.
    pub files: fn(&Path) -> Result<Vec<Given>>,
}

impl Packed {
    /// An archive for [`crate::vm::Initramfs::with_packed`].
    pub fn provide(&self) -> Result<PathBuf> {
        if let Some(archive) = self.kept() {
            return Ok(archive);
        }
        let _lock = cache::lock()?;
        // Another run may have brought it while this one waited for the lock.
        self.kept().map_or_else(|| self.fetch(), Ok)
    }

    fn archive(&self) -> String {
        format!("{}.cpio", self.name)
    }

    /// Not one of other packages.
    fn kept(&self) -> Option<PathBuf> {
        let ([archive], stamp) = cache::get(self.name, [&self.archive()])?;
        (stamp.package == self.packages.join(" ")).then_some(archive)
    }

    fn fetch(&self) -> Result<PathBuf> {
        Debs::with(self.packages, self.suite, |debs| {
            let files = (self.files)(&debs.unpack(|_| true)?)?;
            let packages = self.packages.join(" ");
            let put = cache::put(self.name, [&self.archive()], &packages, &debs.version, |[archive]| pack(&files, archive));
            put.map(|([archive], _)| archive)
        })
    }
}

/// The loader, and the libraries that it finds for these programs in the unpacked packages.
pub fn libraries(root: &Path, programs: &[PathBuf]) -> Result<Vec<Given>> {
    let folders = FOLDERS.map(|folder| root.join(folder));
    let loader =
        folders.iter().map(|folder| folder.join(LOADER)).find(|file| file.exists()).context("no package has a loader")?;
    let path = folders.map(|folder| folder.display().to_string()).join(":");
    let mut files = vec![Given { host: loader.clone(), guest: format!("lib64/{LOADER}") }];
    for program in programs {
        let mut command = Command::new(&loader);
        let list = shell::capture(command.args(["--inhibit-cache", "--library-path", &path, "--list"]).arg(program))?;
        for (name, host) in list.lines().filter_map(needed) {
            // One of this machine's own would not be the same everywhere.
            ensure!(host.starts_with(root), "{} needs {name}, which none of the packages has", program.display());
            let guest = format!("{LIBRARIES}/{name}");
            if files.iter().all(|file| file.guest != guest) {
                files.push(Given { host, guest });
            }
        }
    }
    Ok(files)
}

/// `name => path (address)`; the kernel's own library has no arrow, and the loader has a place of its own.
fn needed(line: &str) -> Option<(&str, PathBuf)> {
    let (name, found) = line.trim().split_once(" => ")?;
    let path = found.rsplit_once(" (").map_or(found, |(path, _)| path);
    (!name.starts_with('/')).then(|| (name, PathBuf::from(path)))
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
        assert_eq!(needed("\t/lib64/ld-linux-x86-64.so.2 => /x/ld-linux-x86-64.so.2 (0x00007f862d80d000)"), None);
    }
}
