//! `cargo xtask bench`: what the tracer costs: a crowd of connections here, one connection, and a listing of many, in a machine
//! whose clock counts instructions; and a recording of many events, here.
mod crowd;
mod report;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Bench, BenchOptions},
    guest, kernels, setup,
    vm::{Clock, Given, Initramfs, Line, MEMORY, MORE_MEMORY, Vm},
    workspace,
};

const LIMIT: Duration = Duration::from_secs(600);
/// A listing of many sockets is measured many times.
const SOCKETS_LIMIT: Duration = Duration::from_secs(1800);
/// MiB, for 100,000 sockets and whoever lists them.
const SOCKETS_MEMORY: u32 = 3072;

pub fn command(options: &BenchOptions) -> Result<ExitCode> {
    setup::toolchain()?;
    let asked = |what| options.what == what || options.what == Bench::All;
    // Figures of time depend on the machine. Those of memory don't, and must be within their goals.
    let mut fine = true;
    if asked(Bench::Crowd) {
        fine &= crowd::run()?;
    }
    if asked(Bench::Report) {
        fine &= report::run(&programs()?)?;
    }
    if asked(Bench::Kernel) {
        fine &= measured(&options.kernel, Bench::Kernel)?;
    }
    if asked(Bench::Sockets) {
        fine &= measured(&options.kernel, Bench::Sockets)?;
    }
    if asked(Bench::Http) {
        fine &= measured(&options.kernel, Bench::Http)?;
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tracer, as it is released, and `bench`: both static.
fn programs() -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = guest::static_build();
    cargo.args(["--release", "--target-dir"]).arg(workspace::vm());
    cargo.args(["--package", "keepalive-trace", "--package", "tests", "--bin", "keepalive-trace", "--bin", "bench"]);
    guest::executables(&mut cargo)
}

/// Whether the measurement in the virtual machine went well.
fn measured(series: &str, what: Bench) -> Result<bool> {
    let built = programs()?;
    let take = |name: &str| built.get(name).map(|path| Given::program(path)).with_context(|| format!("cargo built no `{name}`"));
    let files = [take("keepalive-trace")?, take("bench")?];

    let machine = setup::machine()?;
    let kernel = kernels::provide(series)?;
    println!("kernel {}", kernel.full_version());
    let build = |part: &str| Initramfs::build(&machine.busybox, &files, &["/bin/bench", part].map(str::to_owned));
    let (initramfs, memory, limit) = match what {
        Bench::Sockets => (build("sockets")?.with_packed(&setup::ss()?)?, SOCKETS_MEMORY, SOCKETS_LIMIT),
        Bench::Http => {
            let initramfs = build("http")?.with_packed(&setup::servers()?)?.with_packed(&setup::tcpdump()?)?;
            (initramfs, MORE_MEMORY, SOCKETS_LIMIT)
        }
        _ => (build("kernel")?, MEMORY, LIMIT),
    };
    let vm = Vm { qemu: machine.qemu, kernel, initramfs, clock: Clock::Virtual, memory, limit, patience: limit };
    let ended = vm.run(|line| {
        if let Line::Guest(text) = line {
            println!("{text}");
        }
    })?;
    Ok(ended == 0)
}
