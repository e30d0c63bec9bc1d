//! What building the eBPF side needs besides the pinned toolchain: rust-src and bpf-linker.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::apt::{self, Apt, LISTS_AGE};
use crate::{cache, progress, shell, workspace};

/// The last one that links with rustc's own LLVM; later ones want one that is installed.
const BPF_LINKER: &str = "0.10.3";
/// Offline, rustup would go on trying for long.
const RUSTUP_SECONDS: &str = "180";

/// Brings rust-src and bpf-linker.
pub fn toolchain() -> Result<()> {
    rust_src()?;
    bpf_linker()
}

fn rust_src() -> Result<()> {
    let rust = rustc(&["--print", "sysroot"])?;
    let library = Path::new(&rust).join("lib/rustlib/src/rust/library");
    if is_whole(&library) {
        return Ok(());
    }
    let said = rustc(&["--version"])?;
    let version = said.split_whitespace().nth(1).with_context(|| format!("rustc calls itself `{said}`"))?;
    let by_rustup = rust_src_of_rustup(version);
    if by_rustup.is_ok() && is_whole(&library) {
        return Ok(());
    }
    let by_debian = rust_src_of_debian(version, &library);
    if by_debian.is_ok() && is_whole(&library) {
        return Ok(());
    }
    let reasons =
        [by_rustup, by_debian].map(|tried| tried.err().map_or_else(|| "nothing came".to_owned(), |error| format!("{error:#}")));
    bail!(
        "rust-src of rustc {version} is missing. Type:\n\n    rustup component add rust-src --toolchain {version}\n\n\
         or put the `library` folder of Rust's source at {}.\nTried: rustup: {}\nTried: Debian's package: {}",
        library.display(),
        reasons[0],
        reasons[1]
    )
}

/// Without the lock file, cargo builds no `core`.
fn is_whole(library: &Path) -> bool {
    library.join("core/src/lib.rs").is_file() && library.join("Cargo.lock").is_file()
}

fn rust_src_of_rustup(version: &str) -> Result<()> {
    if shell::find("rustup").is_none() {
        bail!("there is no rustup");
    }
    let task = progress::task(format!("rust-src {version} by rustup"));
    let added = shell::capture(
        Command::new("timeout").args([RUSTUP_SECONDS, "rustup", "component", "add", "rust-src"]).current_dir(workspace::root()),
    );
    task.done(if added.is_ok() { "added" } else { "not to be had" });
    added.map(drop)
}

fn rust_src_of_debian(version: &str, library: &Path) -> Result<()> {
    let _lock = cache::lock()?;
    let parent = library.parent().context("the sysroot has no parent")?;
    let fresh = parent.join("library.incoming");
    // Tried before the download: a sysroot of the system's is not ours to write to.
    cache::remove(&fresh)?;
    workspace::folder(fresh.clone())?;
    let apt = Apt::open()?;
    apt.refresh(LISTS_AGE)?;
    let task = progress::task(format!("rust-src {version} by Debian"));
    let placed = unpack_rust_src(&apt, version, &fresh).and_then(|()| {
        cache::remove(library)?;
        fs::rename(&fresh, library).with_context(|| format!("cannot move the source to {}", library.display()))
    });
    task.done(if placed.is_ok() { "put in place" } else { "not to be had" });
    cache::remove(&fresh)?;
    placed
}

fn unpack_rust_src(apt: &Apt, version: &str, to: &Path) -> Result<()> {
    let versions = apt.versions([&"rust-src".to_owned()])?;
    let exact = versions
        .into_iter()
        .find(|(_, have)| have.starts_with(&format!("{version}+")) || have.starts_with(&format!("{version}-")));
    let (package, version) = exact.with_context(|| format!("no suite of Debian has rust-src {version}"))?;
    let folder = workspace::folder(workspace::cache()?.join("download"))?;
    let unpacked = apt.download(&package, &version, &folder).and_then(|deb| {
        // ./usr/src/rustc-1.95.0/library/...
        apt::extract_folder(&deb, "./usr/src/rustc-*/library", 5, to)
    });
    cache::remove(&folder)?;
    unpacked
}

fn bpf_linker() -> Result<()> {
    if linker_version().is_some_and(|version| version.starts_with("0.10.")) {
        return Ok(());
    }
    let task = progress::task(format!("bpf-linker {BPF_LINKER} by cargo (about a minute)"));
    let installed =
        shell::capture(shell::cargo().args(["install", "--quiet", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"]));
    task.done(if installed.is_ok() { "installed" } else { "failed" });
    installed.with_context(|| {
        format!("bpf-linker is missing. Type:\n\n    cargo install bpf-linker --version {BPF_LINKER} --locked\n\nTried")
    })?;
    match linker_version() {
        Some(version) if version.starts_with("0.10.") => Ok(()),
        Some(version) => bail!("bpf-linker {version} stands before the installed {BPF_LINKER} in PATH: remove it"),
        None => bail!("bpf-linker is installed, but does not run"),
    }
}

fn linker_version() -> Option<String> {
    let file: PathBuf = shell::find("bpf-linker")?;
    let said = shell::capture(Command::new(file).arg("--version")).ok()?;
    said.split_whitespace().nth(1).map(str::to_owned)
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let said = shell::capture(Command::new("rustc").args(arguments).current_dir(workspace::root()))?;
    Ok(said.trim().to_owned())
}
