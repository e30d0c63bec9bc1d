//! `cargo xtask demo`: the tracer at work, here where this kernel lets it, else in virtual machines.
use std::{
    env,
    io::{IsTerminal as _, stdout},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    cli::DemoOptions,
    guest::{self, Guest},
    kernels::{self, Kernel},
    progress, setup, shell,
    vm::{Clock, Initramfs, Line, MEMORY, Vm},
};

const LIMIT: Duration = Duration::from_secs(300);

/// `cargo xtask demo`
pub fn command(options: &DemoOptions) -> Result<ExitCode> {
    setup::toolchain()?;
    let guest = guest::build()?;
    let started = Instant::now();
    let succeeded = match why_not_here(options, &guest) {
        None => here(&guest)?,
        Some(reason) => in_machines(options, &guest, reason)?,
    };
    println!("\nThe demo took {}.", progress::seconds(started.elapsed()));
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn why_not_here(options: &DemoOptions, guest: &Guest) -> Option<&'static str> {
    if options.vm || options.kernel.is_some() {
        return Some("As you asked for it,");
    }
    if !shell::is_root() {
        return Some("As tracing this machine's own kernel takes root,");
    }
    let check = shell::capture(Command::new(&guest.tracer).arg("check"));
    check.is_err().then_some("As this machine's own kernel cannot be traced (`keepalive-trace check` says why),")
}

fn here(guest: &Guest) -> Result<bool> {
    println!("The demo runs on this machine's own kernel.\n");
    shell::run(Command::new(&guest.scenes).args(scenes(&["short"])).env("KEEPALIVE_TRACE", &guest.tracer))
}

/// Two machines at once: while one shows the scenes, the other lives through hours.
fn in_machines(options: &DemoOptions, guest: &Guest, reason: &str) -> Result<bool> {
    let machine = setup::machine()?;
    let kernel = kernel(options)?;
    println!("{reason} the demo runs in a virtual machine with kernel {}.", kernel.full_version());
    let boot = |what: &[&str], clock: Clock| -> Result<Vm> {
        let command: Vec<String> = ["/bin/scenes".to_owned()].into_iter().chain(scenes(what)).collect();
        let initramfs = Initramfs::build(&machine.busybox, &guest.files(), &command)?;
        Ok(Vm {
            qemu: machine.qemu.clone(),
            kernel: kernel.clone(),
            initramfs,
            clock,
            memory: MEMORY,
            limit: LIMIT,
            patience: LIMIT,
        })
    };
    let (short, defaults) = (boot(&["short"], Clock::Real { cpus: 1 })?, boot(&["defaults", "settings"], Clock::Virtual)?);
    thread::scope(|scope| {
        let later = scope.spawn(|| collect(&defaults));
        let short = show(&short)?;
        let waiting = (!later.is_finished()).then(|| progress::task("two hours and more pass in the other machine"));
        let Ok((lines, defaults)) = later.join() else { bail!("the thread of the other machine panicked") };
        if let Some(waiting) = waiting {
            waiting.done("passed");
        }
        lines.iter().for_each(|line| println!("{line}"));
        Ok(short == 0 && defaults? == 0)
    })
}

/// Runs the machine, its lines going to the user as they come.
fn show(vm: &Vm) -> Result<i32> {
    let mut booting = Some(progress::task("booting"));
    vm.run(|line| {
        if let Some(booting) = booting.take_if(|_| *line == Line::Start) {
            booting.done("up");
        }
        shown(line).iter().for_each(|line| println!("{line}"));
    })
}

/// Runs the machine, and keeps its lines.
fn collect(vm: &Vm) -> (Vec<String>, Result<i32>) {
    let mut lines = Vec::new();
    let ended = vm.run(|line| lines.extend(shown(line)));
    (lines, ended)
}

/// The kernel that was asked for; else the newest that is there; else the newest that can be had.
fn kernel(options: &DemoOptions) -> Result<Kernel> {
    if let Some(series) = &options.kernel {
        return kernels::provide(series);
    }
    match kernels::SERIES.iter().rev().find_map(|series| kernels::cached(series)) {
        Some(kernel) => Ok(kernel),
        None => kernels::SERIES.iter().rev().skip(1).fold(kernels::provide(kernels::NEWEST), |found, series| {
            found.or_else(|first| kernels::provide(series).map_err(|_| first))
        }),
    }
}

fn scenes(what: &[&str]) -> Vec<String> {
    let color = if stdout().is_terminal() && env::var_os("NO_COLOR").is_none() { "always" } else { "never" };
    ["--color", color].iter().chain(what).map(|word| (*word).to_owned()).collect()
}

/// The guest's own words, and the kernel's last ones; the noise of booting is left out.
fn shown(line: &Line) -> Option<String> {
    match line {
        Line::Guest(text) | Line::Deadly(text) | Line::Note(text) => Some(text.clone()),
        Line::Boot(_) | Line::Start | Line::Exit(_) => None,
    }
}
