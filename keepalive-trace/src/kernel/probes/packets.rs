//! The programs that see packets: what HTTP is watched with.
use std::fs::File;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType};
use nix::errno::Errno;

use super::{Link, Probes, errno, refused};
use crate::kernel::{
    facts,
    filters::{cgroup_root, without_cgroups},
};

impl Probes {
    /// At the root of the cgroups, where every packet of every socket passes. A link lets others' programs be (it is the kernel
    /// that makes it `BPF_F_ALLOW_MULTI`), and goes with its descriptor; kernels before 5.7 have none.
    ///
    /// # Errors
    /// One sentence: what is missing, and the way out.
    pub fn watch_packets(&mut self) -> Result<()> {
        let Some(root) = cgroup_root() else { bail!("cannot watch HTTP: {}", without_cgroups()) };
        let folder = File::open(&root).with_context(|| format!("cannot watch HTTP: cannot open {}", root.display()))?;
        self.attach_births()?;
        for (name, way) in [("http_ingress", CgroupSkbAttachType::Ingress), ("http_egress", CgroupSkbAttachType::Egress)] {
            let program: &mut CgroupSkb = self.program(name)?.try_into()?;
            let loaded = program.load().and_then(|()| program.attach(&folder, way, CgroupAttachMode::Single));
            let link = loaded.and_then(|id| program.take_link(id)).map_err(|error| match errno(&error) {
                Some(Errno::EPERM) if !facts::has_net_admin() => anyhow!(
                    "cannot watch HTTP: no CAP_NET_ADMIN, which it takes to look at packets: run it as root (sudo), or give it that too"
                ),
                Some(Errno::EINVAL) => {
                    refused(error, "cgroup_skb", "packets").context("cannot watch HTTP: it needs Linux 5.7 with CONFIG_CGROUP_BPF=y")
                }
                _ => refused(error, "cgroup_skb", "packets"),
            })?;
            self.links.push(Link::CgroupSkb(link));
        }
        Ok(())
    }
}
