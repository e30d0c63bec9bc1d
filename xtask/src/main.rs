//! `cargo xtask`: everything around the tracer that is not the tracer.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for developers: its output is its purpose")]

mod bench;
mod cache;
mod cli;
mod demo;
mod dist;
mod fixture;
mod guest;
mod kernels;
mod modules;
mod progress;
mod run;
mod setup;
mod shell;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use cli::{Cli, Task};

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup(options) => setup::command(&options),
        Task::Build => dist::command(),
        Task::Demo(options) => demo::command(&options),
        Task::Test(options) => test::command(&options),
        Task::Bench(options) => bench::command(&options),
        Task::Vm(options) => run::command(&options),
        Task::Fixture(options) => fixture::run(&options.vmlinux_btf, &options.out).map(|()| ExitCode::SUCCESS),
    }
}
