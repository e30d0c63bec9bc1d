//! Where a recording goes: one file, a row of numbered ones, or standard output. Nobody else's file is touched, nobody else
//! can read it, and no two recorders write the same one.
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::tail::{self, Failed};

/// Digits of a file's number.
const DIGITS: usize = 5;

/// What is being written.
#[derive(Debug)]
pub enum Output {
    File(File),
    /// The same, whose end must stay as it is, since readers understand it.
    Left(File),
    Stdout(io::Stdout),
}

impl Output {
    /// Takes back what came after so many bytes, where that can be done.
    pub(super) fn cut(&mut self, whole: u64) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.set_len(whole)?;
                io::Seek::seek(file, io::SeekFrom::End(0)).map(|_| ())
            }
            Self::Left(_) | Self::Stdout(_) => Ok(()),
        }
    }

    /// Whether what was written can be replaced at all.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Keeps readers out while the end is replaced. False where there is one now, or nothing can be replaced.
    pub(super) fn lock(&self) -> bool {
        matches!(self, Self::File(file) if tail::lock(file))
    }

    /// Replaces everything from this byte on, and lets readers in again.
    pub(super) fn replace(&mut self, at: u64, length: u64, bytes: &[u8]) -> io::Result<()> {
        let Self::File(file) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let replaced = tail::replace(file, at, length, bytes);
        tail::unlock(file);
        match replaced {
            Ok(()) => io::Seek::seek(file, io::SeekFrom::End(0)).map(|_| ()),
            Err(Failed { error, keep }) => {
                if keep {
                    *self = Self::Left(file.try_clone()?);
                }
                Err(error)
            }
        }
    }

    /// On the disk, and not only on its way.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) | Self::Left(file) => file.sync_data(),
            Self::Stdout(_) => Ok(()),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) | Self::Left(file) => file.write(bytes),
            Self::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(_) | Self::Left(_) => Ok(()),
            Self::Stdout(out) => out.flush(),
        }
    }
}

/// Makes a file that only its owner reads. One that exists is left alone, unless it is to be overwritten; one that somebody
/// records into is left alone in any case.
///
/// # Errors
/// With the way out.
pub fn create(path: &Path, overwrite: bool) -> Result<File> {
    let name = path.display();
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            file.try_lock().with_context(|| format!("cannot lock {name}"))?;
            return Ok(file);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(anyhow!(error).context(format!("cannot create {name}"))),
    }
    let about = fs::symlink_metadata(path).with_context(|| format!("cannot look at {name}"))?;
    if !about.is_file() {
        bail!("{name} is no regular file, and nothing else is written to: give another name, or `-` for standard output");
    }
    let file = options.custom_flags(libc::O_NOFOLLOW).open(path).with_context(|| format!("cannot write {name}"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("another recorder is writing {name}: give another name"),
        Err(TryLockError::Error(error)) => return Err(anyhow!(error).context(format!("cannot lock {name}"))),
    }
    if !overwrite {
        bail!("{name} exists already: give another name, or --force to overwrite it");
    }
    file.set_permissions(Permissions::from_mode(0o600)).with_context(|| format!("cannot keep {name} to its owner"))?;
    file.set_len(0).with_context(|| format!("cannot write {name}"))?;
    Ok(file)
}

/// A row of numbered files: `trace.arrows` stands for `trace-00001.arrows` and those that follow.
#[derive(Debug)]
pub(super) struct Row {
    folder: PathBuf,
    stem: OsString,
    extension: Option<OsString>,
}

impl Row {
    pub(super) fn of(path: &Path) -> Result<Self> {
        let stem = path.file_stem().with_context(|| format!("{} is no file's name", path.display()))?;
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { folder, stem: stem.to_owned(), extension: path.extension().map(OsStr::to_owned) })
    }

    fn path(&self, number: u64) -> PathBuf {
        let mut name = self.stem.clone();
        name.push(format!("-{number:0DIGITS$}"));
        if let Some(extension) = &self.extension {
            name.push(".");
            name.push(extension);
        }
        self.folder.join(name)
    }

    /// The numbers of those that are there, in order.
    fn numbers(&self) -> Result<Vec<u64>> {
        let there = fs::read_dir(&self.folder).with_context(|| format!("cannot list {}", self.folder.display()))?;
        let mut numbers: Vec<u64> = there
            .filter_map(|entry| {
                let name = PathBuf::from(entry.ok()?.file_name());
                let digits = name.file_stem()?.to_str()?.strip_prefix(self.stem.to_str()?)?.strip_prefix('-')?.to_owned();
                let number = digits.parse().ok()?;
                (self.path(number).file_name()? == name).then_some(number)
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes the one after the last, and removes the oldest past so many. One that somebody still records into stays.
    pub(super) fn next(&self, keep: usize) -> Result<(PathBuf, File)> {
        let numbers = self.numbers()?;
        let number = numbers.last().map_or(1, |last| last.saturating_add(1));
        let path = self.path(number);
        let file = create(&path, false)?;
        let surplus = (numbers.len() + 1).saturating_sub(keep.max(1));
        for number in &numbers[..surplus.min(numbers.len())] {
            let old = self.path(*number);
            let in_use = File::open(&old).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
            if !in_use {
                fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
            }
        }
        Ok((path, file))
    }
}
