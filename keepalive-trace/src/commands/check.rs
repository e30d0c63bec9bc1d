//! `check`: what this kernel and these privileges allow.
use std::process::ExitCode;

use anyhow::Result;

use crate::{
    cli::CheckArgs,
    kernel::{check, facts},
    output,
};

pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    output::log_to_stderr(args.kernel.verbose);
    let report = check::run(args.kernel.attach(), args.kernel.ring_bytes(false));
    let head = format!("keepalive-trace {} on Linux {}", env!("CARGO_PKG_VERSION"), facts::kernel_release());
    let needs =
        report.findings.iter().map(|check::Finding { need, state, detail }| format!("{:<8} {need:<12} {detail}", state.name()));
    let verdict = if report.works { "`trace` works here" } else { "`trace` cannot work here: see what is missing above" };
    output::lines([head].into_iter().chain(needs).chain([verdict.to_owned()]))?;
    Ok(if report.works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
