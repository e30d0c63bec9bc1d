//! One file a command, wiring only: a source, the model, an output.
mod check;
mod export;
mod live;
mod record;
mod recorded;
mod replay;
mod report;
mod sockets;
mod sysctl;
mod trace;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Command;

pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Trace(args) => trace::run(&args),
        Command::Sockets(args) => sockets::run(&args),
        Command::Sysctl(args) => sysctl::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Check(args) => check::run(&args),
    }
}
