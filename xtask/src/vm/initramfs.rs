//! What a guest finds when it boots: busybox, init, the command, and the given files.
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::BufWriter,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use crate::{shell, workspace};

const INIT: &str = include_str!("init.sh");
const FOLDERS: [&str; 3] = ["bin", "dev", "proc"];

/// A file of this machine, and its path in the guest.
#[derive(Clone, Debug)]
pub struct Given {
    pub host: PathBuf,
    pub guest: String,
}

impl Given {
    /// The file, as a program in the guest's `/bin`.
    pub fn program(host: &Path) -> Self {
        let name = host.file_name().unwrap_or_default().to_string_lossy();
        Self { host: host.to_owned(), guest: format!("bin/{name}") }
    }
}

/// The file system as an archive without a name: it is gone when this program is, however that ends.
#[derive(Clone, Debug)]
pub struct Initramfs(Arc<File>);

impl Initramfs {
    pub fn build(busybox: &Path, files: &[Given], command: &[String]) -> Result<Self> {
        let folder = workspace::folder(workspace::vm())?;
        let (file, path) = fresh(&folder)?;
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        write(&file, busybox, files, command)
            .with_context(|| format!("cannot write the guest's file system in {}", folder.display()))?;
        Ok(Self(Arc::new(file)))
    }

    /// A path by which other programs find it as long as this program runs.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd()))
    }
}

fn fresh(folder: &Path) -> Result<(File, PathBuf)> {
    let path = folder.join(format!("initramfs-{}.cpio", process::id()));
    let file = File::create_new(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((file, path))
}

fn write(file: &File, busybox: &Path, files: &[Given], command: &[String]) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(file));
    let parents = files.iter().flat_map(|given| parents(&given.guest));
    let folders: BTreeSet<String> = parents.chain(FOLDERS.map(str::to_owned)).collect();
    for folder in &folders {
        archive.folder(folder)?;
    }
    archive.console("dev/console")?;
    archive.program("init", INIT.as_bytes())?;
    archive.program("command", script(command).as_bytes())?;
    archive.program("bin/busybox", &read(busybox)?)?;
    archive.link("bin/sh", "busybox")?;
    for given in files {
        archive.program(&given.guest, &read(&given.host)?)?;
    }
    Ok(archive.finish()?)
}

/// All folders above the path, the topmost first.
fn parents(path: &str) -> Vec<String> {
    let path = path.trim_start_matches('/');
    path.match_indices('/').map(|(end, _)| path[..end].to_owned()).collect()
}

fn script(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| shell::quoted(word)).collect();
    format!("#!/bin/sh\nexec {}\n", words.join(" "))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_brings_the_folders_above_it() {
        assert_eq!(parents("/data/fixtures/one.bin"), ["data", "data/fixtures"]);
        assert!(parents("init").is_empty());
    }

    #[test]
    fn the_command_reaches_the_guest_word_by_word() {
        let command = ["sh".to_owned(), "-c".to_owned(), "echo 'a  b' $HOME".to_owned()];
        assert_eq!(script(&command), "#!/bin/sh\nexec 'sh' '-c' 'echo '\\''a  b'\\'' $HOME'\n");
    }
}
