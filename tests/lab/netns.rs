//! A network namespace of the lab's own.
use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    panic,
    path::PathBuf,
    thread,
};

use anyhow::{Context, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::{
    clock::{self, Moment},
    counters::Counters,
    network, sysctl,
};

const MINE: &str = "/proc/thread-self/ns/net";

/// A network namespace with loopback and nothing else. It lives as long as this handle or a socket in it.
pub struct Netns {
    handle: File,
    id: Id,
}

/// What identifies a namespace in the tracer's events: its inode, and since when, for the kernel gives inodes out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    /// The number in `net:[N]`.
    pub inode: u64,
    /// Before this moment the inode was another's.
    pub since: Moment,
}

impl Netns {
    /// Makes one, with `lo` up. Needs root.
    pub fn new() -> Result<Self> {
        let since = clock::now();
        // unshare moves the calling thread for good, so it is a thread that nobody else needs.
        let handle = on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace (are you root?)")?;
            network::loopback_up()?;
            File::open(MINE).context(MINE)
        })?;
        let inode = handle.metadata().context("cannot stat a network namespace")?.ino();
        Ok(Self { handle, id: Id { inode, since } })
    }

    /// Runs `work` within the namespace. Sockets made there belong to it for ever.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_own_thread(|| {
            setns(&self.handle, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace of the lab")?;
            work()
        })
    }

    /// The number by which the kernel and the tracer's command line know it: `net:[N]`.
    pub fn inode(&self) -> u64 {
        self.id.inode
    }

    /// What identifies it in the tracer's events.
    pub fn id(&self) -> Id {
        self.id
    }

    /// A path to it, good as long as this process lives and keeps the namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// Gives it a name as `ip netns` does, until the name is dropped.
    pub fn name(&self, name: &str) -> Result<Name> {
        const NAMES: &str = "/run/netns";
        fs::create_dir_all(NAMES).with_context(|| format!("cannot make {NAMES}"))?;
        let path = PathBuf::from(NAMES).join(name);
        File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let named = Name(path);
        mount(Some(self.path().as_str()), &named.0, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("cannot bind a network namespace to {}", named.0.display()))?;
        Ok(named)
    }

    /// Its TCP counters now.
    pub fn counters(&self) -> Result<Counters> {
        self.enter(Counters::read)
    }

    /// Writes one of its `net.ipv4` sysctls.
    pub fn sysctl(&self, name: &str, value: impl ToString + Sync) -> Result<()> {
        let path = sysctl::path(name);
        self.enter(|| fs::write(&path, value.to_string()).with_context(|| format!("cannot write {path}")))
    }

    /// [`network::add_address`] in here.
    pub fn add_address(&self, address: IpAddr) -> Result<()> {
        self.enter(|| network::add_address(address))
    }

    /// [`network::lose_route`] in here.
    pub fn lose_route(&self, to: Ipv4Addr) -> Result<()> {
        self.enter(|| network::lose_route(to))
    }

    /// [`network::find_route`] in here.
    pub fn find_route(&self, to: Ipv4Addr) -> Result<()> {
        self.enter(|| network::find_route(to))
    }

    /// [`network::choke_loopback`] in here.
    pub fn choke(&self) -> Result<()> {
        self.enter(network::choke_loopback)
    }

    /// [`network::unchoke_loopback`] in here.
    pub fn unchoke(&self) -> Result<()> {
        self.enter(network::unchoke_loopback)
    }
}

/// A name of a namespace in `/run/netns`, taken away when dropped.
pub struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        // A name that can't be taken away does no harm beyond the machine's life.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.0);
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_namespace_has_its_own_number_and_its_own_loopback() {
        if crate::skipped("a namespace has its own number and its own loopback") {
            return;
        }
        let (one, other) = (Netns::new().unwrap(), Netns::new().unwrap());
        assert_ne!(one.inode(), other.inode());
        assert_ne!(one.inode(), fs::metadata(MINE).unwrap().ino());
        assert_eq!(fs::metadata(one.path()).unwrap().ino(), one.inode());

        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = one.enter(|| Ok(TcpListener::bind(address)?)).unwrap();
            let address = listener.local_addr().unwrap();
            one.enter(|| Ok(TcpStream::connect(address)?)).unwrap();
            other.enter(|| Ok(TcpStream::connect(address)?)).unwrap_err();
        }
    }

    #[test]
    fn a_namespace_can_be_given_more_addresses() {
        if crate::skipped("a namespace can be given more addresses") {
            return;
        }
        let netns = Netns::new().unwrap();
        let bind = || netns.enter(|| Ok(TcpListener::bind("[fd00::1]:0")?));
        bind().unwrap_err();
        netns.add_address("fd00::1".parse().unwrap()).unwrap();
        bind().unwrap();
    }

    #[test]
    fn a_lost_route_fails_at_once_and_can_be_found_again() {
        if crate::skipped("a lost route fails at once and can be found again") {
            return;
        }
        let netns = Netns::new().unwrap();
        let address = Ipv4Addr::new(127, 0, 0, 2);
        let listener = netns.enter(|| Ok(TcpListener::bind((address, 0))?)).unwrap();
        let there = listener.local_addr().unwrap();
        let connect = || netns.enter(|| Ok(TcpStream::connect(there)?));
        netns.lose_route(address).unwrap();
        let error = connect().unwrap_err();
        assert_eq!(error.downcast_ref::<std::io::Error>().unwrap().raw_os_error(), Some(libc::EHOSTUNREACH));
        netns.find_route(address).unwrap();
        connect().unwrap();
    }
}
