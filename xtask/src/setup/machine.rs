//! What virtual machines need: QEMU, and a busybox for the guest.
use std::{
    env::consts,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::apt::{self, Apt, LISTS_AGE};
use crate::{cache, progress, shell, workspace};

const QEMU: &str = "qemu-system-x86_64";
const BUSYBOX: &str = "busybox";

pub struct Machine {
    pub qemu: PathBuf,
    pub busybox: PathBuf,
}

/// Brings QEMU and busybox.
pub fn machine() -> Result<Machine> {
    if consts::ARCH != "x86_64" {
        bail!("the virtual machines are built for x86-64, and this machine is {}: use --no-vm", consts::ARCH);
    }
    Ok(Machine { qemu: qemu()?, busybox: busybox()? })
}

fn qemu() -> Result<PathBuf> {
    if let Some(file) = shell::find(QEMU) {
        return Ok(file);
    }
    if !shell::is_root() || shell::find("apt-get").is_none() {
        bail!(
            "{QEMU} is not installed, and installing it takes root and apt. Type:\n\n    \
             sudo apt-get update\n    sudo apt-get install -y --no-install-recommends qemu-system-x86\n"
        );
    }
    let task = progress::task("Debian package qemu-system-x86");
    let installed = install("qemu-system-x86");
    task.done(if installed.is_ok() { "installed" } else { "failed" });
    installed?;
    shell::find(QEMU).with_context(|| format!("qemu-system-x86 is installed, but {QEMU} is not in PATH"))
}

/// Tries with the lists as they are first: a fresh container has none, other machines have no need to wait.
fn install(package: &str) -> Result<()> {
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
        shell::capture(&mut command).map(drop)
    };
    let arguments = ["install", "-y", "--no-install-recommends", package];
    apt_get(&arguments).or_else(|_| {
        apt_get(&["update"])?;
        apt_get(&arguments)
    })
}

fn busybox() -> Result<PathBuf> {
    if let Some(file) = shell::find(BUSYBOX).filter(is_static) {
        return Ok(file);
    }
    if let Some(([file], _)) = cache::get(BUSYBOX, [BUSYBOX]) {
        return Ok(file);
    }
    let _lock = cache::lock()?;
    let fetched = fetch_busybox();
    fetched.context(
        "busybox is missing for the guest. Where root can install it, type:\n\n    sudo apt-get install -y busybox-static\n",
    )
}

fn fetch_busybox() -> Result<PathBuf> {
    let apt = Apt::open()?;
    apt.refresh(LISTS_AGE)?;
    let task = progress::task("busybox for the guest");
    let package = "busybox-static".to_owned();
    let version = apt.versions([&package])?.into_iter().next();
    let (package, version) = version.context("no suite of Debian has busybox-static")?;
    let folder = workspace::folder(workspace::cache()?.join("download"))?;
    let kept = cache::put(BUSYBOX, [BUSYBOX], &package, &version, |[file]| {
        let deb = apt.download(&package, &version, &folder)?;
        apt::extract_file(&deb, "*bin/busybox", file)
    });
    cache::remove(&folder)?;
    task.done(if kept.is_ok() { "fetched" } else { "failed" });
    kept.map(|([file], _)| file)
}

/// The guest has no shared libraries. `ldd` fails on what needs none.
fn is_static(file: &PathBuf) -> bool {
    let ldd = Command::new("ldd").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ldd.is_ok_and(|status| !status.success())
}
