//! Builds the eBPF object and leaves it in `OUT_DIR`, from where `kernel/probes.rs` takes it.
use std::{env, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};
use object::build::elf::{Builder, SectionData};

fn main() -> Result<()> {
    if !Command::new("bpf-linker").arg("--version").output().is_ok_and(|output| output.status.success()) {
        bail!("bpf-linker is not installed: run `cargo xtask setup`");
    }
    // `build-std` is what the eBPF target needs; with this variable the pinned stable compiler has it too.
    // SAFETY: a build script's only thread.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "1.95.0".to_owned());
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../keepalive-trace-ebpf");
    let package_name = "keepalive-trace-ebpf";
    let package = Package { name: package_name, root_dir, ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .context("the eBPF side did not build; `cargo xtask setup` brings what it needs")?;
    let object = Path::new(&env::var("OUT_DIR")?).join(package_name);
    slim(&object).with_context(|| format!("cannot slim {}", object.display()))
}

/// Drops the debug sections: the BTF made from them says all that the kernel wants to know, in a twentieth of the room.
fn slim(path: &Path) -> Result<()> {
    let bytes = fs::read(path)?;
    let mut object = Builder::read(&*bytes)?;
    for section in &mut object.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug") || name.starts_with(b".rel.debug");
    }
    object.delete_orphans();
    // LLVM keeps section names among the symbols' names; the writer wants them apart.
    let names = object.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut slimmed = Vec::new();
    object.write(&mut slimmed)?;
    Ok(fs::write(path, slimmed)?)
}
