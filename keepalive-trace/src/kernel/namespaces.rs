//! Network namespaces: found wherever somebody holds one, and entered to look around.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    panic,
    path::PathBuf,
    thread,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

use super::descriptor::owned;

const MINE: &str = "/proc/thread-self/ns/net";
const NAMED: &str = "/run/netns";

/// `SIOCGSKNS`: the namespace of a socket.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// The names that `ip netns` gave, by inode.
pub fn named() -> BTreeMap<u32, String> {
    let entries = fs::read_dir(NAMED).into_iter().flatten().flatten();
    let inode = |entry: &fs::DirEntry| u32::try_from(fs::metadata(entry.path()).ok()?.ino()).ok();
    entries.filter_map(|entry| Some((inode(&entry)?, entry.file_name().to_string_lossy().into_owned()))).collect()
}

/// Open namespaces, by inode.
#[derive(Debug, Default)]
pub struct Namespaces(BTreeMap<u32, OwnedFd>);

impl Namespaces {
    /// Those of processes, and those that are mounted somewhere, as `ip netns` and container runtimes do.
    pub fn find() -> Self {
        let mut found = Self::default();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let of_processes =
            processes.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()));
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        let paths = of_processes.map(|entry| entry.path().join("ns/net")).chain(mounted(&mounts));
        // Processes end while we look, and some are not ours to look at.
        for path in [MINE.into()].into_iter().chain(paths) {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let Ok(inode) = u32::try_from(metadata.ino()) else { continue };
            if !found.0.contains_key(&inode)
                && let Ok(file) = File::open(&path)
            {
                found.0.insert(inode, file.into());
            }
        }
        found
    }

    /// Its own alone: the namespace of the calling thread.
    pub fn own() -> Option<u32> {
        u32::try_from(fs::metadata(MINE).ok()?.ino()).ok()
    }

    pub fn has(&self, inode: u32) -> bool {
        self.0.contains_key(&inode)
    }

    pub fn inodes(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }

    /// A namespace in which nobody lives any more, by a socket of it that a process holds. The socket is borrowed for a moment.
    ///
    /// # Errors
    /// When the process has gone, or may not be asked.
    pub fn add_of_socket(&mut self, inode: u32, pid: u32, fd: u32) -> io::Result<()> {
        // SAFETY: takes a number and flags.
        let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        // SAFETY: takes a descriptor, a number and flags.
        let socket = owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })?;
        // SAFETY: takes no argument beyond the request.
        let namespace = owned(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) }.into())?;
        self.0.insert(inode, namespace);
        Ok(())
    }

    /// Those of these inodes, or all.
    pub fn only(mut self, inodes: &[u32]) -> Self {
        self.0.retain(|inode, _| inodes.is_empty() || inodes.contains(inode));
        self
    }

    /// Does `work`, which is given the inode, in each of them, on a thread that nobody else needs: one that has entered a namespace stays there. One that
    /// can't be entered, or in which it fails, is named.
    pub fn visit<T: Send>(&self, work: impl Fn(u32) -> Result<T> + Sync) -> (Vec<T>, Vec<anyhow::Error>) {
        let (mut results, mut failures) = (Vec::new(), Vec::new());
        for (inode, namespace) in &self.0 {
            let here = fs::metadata(MINE).is_ok_and(|metadata| metadata.ino() == u64::from(*inode));
            let visit = || {
                if !here {
                    setns(namespace, CloneFlags::CLONE_NEWNET)
                        .with_context(|| format!("cannot enter the network namespace {inode} (it takes CAP_SYS_ADMIN)"))?;
                }
                work(*inode)
            };
            let visited = thread::scope(|scope| scope.spawn(visit).join()).unwrap_or_else(|panic| panic::resume_unwind(panic));
            match visited {
                Ok(result) => results.push(result),
                Err(error) => failures.push(error),
            }
        }
        (results, failures)
    }
}

/// Where network namespaces are mounted, by mountinfo.
fn mounted(mountinfo: &str) -> Vec<PathBuf> {
    let place = |line: &str| {
        let mut words = line.split(' ').skip(3);
        let (root, place) = (words.next()?, words.next()?);
        root.starts_with("net:[").then(|| PathBuf::from(place))
    };
    mountinfo.lines().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_namespaces_are_told_from_other_mounts() {
        let mountinfo = "22 1 0:21 / /proc rw - proc proc rw\n\
                         98 30 0:4 net:[4026532201] /run/docker/netns/ab12 rw - nsfs nsfs rw\n\
                         99 30 0:4 mnt:[4026532202] /run/mnt rw - nsfs nsfs rw\n";
        assert_eq!(mounted(mountinfo), [PathBuf::from("/run/docker/netns/ab12")]);
        assert!(mounted("nonsense").is_empty());
    }

    #[test]
    fn our_own_namespace_is_found_and_needs_no_entering() {
        let own = u32::try_from(fs::metadata(MINE).unwrap().ino()).unwrap();
        let found = Namespaces::find().only(&[own]);
        assert!(found.has(own));
        let (results, failures) = found.visit(Ok);
        assert_eq!((results, failures.len()), (vec![own], 0));
    }
}
