//! `cargo xtask bench`: what the tracer costs: a crowd of connections here, one connection in a machine whose clock counts
//! instructions.
mod crowd;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Bench, BenchOptions},
    guest, kernels, setup,
    vm::{Clock, Given, Initramfs, Line, Vm},
    workspace,
};

const LIMIT: Duration = Duration::from_secs(600);

pub fn command(options: &BenchOptions) -> Result<ExitCode> {
    setup::toolchain()?;
    let within = options.what == Bench::Kernel || crowd::run()?;
    let ended = if options.what == Bench::Crowd { 0 } else { kernel(&options.kernel)? };
    // Figures of time depend on the machine. Those of memory don't, and must be within their goals.
    Ok(ExitCode::from(if within { u8::try_from(ended).unwrap_or(1) } else { 1 }))
}

/// The exit code of the measurement in the virtual machine.
fn kernel(series: &str) -> Result<i32> {
    let mut cargo = guest::static_build();
    cargo.args(["--release", "--target-dir"]).arg(workspace::vm());
    cargo.args(["--package", "keepalive-trace", "--package", "tests", "--bin", "keepalive-trace", "--bin", "bench"]);
    let built = guest::executables(&mut cargo)?;
    let take = |name: &str| built.get(name).map(|path| Given::program(path)).with_context(|| format!("cargo built no `{name}`"));
    let files = [take("keepalive-trace")?, take("bench")?];

    let machine = setup::machine()?;
    let kernel = kernels::provide(series)?;
    println!("kernel {}", kernel.full_version());
    let initramfs = Initramfs::build(&machine.busybox, &files, &["/bin/bench".to_owned()])?;
    let vm = Vm { qemu: machine.qemu, kernel, initramfs, clock: Clock::Virtual, limit: LIMIT, patience: LIMIT };
    vm.run(|line| {
        if let Line::Guest(text) = line {
            println!("{text}");
        }
    })
}
