//! A recording of many events: what it costs to write, to report and to export, beside a capture of the same connections.
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::figures::Figures;
use crate::{setup, workspace};

/// Measures and reports; false when memory or the recording's size goes beyond a goal.
pub fn run(built: &BTreeMap<String, PathBuf>, figures: &mut Figures) -> Result<bool> {
    let take = |name: &str| built.get(name).with_context(|| format!("cargo built no `{name}`"));
    let [bench, tracer] = [take("bench")?, take("keepalive-trace")?];
    let tshark = setup::tshark();
    if let Err(error) = &tshark {
        println!("{error:#}");
    }
    // Some hundred MB.
    let folder = Folder(workspace::folder(workspace::target().join("bench"))?);
    let mut command = Command::new(bench);
    command.arg("report").args([&folder.0, tracer]).args(tshark.ok()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", bench.display()))?;
    for line in BufReader::new(child.stdout.take().context("the bench has no output")?).lines() {
        let line = line.context("cannot read what the bench reports")?;
        println!("{line}");
        figures.take(&line);
    }
    Ok(child.wait().context("the bench was lost")?.success())
}

/// Gone with all that is in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            println!("cannot remove {}: {error}", Path::new(&self.0).display());
        }
    }
}
