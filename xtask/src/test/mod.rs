//! `cargo xtask test`: everything that must hold, in the order of what it costs.
mod libtest;
mod live;
mod matrix;

use std::{
    io::{BufRead as _, BufReader, Write as _, stdout},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{cli::TestOptions, guest, kernels, progress, setup, shell, workspace};
use libtest::Counts;

/// Fewer kernels than this show too little of what kernels differ in.
const FEWEST_KERNELS: usize = 4;

/// Test programs that have a step of their own.
const ELSEWHERE: [&str; 3] = ["live", "fleet", "page"];
/// The variable that tells them where the tracer is.
const TRACER: &str = "KEEPALIVE_TRACE";

/// What all steps came to.
#[derive(Default)]
struct Tally {
    counts: Counts,
    complaints: Vec<String>,
}

/// `cargo xtask test`
pub fn command(options: &TestOptions) -> Result<ExitCode> {
    let mut tally = Tally::default();
    setup::toolchain()?;
    // What is missing is said now, and not after all the other steps.
    let machines = if options.no_vm { None } else { Some((setup::machine()?, setup::kernels(&options.kernels))) };
    if !options.live {
        tally.lint("format", shell::cargo().args(["fmt", "--all", "--check"]));
        tally.lint("clippy", shell::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
        tally.lint("clippy for the kernel side", &mut clippy_ebpf());
        tally.step("unit and golden tests", |counts| {
            // The page has its browser in a step of its own.
            cargo_test(&["--workspace", "--no-fail-fast"], &[("CHROMIUM", PathBuf::new())], counts)
        });
        tally.wanting("recordings of a fleet", "fleet", "FLEET_PYTHON", setup::python());
        tally.wanting("the report's page in a browser", "page", "CHROMIUM", setup::chromium());
    }
    if let Some((machine, kernels)) = machines {
        tally.step("live tests", |counts| {
            let runs = live::run(machine, kernels, &options.arguments)?;
            print!("{}", matrix::text(&runs));
            judge(&runs, options, counts)
        });
    }
    Ok(tally.end(options))
}

fn clippy_ebpf() -> Command {
    let mut cargo = shell::cargo();
    cargo
        .args(["clippy", "--package", "keepalive-trace-ebpf", "--bins"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(workspace::target().join("ebpf-clippy"))
        .args(["--", "-D", "warnings"])
        // `build-std` is unstable by name only.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", "--cfg=bpf_target_arch=\"x86_64\"");
    cargo
}

/// Plain `cargo test`, whose own count is taken over.
fn cargo_test(arguments: &[&str], environment: &[(&str, PathBuf)], counts: &mut Counts) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.arg("test").args(arguments).envs(environment.iter().cloned()).stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut tested = Counts::default();
    // Those that want a machine or a tool only say so here, and are counted in a step of their own.
    let mut elsewhere = false;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what cargo says")?;
        println!("{line}");
        elsewhere |= ELSEWHERE.iter().any(|name| line.starts_with(&format!("skip {name}: ")));
        let Some(result) = libtest::result(&line) else { continue };
        if !std::mem::take(&mut elsewhere) {
            tested += result;
        }
    }
    *counts += tested;
    let succeeded = child.wait().context("cargo was lost")?.success();
    match (succeeded, tested.failed) {
        (true, 0) => Ok(()),
        (false, 0) => bail!("the tests could not be built or run"),
        (_, failed) => bail!("{failed} failed"),
    }
}

/// As the unit tests have built it.
fn tracer() -> Result<PathBuf> {
    const NAME: &str = "keepalive-trace";
    let mut cargo = shell::cargo();
    // Its tests bring it along; built alone, it would be built once more with fewer features.
    cargo.args(["test", "--workspace", "--test", "recordings", "--no-run", "--message-format", "json-render-diagnostics"]);
    guest::executables(&mut cargo)?.remove(NAME).with_context(|| format!("cargo built no `{NAME}`"))
}

fn judge(runs: &[live::Run], options: &TestOptions, counts: &mut Counts) -> Result<()> {
    let mut bad = Vec::new();
    for run in runs {
        *counts += run.counts();
        bad.extend(run.complaint().map(|complaint| format!("kernel {}: {complaint}", run.series)));
    }
    if options.kernels.is_empty() {
        bad.extend(too_few(runs));
    }
    if bad.is_empty() { Ok(()) } else { bail!("{}", bad.join("\n  ")) }
}

fn too_few(runs: &[live::Run]) -> Option<String> {
    let ran = |run: &&live::Run| run.ran();
    let count = runs.iter().filter(ran).count();
    let newest = runs.iter().filter(ran).any(|run| run.series == kernels::NEWEST);
    match (count, newest) {
        (count, _) if count < FEWEST_KERNELS => Some(format!("only {count} kernels ran, {FEWEST_KERNELS} must")),
        (_, false) => Some(format!("no kernel {} ran", kernels::NEWEST)),
        (_, true) => None,
    }
}

impl Tally {
    fn lint(&mut self, name: &str, command: &mut Command) {
        self.step(name, |_| if shell::run(command)? { Ok(()) } else { bail!("`{}` complains", shell::shown(command)) });
    }

    /// Runs one step; a failed one does not keep the others from running, and counts at least once.
    fn step(&mut self, name: &str, run: impl FnOnce(&mut Counts) -> Result<()>) {
        progress::heading(name);
        let started = Instant::now();
        let mut counts = Counts::default();
        let ended = run(&mut counts);
        let time = progress::seconds(started.elapsed());
        match ended {
            Ok(()) => println!("   ok ({time})"),
            Err(error) => {
                println!("   FAILED ({time}): {error:#}");
                counts.failed = counts.failed.max(1);
                self.complaints.push(format!("{name}: {error:#}"));
            }
        }
        self.counts += counts;
    }

    /// Runs a test program that takes a tool, and the tracer, from its environment. Where the tool can't be had, that is one skip.
    fn wanting(&mut self, name: &str, test: &str, variable: &'static str, tool: Result<PathBuf>) {
        self.step(name, |counts| match tool {
            Ok(tool) => {
                let environment = [(variable, tool), (TRACER, tracer()?)];
                // Of the whole workspace, so that nothing is built once more with fewer features.
                cargo_test(&["--workspace", "--test", test], &environment, counts)
            }
            Err(reason) => {
                println!("skip {test}: {reason:#}");
                counts.skipped += 1;
                Ok(())
            }
        });
    }

    /// The last words: the count is the very last line.
    fn end(self, options: &TestOptions) -> ExitCode {
        progress::heading("result");
        if options.no_vm {
            println!("narrowed: no live tests (--no-vm)");
        }
        if options.live {
            println!("narrowed: only live tests (--live)");
        }
        if !options.kernels.is_empty() {
            println!("narrowed: live tests only on {} (--kernel)", options.kernels.join(", "));
        }
        if !options.arguments.is_empty() {
            println!("narrowed: live tests run with `{}`", options.arguments.join(" "));
        }
        for complaint in &self.complaints {
            println!("FAILED {complaint}");
        }
        let Counts { passed, failed, skipped } = self.counts;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        // A closed pipe is not a failed test.
        drop(stdout().flush());
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
