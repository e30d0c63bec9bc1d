//! A Python with what people query recordings with: pyarrow, DuckDB and ClickHouse's engine.
use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{cache, progress, shell};

const ENTRY: &str = "python";
const PROGRAM: &str = "bin/python";

/// Exactly these: the tests are about them.
const PACKAGES: [&str; 8] = [
    "pyarrow==26.0.1",
    "duckdb==2.0.1",
    "chdb==4.4.0",
    "chdb-core==26.9.0",
    "pandas==3.1.1",
    "numpy==2.4.6",
    "python-dateutil==4.0.0",
    "tzdata==2026.6",
];
/// Offline, pip would go on trying for long.
const SECONDS: &str = "900";

/// A virtual environment's `python`, which has the packages.
pub fn python() -> Result<PathBuf> {
    if let Some(program) = cached() {
        return Ok(program);
    }
    let _lock = cache::lock()?;
    // Another run may have brought it while this one waited for the lock.
    let provided = cached().map_or_else(fetch, Ok);
    provided.context("pyarrow, duckdb and chdb cannot be had: they take Python 3.11 or later, its pip and its venv. Tried")
}

/// Not one of other packages, nor of a Python that has been replaced since.
fn cached() -> Option<PathBuf> {
    let ([program], stamp) = cache::get(ENTRY, [PROGRAM])?;
    (stamp.version == PACKAGES.join(" ")).then_some(program)
}

fn fetch() -> Result<PathBuf> {
    let Some(python) = shell::find("python3") else { bail!("there is no python3") };
    let task = progress::task("pyarrow, duckdb and chdb by pip");
    let kept = cache::put(ENTRY, [PROGRAM], "pyarrow, duckdb, chdb", &PACKAGES.join(" "), |[program]| {
        let folder = program.ancestors().nth(2).context("the entry has no folder")?;
        // Debian's python3 has no ensurepip: the machine's own pip fills the environment.
        shell::capture(Command::new(&python).args(["-m", "venv", "--without-pip"]).arg(folder))?;
        let mut pip = Command::new("timeout");
        pip.arg(SECONDS).arg(&python).args(["-m", "pip", "--python"]).arg(program);
        pip.args(["install", "--quiet", "--only-binary", ":all:", "--retries", "2"]).args(PACKAGES);
        shell::capture(&mut pip)?;
        shell::capture(Command::new(program).args(["-c", "import pyarrow, duckdb, chdb"])).map(drop)
    });
    task.done(if kept.is_ok() { "fetched" } else { "failed" });
    kept.map(|([program], _)| program)
}
