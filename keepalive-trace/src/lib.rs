//! keepalive-trace: what Linux TCP keepalive does on every connection, live.
//!
//! The floors, each importing only from its own or those below:
//! `commands` (wiring) on top of `kernel` and `output` (the only I/O) on top of `model` (the story, pure) on top of the wire
//! (`keepalive_trace_ebpf`).
pub mod cli;
mod commands;
pub mod kernel;
pub mod model;
pub mod output;
pub mod recording;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs the command line. 0: fine, 1: failed, 2: usage.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli.chosen()) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}
