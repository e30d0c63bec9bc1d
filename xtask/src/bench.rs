//! `cargo xtask bench`: what the tracer costs, in a machine whose clock counts instructions.
use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    cli::BenchOptions,
    guest, kernels, setup,
    vm::{Clock, Given, Initramfs, Line, Vm},
    workspace,
};

const LIMIT: Duration = Duration::from_secs(600);

pub fn command(options: &BenchOptions) -> Result<ExitCode> {
    setup::toolchain()?;
    let mut cargo = guest::static_build();
    cargo.args(["--release", "--target-dir"]).arg(workspace::vm());
    cargo.args(["--package", "keepalive-trace", "--package", "tests", "--bin", "keepalive-trace", "--bin", "bench"]);
    let built = guest::executables(&mut cargo)?;
    let take = |name: &str| built.get(name).map(|path| Given::program(path)).with_context(|| format!("cargo built no `{name}`"));
    let files = [take("keepalive-trace")?, take("bench")?];

    let machine = setup::machine()?;
    let kernel = kernels::provide(&options.kernel)?;
    println!("kernel {}", kernel.full_version());
    let initramfs = Initramfs::build(&machine.busybox, &files, &["/bin/bench".to_owned()])?;
    let vm = Vm { qemu: machine.qemu, kernel, initramfs, clock: Clock::Virtual, limit: LIMIT, patience: LIMIT };
    let ended = vm.run(|line| {
        if let Line::Guest(text) = line {
            println!("{text}");
        }
    })?;
    Ok(ExitCode::from(u8::try_from(ended).unwrap_or(1)))
}
