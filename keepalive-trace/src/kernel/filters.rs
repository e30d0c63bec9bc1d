//! The shared filters: from what the user typed to what the kernel side looks up.
use std::{
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
};
use ipnet::IpNet;
use keepalive_trace_ebpf::{PORT_WORDS, end, filter};

use crate::model::selection::{PortRange, Selection};

/// Resolved against this system: namespaces and cgroups are numbers now.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// `filter` bits.
    pub bits: u32,
    ports: Vec<(u32, PortRange)>,
    addresses: Vec<(u32, IpNet)>,
    /// Inodes; empty: all.
    pub netns: Vec<u32>,
    cgroups: Vec<u64>,
}

impl Filters {
    /// # Errors
    /// For a namespace or cgroup that does not exist, naming it.
    pub fn resolve(selection: &Selection) -> Result<Self> {
        let Selection { local_ports, remote_ports, local_addresses, remote_addresses, ipv4, ipv6, netns, cgroups } = selection;
        let sets = [
            (*ipv4, filter::IPV4),
            (*ipv6, filter::IPV6),
            (!local_ports.is_empty(), filter::LOCAL_PORT),
            (!remote_ports.is_empty(), filter::REMOTE_PORT),
            (!local_addresses.is_empty(), filter::LOCAL_ADDR),
            (!remote_addresses.is_empty(), filter::REMOTE_ADDR),
            (!netns.is_empty(), filter::NETNS),
            (!cgroups.is_empty(), filter::CGROUP),
        ];
        let of = |which, ranges: &[PortRange]| ranges.iter().map(|range| (which, *range)).collect::<Vec<_>>();
        let at = |which, blocks: &[IpNet]| blocks.iter().map(|block| (which, *block)).collect::<Vec<_>>();
        Ok(Self {
            bits: sets.iter().filter(|(set, _)| *set).fold(0, |bits, (_, bit)| bits | bit),
            ports: [of(end::LOCAL, local_ports), of(end::REMOTE, remote_ports)].concat(),
            addresses: [at(end::LOCAL, local_addresses), at(end::REMOTE, remote_addresses)].concat(),
            netns: netns.iter().map(|name| netns_inode(name)).collect::<Result<_>>()?,
            cgroups: cgroups.iter().map(|path| cgroup_id(path)).collect::<Result<_>>()?,
        })
    }

    /// Puts the sets where the kernel side looks them up.
    ///
    /// # Errors
    /// When a set is larger than its map, or the kernel refuses the write.
    pub fn install(&self, ebpf: &mut Ebpf) -> Result<()> {
        let mut ports: Array<_, u64> = ebpf.map_mut("PORTS").context("the map PORTS is missing")?.try_into()?;
        for (index, bits) in port_words(&self.ports) {
            ports.set(index, bits, 0).context("cannot set the port filter")?;
        }
        let mut addresses: LpmTrie<_, [u8; 20], u8> =
            ebpf.map_mut("ADDRESSES").context("the map ADDRESSES is missing")?.try_into()?;
        for (end, block) in &self.addresses {
            addresses.insert(&prefix(*end, *block), 1, 0).context("cannot set the address filter")?;
        }
        let mut netns: HashMap<_, u32, u8> = ebpf.map_mut("NETNS").context("the map NETNS is missing")?.try_into()?;
        for inode in &self.netns {
            netns.insert(inode, 1, 0).context("cannot set the namespace filter")?;
        }
        let mut cgroups: HashMap<_, u64, u8> = ebpf.map_mut("CGROUPS").context("the map CGROUPS is missing")?.try_into()?;
        for id in &self.cgroups {
            cgroups.insert(id, 1, 0).context("cannot set the cgroup filter")?;
        }
        Ok(())
    }
}

/// The words of the port bitmap that are not 0.
fn port_words(ports: &[(u32, PortRange)]) -> impl Iterator<Item = (u32, u64)> {
    let mut words = vec![0_u64; 2 * PORT_WORDS as usize];
    for (end, PortRange { first, last }) in ports {
        for port in *first..=*last {
            let index = end * PORT_WORDS + u32::from(port) / 64;
            if let Some(word) = words.get_mut(index as usize) {
                *word |= 1 << (port % 64);
            }
        }
    }
    (0..).zip(words).filter(|(_, bits)| *bits != 0)
}

