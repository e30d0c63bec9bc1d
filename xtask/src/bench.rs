//! `cargo xtask bench`: what the tracer costs, beside its goals. Connections that come and go, a listing of many sockets and HTTP in a
//! machine whose clock counts instructions; a crowd of connections and a recording of many events here.
mod crowd;
mod docs;
mod figures;
mod goals;
mod object;
mod report;
mod table;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Bench, BenchOptions},
    guest,
    kernels::{self, NEWEST},
    setup,
    vm::{Clock, Given, Initramfs, Line, MORE_MEMORY, Vm},
    workspace,
};
use figures::{Figures, HERE, Place};
use goals::Met;

const LIMIT: Duration = Duration::from_secs(1800);
/// MiB, for 100,000 sockets and the programs that list them.
const SOCKETS_MEMORY: u32 = 3072;

/// The parts that run in a virtual machine, and the kernels on which each runs if the user names none.
const GUEST_PARTS: [(Bench, &[&str]); 5] = [
    (Bench::Kernel, &["6.1", NEWEST]),
    (Bench::Flood, &["6.1", NEWEST]),
    (Bench::Idle, &["6.1", NEWEST]),
    (Bench::Sockets, &["6.1"]),
    (Bench::Http, &["6.1"]),
];
/// The note in a kernel's figures that has its full version.
const KERNEL: &str = "kernel";

pub fn command(options: &BenchOptions) -> Result<ExitCode> {
    setup::toolchain()?;
    let asked = |what| options.what == what || options.what == Bench::All;
    let mut fine = true;
    let mut all: BTreeMap<Place, Figures> = BTreeMap::new();
    let mut here = Figures::default();
    if asked(Bench::Crowd) {
        fine &= crowd::run(&mut here)?;
    }
    let built = if options.what == Bench::Crowd { BTreeMap::new() } else { programs()? };
    if asked(Bench::Report) {
        fine &= report::run(&built, &mut here)?;
    }
    if asked(Bench::Kernel) {
        object::measure(built.get("keepalive-trace").context("cargo built no `keepalive-trace`")?, &mut here)?;
    }
    for (what, kernels) in GUEST_PARTS.into_iter().filter(|(what, _)| asked(*what)) {
        for series in chosen(options, kernels) {
            let figures = all.entry(series.to_owned()).or_default();
            fine &= measured(series, what, &built, figures)?;
            if what == Bench::Kernel {
                println!("\n{}\n\n{}", docs::title(series, figures), table::kernel(figures));
            }
        }
    }
    all.insert(HERE.to_owned(), here);
    all.retain(|_, figures| !figures.rows().is_empty());
    fine &= judged(&all, options.write && fine)?;
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The kernels that the user named, or these.
fn chosen<'a>(options: &'a BenchOptions, default: &[&'a str]) -> Vec<&'a str> {
    if options.kernels.is_empty() { default.to_vec() } else { options.kernels.iter().map(String::as_str).collect() }
}

/// Prints the figures beside the goals; false when a goal that was reached once is lost.
fn judged(all: &BTreeMap<Place, Figures>, write: bool) -> Result<bool> {
    if all.is_empty() {
        return Ok(true);
    }
    let mut met = Met::read()?;
    print!("{}", goals::table(all, &met));
    let lost = goals::lost(all, &met);
    for line in &lost {
        println!("{line}");
    }
    if write {
        let kept = figures::keep(all)?;
        met.add(&kept)?;
        docs::write(&kept, &met)?;
        println!("the tables of docs/performance.md and README.md are those of this run");
    }
    Ok(lost.is_empty())
}

/// The tracer, as it is released, and `bench`: both static.
fn programs() -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = guest::static_build();
    cargo.args(["--release", "--target-dir"]).arg(workspace::vm());
    cargo.args(["--package", "keepalive-trace", "--package", "tests", "--bin", "keepalive-trace", "--bin", "bench"]);
    guest::executables(&mut cargo)
}

/// Whether the measurement in the virtual machine went well.
fn measured(series: &str, what: Bench, built: &BTreeMap<String, PathBuf>, figures: &mut Figures) -> Result<bool> {
    let take = |name: &str| built.get(name).map(|path| Given::program(path)).with_context(|| format!("cargo built no `{name}`"));
    let files = [take("keepalive-trace")?, take("bench")?];

    let machine = setup::machine()?;
    let kernel = kernels::provide(series)?;
    println!("kernel {}", kernel.full_version());
    figures.note(KERNEL, kernel.full_version());
    let build = |part: &str| Initramfs::build(&machine.busybox, &files, &["/bin/bench", part].map(str::to_owned));
    let (initramfs, memory) = match what {
        Bench::Sockets => (build("sockets")?.with_packed(&setup::ss()?)?, SOCKETS_MEMORY),
        Bench::Http => {
            let initramfs = build("http")?.with_packed(&setup::servers()?)?.with_packed(&setup::tcpdump()?)?;
            (initramfs, MORE_MEMORY)
        }
        Bench::Flood => (build("flood")?, MORE_MEMORY),
        Bench::Idle => (build("idle")?, MORE_MEMORY),
        _ => (build("kernel")?.with_packed(&setup::peers()?)?, MORE_MEMORY),
    };
    let vm = Vm { qemu: machine.qemu, kernel, initramfs, clock: Clock::Virtual, memory, limit: LIMIT, patience: LIMIT };
    let ended = vm.run(|line| {
        if let Line::Guest(text) = line {
            println!("{text}");
            figures.take(text);
        }
    })?;
    Ok(ended == 0)
}
