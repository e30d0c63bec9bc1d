//! Facts about the running system that a run is judged by.
use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    ops::Deref,
    os::fd::AsRawFd as _,
    path::Path,
    ptr::{self, NonNull},
    slice,
};

use anyhow::{Context as _, Result, bail};
use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::model::sysctl::Sysctls;

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The running kernel's types.
pub const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Jiffies a second. The coarse clock ticks once a jiffy, so its resolution is exactly 1/HZ.
pub fn hz() -> Result<u32> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).context("the kernel's tick (CLOCK_MONOTONIC_COARSE)")?;
    let ns = tick.tv_sec() * 1_000_000_000 + tick.tv_nsec();
    match u32::try_from(1_000_000_000 / ns.max(1)) {
        Ok(hz @ 10..=100_000) => Ok(hz),
        _ => bail!("the kernel's tick is {ns} ns, which is no HZ that Linux has"),
    }
}

/// CLOCK_MONOTONIC, nanoseconds: the clock of `bpf_ktime_get_ns`.
pub fn mono_ns() -> u64 {
    now(ClockId::CLOCK_MONOTONIC).try_into().unwrap_or(0)
}

/// CLOCK_REALTIME minus CLOCK_MONOTONIC, nanoseconds.
pub fn wall_offset_ns() -> i64 {
    now(ClockId::CLOCK_REALTIME) - now(ClockId::CLOCK_MONOTONIC)
}

fn now(clock: ClockId) -> i64 {
    // Both clocks exist on every Linux; the call can't fail with a valid pointer.
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

pub fn kernel_release() -> String {
    line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned())
}

pub fn host() -> String {
    line("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".to_owned())
}

/// The address of a symbol of the kernel's; `None` where it has no such, or hides addresses (kernel.kptr_restrict).
pub fn symbol(name: &str) -> Option<u64> {
    let mut symbols = BufReader::with_capacity(1 << 16, File::open("/proc/kallsyms").ok()?);
    let mut line = String::new();
    while symbols.read_line(&mut line).ok()? > 0 {
        // `address type name`, and the module where it is of one.
        let mut words = line.split_ascii_whitespace();
        let address = words.next().and_then(|address| u64::from_str_radix(address, 16).ok());
        if words.nth(1) == Some(name) {
            return address.filter(|address| *address != 0);
        }
        line.clear();
    }
    None
}

/// The keepalive sysctls of the namespace that the tool runs in.
pub fn sysctls() -> Option<Sysctls> {
    let value = |name: &str| line(format!("/proc/sys/net/ipv4/tcp_keepalive_{name}"));
    Some(Sysctls {
        time_s: value("time")?.parse().ok()?,
        intvl_s: value("intvl")?.parse().ok()?,
        probes: value("probes")?.parse().ok()?,
    })
}

/// The running kernel's BTF.
pub struct BtfFile(Bytes);

enum Bytes {
    /// The kernel's own memory, where it shows that (Linux 6.16): nothing is copied.
    Mapped(NonNull<u8>, usize),
    Read(Vec<u8>),
}

impl Deref for BtfFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            // SAFETY: mapped to that length until this is dropped; the kernel's types never change.
            Bytes::Mapped(start, len) => unsafe { slice::from_raw_parts(start.as_ptr(), *len) },
            Bytes::Read(bytes) => bytes,
        }
    }
}

impl Drop for BtfFile {
    fn drop(&mut self) {
        if let Bytes::Mapped(start, len) = self.0 {
            // SAFETY: mapped to that length, and nobody borrows it any more.
            unsafe { libc::munmap(start.as_ptr().cast(), len) };
        }
    }
}

/// Maps a file that never changes; `None` where it can't be mapped.
fn mapped(file: &File) -> Option<Bytes> {
    let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
    // SAFETY: a new mapping, wherever there is room.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    (start != libc::MAP_FAILED).then(|| NonNull::new(start.cast())).flatten().map(|start| Bytes::Mapped(start, len))
}

/// Maps or reads the running kernel's BTF.
///
/// # Errors
/// Where there is none, with what a kernel needs to have it.
pub fn btf() -> Result<BtfFile> {
    let read = || fs::read(BTF).map(Bytes::Read);
    match File::open(BTF).and_then(|file| mapped(&file).map_or_else(read, Ok)) {
        Ok(bytes) => Ok(BtfFile(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(
                "{BTF} is missing: this kernel was built without CONFIG_DEBUG_INFO_BTF=y, which the probes need to find their way"
            )
        }
        Err(error) => Err(error).context(format!("cannot read {BTF}")),
    }
}

/// Capabilities that tracing needs and this process lacks. CAP_SYS_ADMIN stands for all.
pub fn missing_capabilities() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    lacking(effective_capabilities(&status))
}

/// Whether programs may look at packets. Before 6.9 CAP_SYS_ADMIN does not stand for this.
pub fn has_net_admin() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_capabilities(&status) & (1 << CAP_NET_ADMIN) != 0
}

fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn lacking(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective & (1 << capability) != 0;
    if has(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON)].into_iter().filter(|(_, cap)| !has(*cap)).map(|(name, _)| name).collect()
}

/// First line of a small file.
pub fn line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_all_and_two_capabilities_do_too() {
        assert!(lacking(1 << CAP_SYS_ADMIN).is_empty());
        assert!(lacking((1 << CAP_BPF) | (1 << CAP_PERFMON)).is_empty());
        assert_eq!(lacking(1 << CAP_BPF), ["CAP_PERFMON"]);
        assert_eq!(lacking(0), ["CAP_BPF", "CAP_PERFMON"]);
    }

    #[test]
    fn the_capabilities_in_force_are_read_from_the_status() {
        assert_eq!(effective_capabilities("CapPrm:\t0\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
        assert_eq!(effective_capabilities(""), 0);
    }
}