/// A block as the kernel side's trie has it: the end, then an IPv6 address, IPv4 as `::ffff:a.b.c.d`.
fn prefix(end: u32, block: IpNet) -> Key<[u8; 20]> {
    let (address, length) = match block.addr() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 96 + u32::from(block.prefix_len())),
        IpAddr::V6(v6) => (v6, u32::from(block.prefix_len())),
    };
    let mut data = [0; 20];
    data[..4].copy_from_slice(&end.to_ne_bytes());
    data[4..].copy_from_slice(&address.octets());
    Key::new(32 + length, data)
}

/// An inode, a path, or a name of `ip netns`.
fn netns_inode(text: &str) -> Result<u32> {
    if let Ok(inode) = text.parse() {
        return Ok(inode);
    }
    let path = if text.contains('/') { PathBuf::from(text) } else { Path::new("/run/netns").join(text) };
    let metadata = fs::metadata(&path).with_context(|| {
        format!("--netns {text}: no such network namespace ({}); give an inode, a path like /proc/PID/ns/net, or a name that `ip netns` lists", path.display())
    })?;
    u32::try_from(metadata.ino()).with_context(|| format!("--netns {text}: {} is no network namespace", path.display()))
}

/// The id of a cgroup v2: the inode of its folder. A path that is not in cgroupfs is taken as one from its root.
fn cgroup_id(path: &Path) -> Result<u64> {
    let Some(root) = cgroup_root() else { bail!("--cgroup {}: {}", path.display(), without_cgroups()) };
    let folder = match path.strip_prefix(&root) {
        Ok(_) => path.to_path_buf(),
        Err(_) => root.join(path.strip_prefix("/").unwrap_or(path)),
    };
    let metadata =
        fs::metadata(&folder).with_context(|| format!("--cgroup {}: no such cgroup ({})", path.display(), folder.display()))?;
    if !metadata.is_dir() {
        bail!("--cgroup {}: {} is not a cgroup's folder", path.display(), folder.display());
    }
    Ok(metadata.ino())
}

/// Where cgroup v2 is mounted.
pub fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, folder, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(folder))
    })
}

/// Why there is no hierarchy to hang a program in, and the way out.
pub fn without_cgroups() -> &'static str {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.split_whitespace().last() == Some("cgroup2")) {
        "no cgroup v2 hierarchy is mounted here (mount -t cgroup2 none /sys/fs/cgroup)"
    } else {
        "this kernel has no cgroup v2 (it needs CONFIG_CGROUPS=y and CONFIG_CGROUP_BPF=y)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_become_bits_and_the_two_ends_do_not_mix() {
        let ports = [(end::LOCAL, PortRange { first: 63, last: 64 }), (end::REMOTE, PortRange { first: 65535, last: 65535 })];
        let words: Vec<_> = port_words(&ports).collect();
        assert_eq!(words, [(0, 1 << 63), (1, 1), (2 * PORT_WORDS - 1, 1 << 63)]);
    }

    #[test]
    fn an_ipv4_block_is_matched_as_a_mapped_one() {
        let key = prefix(end::REMOTE, "10.0.0.0/8".parse().unwrap());
        assert_eq!(key.prefix_len(), 32 + 96 + 8);
        assert_eq!(key.data()[14..17], [0xff, 0xff, 10]);
    }

    #[test]
    fn an_unknown_namespace_is_named_with_the_ways_to_give_one() {
        let error = netns_inode("no-such-netns").unwrap_err();
        assert!(
            error.to_string().starts_with("--netns no-such-netns: no such network namespace (/run/netns/no-such-netns)"),
            "{error}"
        );
    }

    #[test]
    fn a_number_is_an_inode() {
        assert_eq!(netns_inode("4026531840").unwrap(), 4_026_531_840);
    }
}
