//! The demo's scenes: what becomes of real connections, with the tracer's live lines between a narrator's.
//!
//! `scenes short` shows six short stories, `scenes defaults` two hours and twelve minutes of the kernel's own settings, `scenes
//! settings` what is in force on a few sockets, and what a written sysctl does to them.
mod audience;
mod defaults;
mod paper;
mod settings;
mod short;
mod summary;

use std::process::ExitCode;

use anyhow::{Result, bail};
use paper::Paper;

const USAGE: &str = "usage: scenes [--color auto|always|never] short|defaults|settings...";

#[expect(clippy::print_stderr, reason = "the last word of a program that failed")]
fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let mut color = "auto";
    let mut which = Vec::new();
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--color" => color = words.next().unwrap_or_default(),
            other => which.push(other),
        }
    }
    let paper = Paper::new(color)?;
    if which.is_empty() {
        bail!("{USAGE}");
    }
    which.into_iter().try_for_each(|which| match which {
        "short" => short::play(paper),
        "defaults" => defaults::play(paper),
        "settings" => settings::play(paper),
        _ => bail!("{USAGE}"),
    })
}
