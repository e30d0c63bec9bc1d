//! `cargo xtask build`: the binary that people copy to their machines.
use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{guest, setup, workspace};

const NAME: &str = "keepalive-trace";

pub fn command() -> Result<ExitCode> {
    setup::toolchain()?;
    let mut cargo = guest::static_build();
    cargo.args(["--release", "--package", NAME, "--bin", NAME]);
    let built = guest::executables(&mut cargo)?;
    let built = built.get(NAME).with_context(|| format!("cargo built no `{NAME}`"))?;
    let place = workspace::folder(workspace::target().join("dist"))?.join(NAME);
    let bytes = fs::copy(built, &place).with_context(|| format!("cannot copy {} to {}", built.display(), place.display()))?;
    println!("{}: {:.1} MB, static", place.display(), bytes as f64 / 1e6);
    Ok(ExitCode::SUCCESS)
}
