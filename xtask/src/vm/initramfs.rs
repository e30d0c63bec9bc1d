//! What a guest finds when it boots: busybox, init, the command, and the given files.
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use crate::{shell, workspace};

const INIT: &str = include_str!("init.sh");
const FOLDERS: [&str; 3] = ["bin", "dev", "proc"];
/// Where init looks for modules.
const MODULES: &str = "lib/modules";
/// Their file names in the order in which they are loaded, one a line.
const ORDER: &str = "lib/modules/order";

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
        Self::written(|file| write(file, busybox, files, command))
    }

    /// The same file system with one kernel's modules, which init loads in this order. The kernel unpacks archives that stand
    /// one behind the other as if they were one, so that the large one is made only once.
    pub fn with_modules(&self, modules: &[PathBuf]) -> Result<Self> {
        self.followed(|file| write_modules(file, modules))
    }

    /// The same file system with what [`pack`] has packed.
    pub fn with_packed(&self, archive: &Path) -> Result<Self> {
        self.followed(|mut file| {
            let mut archive = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
            io::copy(&mut archive, &mut file)?;
            Ok(())
        })
    }

    fn followed(&self, write: impl FnOnce(&File) -> Result<()>) -> Result<Self> {
        Self::written(|mut file| {
            // Opened anew, for a position of its own: others may be reading it, too.
            io::copy(&mut File::open(self.path())?, &mut file)?;
            write(file)
        })
    }

    fn written(write: impl FnOnce(&File) -> Result<()>) -> Result<Self> {
        let folder = workspace::folder(workspace::vm())?;
        let (file, path) = fresh(&folder)?;
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        write(&file).with_context(|| format!("cannot write the guest's file system in {}", folder.display()))?;
        Ok(Self(Arc::new(file)))
    }

    /// A path by which other programs find it as long as this program runs.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd()))
    }
}

fn fresh(folder: &Path) -> Result<(File, PathBuf)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("initramfs-{}-{count}.cpio", process::id()));
    let file = File::create_new(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((file, path))
}

fn write(file: &File, busybox: &Path, files: &[Given], command: &[String]) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(file));
    write_files(&mut archive, files, &FOLDERS)?;
    archive.console("dev/console")?;
    archive.program("init", INIT.as_bytes())?;
    archive.program("command", script(command).as_bytes())?;
    archive.program("bin/busybox", &read(busybox)?)?;
    archive.link("bin/sh", "busybox")?;
    Ok(archive.finish()?)
}

/// An archive of these files alone, for [`Initramfs::with_packed`].
pub fn pack(files: &[Given], to: &Path) -> Result<()> {
    let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    write_files(&mut archive, files, &[])?;
    Ok(archive.finish()?)
}

/// With the folders above them, and others.
fn write_files(archive: &mut Archive<impl Write>, files: &[Given], others: &[&str]) -> Result<()> {
    let parents = files.iter().flat_map(|given| parents(&given.guest));
    let folders: BTreeSet<String> = parents.chain(others.iter().map(ToString::to_string)).collect();
    folders.iter().try_for_each(|folder| archive.folder(folder))?;
    files.iter().try_for_each(|given| Ok(archive.program(&given.guest, &read(&given.host)?)?))
}

fn write_modules(to: impl Write, modules: &[PathBuf]) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(to));
    for folder in parents(ORDER) {
        archive.folder(&folder)?;
    }
    let mut order = String::new();
    for module in modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.program(&format!("{MODULES}/{name}"), &read(module)?)?;
        order.push_str(&format!("{name}\n"));
    }
    archive.program(ORDER, order.as_bytes())?;
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
    fn modules_come_in_their_order_and_not_in_that_of_the_alphabet() {
        let folder = workspace::folder(std::env::temp_dir().join(format!("keepalive-trace-modules-{}", process::id()))).unwrap();
        let modules = ["tcp_diag.ko", "inet_diag.ko"].map(|name| folder.join(name));
        for module in &modules {
            fs::write(module, b"\x7fELF").unwrap();
        }
        let mut archive = Vec::new();
        let written = write_modules(&mut archive, &modules);
        fs::remove_dir_all(&folder).unwrap();
        written.unwrap();
        let place = |text: &str| archive.windows(text.len()).position(|bytes| bytes == text.as_bytes());
        let parts =
            ["lib\0", "lib/modules\0", "lib/modules/tcp_diag.ko\0", "lib/modules/inet_diag.ko\0", "tcp_diag.ko\ninet_diag.ko\n"];
        let places = parts.map(|part| place(part).unwrap_or_else(|| panic!("no {part:?}")));
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn the_command_reaches_the_guest_word_by_word() {
        let command = ["sh".to_owned(), "-c".to_owned(), "echo 'a  b' $HOME".to_owned()];
        assert_eq!(script(&command), "#!/bin/sh\nexec 'sh' '-c' 'echo '\\''a  b'\\'' $HOME'\n");
    }
}
