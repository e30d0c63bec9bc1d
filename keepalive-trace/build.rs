//! Builds the eBPF object and leaves it in `OUT_DIR`, from where `kernel/probes.rs` takes it.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use object::build::elf::{Builder, SectionData};

const PACKAGE: &str = "keepalive-trace-ebpf";
const TARGET: &str = "bpfel-unknown-none";

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    println!("cargo:rerun-if-changed={}", Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PACKAGE).display());
    let built = build(&out.join("ebpf"))?;
    let object = out.join(PACKAGE);
    slim(&built, &object).with_context(|| format!("cannot slim {} to {}", built.display(), object.display()))
}

/// A cargo within cargo: the target needs a `core` of its own (`build-std`), which this variable lets the pinned stable
/// compiler build, and its folder must be another, since the outer cargo holds the lock of its own.
fn build(target_dir: &Path) -> Result<PathBuf> {
    if !Command::new("bpf-linker").arg("--version").output().is_ok_and(|output| output.status.success()) {
        bail!("bpf-linker is not installed: run `cargo xtask setup`");
    }
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH is not set")?;
    let flags = [&*format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\x1f");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--package", PACKAGE, "--bin", PACKAGE, "--target", TARGET, "-Zbuild-std=core"]);
    cargo.arg("--target-dir").arg(target_dir);
    cargo.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", flags);
    // What the outer cargo set for its own compilations.
    for variable in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().context("cannot run cargo for the eBPF side")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("the eBPF side did not build; `cargo xtask setup` brings what it needs\n{errors}");
    }
    Ok(target_dir.join(TARGET).join("release").join(PACKAGE))
}

/// Drops the debug sections: the BTF made from them says all that the kernel wants to know, in a tenth of the room. What says
/// which line an instruction comes from goes too: the loader and the kernel read it at every start.
fn slim(built: &Path, slimmed: &Path) -> Result<()> {
    let bytes = fs::read(built)?;
    let mut object = Builder::read(&*bytes)?;
    for section in &mut object.sections {
        let name = section.name.as_slice();
        section.delete =
            name.starts_with(b".debug") || name.starts_with(b".rel.debug") || name == b".BTF.ext" || name == b".rel.BTF.ext";
    }
    object.delete_orphans();
    // LLVM keeps section names among the symbols' names; the writer wants them apart.
    let names = object.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut written = Vec::new();
    object.write(&mut written)?;
    Ok(fs::write(slimmed, written)?)
}
