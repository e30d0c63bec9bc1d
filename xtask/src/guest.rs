//! The programs that run in virtual machines: static, so that they need nothing there but the kernel.
use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{shell, vm::Given, workspace};

/// Named, so that build scripts and macros are built without the flags of the guest's programs.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const STATIC: &str = "-Ctarget-feature=+crt-static";

/// The built programs.
pub struct Guest {
    pub tracer: PathBuf,
    pub scenes: PathBuf,
    pub live: PathBuf,
}

#[derive(Deserialize)]
struct Message {
    target: Option<Artifact>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Artifact {
    name: String,
}

/// Builds all of them in one go.
pub fn build() -> Result<Guest> {
    let mut cargo = static_build();
    cargo
        .args(["--profile", "lab", "--target-dir"])
        .arg(workspace::vm())
        .args(["--package", "keepalive-trace", "--package", "tests"])
        .args(["--bin", "keepalive-trace", "--bin", "scenes", "--test", "live"]);
    let mut built = executables(&mut cargo)?;
    let mut take = |name: &str| built.remove(name).with_context(|| format!("cargo built no `{name}`"));
    Ok(Guest { tracer: take("keepalive-trace")?, scenes: take("scenes")?, live: take("live")? })
}

/// `cargo build` with the target and the flags of a static program, for [`executables`].
pub fn static_build() -> Command {
    let mut cargo = shell::cargo();
    cargo.args(["build", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", STATIC).env_remove("RUSTFLAGS");
    cargo
}

/// Runs cargo, its progress going to the user; gives what it built by name.
pub fn executables(cargo: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    let output = cargo.stdout(Stdio::piped()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`{}` failed", shell::shown(cargo));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    Ok(messages.filter_map(|message| Some((message.target?.name, message.executable?))).collect())
}

impl Guest {
    /// All of them, for a guest's `/bin`.
    pub fn files(&self) -> Vec<Given> {
        let live = Given { host: self.live.clone(), guest: "bin/live".to_owned() };
        vec![Given::program(&self.tracer), Given::program(&self.scenes), live]
    }
}
