//! A recording of many events: what it costs to write, to report and to export, beside a capture of the same connections.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{setup, shell, workspace};

/// Measures and reports; false when memory or the recording's size goes beyond a goal.
pub fn run(built: &BTreeMap<String, PathBuf>) -> Result<bool> {
    let take = |name: &str| built.get(name).with_context(|| format!("cargo built no `{name}`"));
    let [bench, tracer] = [take("bench")?, take("keepalive-trace")?];
    let tshark = setup::tshark();
    if let Err(error) = &tshark {
        println!("{error:#}");
    }
    // Some hundred MB.
    let folder = Folder(workspace::folder(workspace::target().join("bench"))?);
    shell::run(Command::new(bench).arg("report").args([&folder.0, tracer]).args(tshark.ok()))
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
