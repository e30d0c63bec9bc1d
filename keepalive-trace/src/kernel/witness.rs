//! The kernel's own count of keepalive probes: where kprobes are skipped without a count, it says how many.
use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
};

use super::facts;

/// Has the kernel side compare counts, once there is something to compare.
pub struct Witness(Option<Array<MapData, u64>>);

impl Witness {
    /// # Errors
    /// When the map is missing.
    pub fn of(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf.take_map("PER_CPU_OFFSETS").context("the map PER_CPU_OFFSETS is missing")?;
        Ok(Self(Some(map.try_into().context("the map PER_CPU_OFFSETS is of another kind")?)))
    }

    /// A probe was seen: counts are compared from the next one on. Where the kernel hides its symbols, they are not.
    pub fn begin(&mut self) {
        let Some(mut map) = self.0.take() else { return };
        match facts::symbol("__per_cpu_offset") {
            Some(address) => {
                if let Err(error) = map.set(0, address, 0) {
                    log::warn!("the kernel's own count of probes is not compared with ours: {error:#}");
                }
            }
            None => log::info!("the kernel's own count of probes is not compared with ours: /proc/kallsyms is hidden"),
        }
    }
}
