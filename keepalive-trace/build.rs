//! Builds the eBPF object and leaves it in `OUT_DIR`, from where `kernel/probes.rs` takes it.
use std::{env, process::Command};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    if !Command::new("bpf-linker").arg("--version").output().is_ok_and(|output| output.status.success()) {
        bail!("bpf-linker is not installed: run `cargo xtask setup`");
    }
    // `build-std` is what the eBPF target needs; with this variable the pinned stable compiler has it too.
    // SAFETY: a build script's only thread.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "1.95.0".to_owned());
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../keepalive-trace-ebpf");
    let package = Package { name: "keepalive-trace-ebpf", root_dir, ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .context("the eBPF side did not build; `cargo xtask setup` brings what it needs")
}
