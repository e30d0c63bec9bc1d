//! Names of cgroups: from the id that the kernel keeps to the path that people know.
use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use hashbrown::HashMap;

use super::{descriptor::owned, filters::cgroup_root};

/// How many names are remembered. More are looked up again.
const REMEMBERED: usize = 4096;

/// `FILEID_KERNFS`: a file handle that is a kernfs node's id.
const FILEID_KERNFS: libc::c_int = 0xfe;

/// Paths of cgroups v2 by their ids; one that is gone keeps the name that it had.
#[derive(Debug, Default)]
pub struct Cgroups {
    root: Option<(PathBuf, File)>,
    known: HashMap<u64, Option<Arc<str>>>,
    /// What was asked for last: neighbours in a list mostly share a cgroup.
    last: Option<(u64, Option<Arc<str>>)>,
}

/// `struct file_handle` for [`FILEID_KERNFS`].
#[repr(C)]
struct Handle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    id: u64,
}

impl Cgroups {
    /// Those of the hierarchy that is mounted here. Without one, no cgroup has a name.
    pub fn mounted() -> Self {
        let root = cgroup_root().and_then(|path| Some((path.clone(), File::open(path).ok()?)));
        Self { root, known: HashMap::new(), last: None }
    }

    /// The path from the hierarchy's root, `/` for the root itself.
    pub fn path(&mut self, id: u64) -> Option<Arc<str>> {
        if let Some((_, path)) = self.last.as_ref().filter(|(last, _)| *last == id) {
            return path.clone();
        }
        let path = self.look_up(id)?;
        self.last = Some((id, path.clone()));
        path
    }

    /// None without a hierarchy to look in.
    fn look_up(&mut self, id: u64) -> Option<Option<Arc<str>>> {
        if let Some(path) = self.known.get(&id) {
            return Some(path.clone());
        }
        let (root, folder) = self.root.as_ref()?;
        let path = open(folder, id).ok().and_then(|opened| {
            let path = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
            within(root, &path)
        });
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(id, path.clone());
        Some(path)
    }
}

fn within(root: &Path, path: &Path) -> Option<Arc<str>> {
    let below = path.strip_prefix(root).ok()?;
    Some(Path::new("/").join(below).to_string_lossy().into())
}

/// `open_by_handle_at`: it takes CAP_DAC_READ_SEARCH.
fn open(folder: &File, id: u64) -> io::Result<OwnedFd> {
    let mut handle = Handle { bytes: size_of::<u64>() as libc::c_uint, kind: FILEID_KERNFS, id };
    // SAFETY: the handle is as long as it says, and lives through the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, folder.as_raw_fd(), &raw mut handle, libc::O_PATH | libc::O_CLOEXEC)
    };
    owned(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_at_the_hierarchys_root() {
        let path = |path: &str| within(Path::new("/sys/fs/cgroup"), Path::new(path));
        assert_eq!(path("/sys/fs/cgroup/system.slice/nginx.service").as_deref(), Some("/system.slice/nginx.service"));
        assert_eq!(path("/sys/fs/cgroup").as_deref(), Some("/"));
        assert_eq!(path("/elsewhere"), None);
    }

    #[test]
    fn without_a_hierarchy_nothing_has_a_name() {
        assert_eq!(Cgroups::default().path(1), None);
    }
}
