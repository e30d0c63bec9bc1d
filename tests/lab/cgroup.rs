//! A cgroup of the lab's own, whose threads' sockets belong to it.
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result};

/// A cgroup of version 2, removed when dropped.
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one below another, or below the mount point.
    pub fn new(above: &Path, name: &str) -> Result<Self> {
        let path = above.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        // Threaded, so that one thread can go there and leave the rest of the process where it is.
        let cgroup = Self { path };
        cgroup.write("cgroup.type", "threaded")?;
        Ok(cgroup)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a thread in here. Sockets belong to the cgroup of the thread that made them.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let in_here = || {
            self.write("cgroup.threads", "0")?; // 0 is the writer
            work()
        };
        thread::scope(|scope| scope.spawn(in_here).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {text} to {}", path.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A cgroup that is still in use stays: nothing here depends on its absence.
        let _ = fs::remove_dir(&self.path);
    }
}
