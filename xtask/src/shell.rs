//! Running other programs.
use std::{
    env,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Uid;

use crate::workspace;

/// A cargo of the same toolchain that runs in the repository and finds what `cargo install` put in place.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()).env("PATH", path()).stdin(Stdio::null());
    cargo
}

/// `PATH`, and behind it the folder that `cargo install` fills, which not every shell has there.
pub fn path() -> OsString {
    let given = env::var_os("PATH").unwrap_or_default();
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let all = env::split_paths(&given).chain(home.map(|home| home.join("bin")));
    env::join_paths(all).unwrap_or(given)
}

/// The program's file in `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&path()).map(|folder| folder.join(program)).find(|file| file.is_file())
}

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Runs the program with its output going to the user; says whether it succeeded.
pub fn run(command: &mut Command) -> Result<bool> {
    let status = command.stdin(Stdio::null()).status().with_context(|| cannot_run(command))?;
    Ok(status.success())
}

/// Runs the program silently; gives what it wrote, or fails with its last words.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| cannot_run(command))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(2)..];
    bail!("`{}` failed ({}): {}", shown(command), output.status, last.join("; "))
}

/// The command as a person would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// One word for a shell, whatever is in it.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn cannot_run(command: &Command) -> String {
    format!("cannot run `{}`", command.get_program().to_string_lossy())
}

/// The file's SHA-256, by coreutils: an unoptimised build of our own would take seconds for each kernel.
pub fn sha256(file: &std::path::Path) -> Result<String> {
    let said = capture(Command::new("sha256sum").arg("--").arg(file))?;
    let sum = said.trim_start_matches('\\').split_whitespace().next();
    sum.map(str::to_owned).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)).context("sha256sum said nothing")
}
