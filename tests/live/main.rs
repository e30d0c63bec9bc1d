//! The live tests: the kernel is provoked for real, and every event is held against witnesses that know nothing of the tracer.
//!
//! Each test is there three times: `kprobe::...` and `fentry::...` with `--all`, and `quiet::...` without it, attached as the tracer
//! chooses. Those that need `--all` are marked, and not in `quiet::`; those for which it makes no difference are there once,
//! `once::...`;
//! those that want servers and clients of HTTP, `servers::...`, or more than one CPU, `smp::...`, are ignored where the machine has
//! none.
//! They load programs into the kernel and hide parts of it, so they run only in a machine that is meant for it, which says so in its
//! environment.
mod before_us;
mod bench;
mod check;
mod conduct;
mod defaults;
mod extremes;
mod filters;
mod flood;
mod http;
mod ledger;
mod lint;
mod modes;
mod outcomes;
mod owners;
mod recording;
mod refusals;
mod replies;
mod resets;
mod room;
mod scene;
mod servers;
mod settings;
mod silences;
mod skips;
mod smp;
mod sockets;
mod story;
mod sysctl;
mod tuples;
mod verdicts;
mod wheel;
mod witnesses;

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use bench::{Bench, LIMIT, Shared, Test};
use lab::{
    leftovers::Hooks,
    mounts, role, server,
    tracer::{Attach, Mode},
};
use libtest_mimic::{Arguments, Trial};

/// What the machine's environment holds where these tests may run.
const PERMISSION: &str = "KEEPALIVE_TRACE_LAB";

const THEMES: [(&str, &[Test]); 24] = [
    ("outcomes", outcomes::TESTS),
    ("silences", silences::TESTS),
    ("tuples", tuples::TESTS),
    ("settings", settings::TESTS),
    ("resets", resets::TESTS),
    ("replies", replies::TESTS),
    ("extremes", extremes::TESTS),
    ("verdicts::keepalive", verdicts::keepalive::TESTS),
    ("verdicts::user_timeout", verdicts::user_timeout::TESTS),
    ("verdicts::retransmit", verdicts::retransmit::TESTS),
    ("verdicts::window", verdicts::window::TESTS),
    ("verdicts::peer_reset", verdicts::peer_reset::TESTS),
    ("verdicts::close", verdicts::close::TESTS),
    ("verdicts::abort", verdicts::abort::TESTS),
    ("verdicts::kill", verdicts::kill::TESTS),
    ("verdicts::orphan", verdicts::orphan::TESTS),
    ("verdicts::memory", verdicts::memory::TESTS),
    ("verdicts::never", verdicts::never::TESTS),
    ("verdicts::recovery", verdicts::recovery::TESTS),
    ("owners", owners::TESTS),
    ("modes", modes::TESTS),
    ("skips", skips::TESTS),
    ("conduct", conduct::TESTS),
    ("sysctl", sysctl::TRACE),
];

/// Those that start no `trace`, and so know no mode.
const THEMES_WITHOUT_MODE: [(&str, &[Test]); 2] = [("check", check::TESTS), ("sysctl", sysctl::TESTS)];

/// Those for which it makes no difference how the tracer attaches, which chooses by itself then.
const THEMES_ONCE: [(&str, &[Test]); 12] = [
    ("before_us", before_us::TESTS),
    ("defaults", defaults::TESTS),
    ("filters", filters::TESTS),
    ("flood", flood::TESTS),
    ("http", http::TESTS),
    ("room", room::TESTS),
    ("conduct", conduct::ONCE),
    ("recording", recording::TESTS),
    ("refusals", refusals::TESTS),
    ("wheel", wheel::TESTS),
    ("sockets", sockets::TESTS),
    ("lint", lint::TESTS),
];
const ONCE: &str = "once";
/// Without `--all`.
const QUIET: &str = "quiet";
/// Those that want servers and clients of HTTP, which a machine has only where they are asked for.
const SERVERS: &str = "servers";
/// Those that want more than one CPU, each way of attaching and in each mode.
const SMP: &str = "smp";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a test harness reports to whoever started it")]
fn main() -> ExitCode {
    // Before anything else: this process may be one of the lab's own, started by a test.
    if let Some(code) = role::play() {
        return code;
    }
    let permitted = std::env::var_os(PERMISSION).is_some_and(|value| value == "1");
    if !permitted {
        println!(
            "skip live: these tests need a kernel of their own, where {PERMISSION}=1 (cargo xtask test boots such machines)"
        );
    }
    match run(permitted) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the tests; or, without permission, names them all as ignored.
#[expect(clippy::print_stdout, reason = "a test harness reports to whoever started it")]
fn run(permitted: bool) -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // One after the other: a machine that sleeps takes no time, and each test may count what is loaded into the kernel.
    arguments.test_threads.get_or_insert(1);
    let shared = Arc::new(Shared::default());
    let bench = |attach, mode| Arc::new(Bench::new(attach, mode, &shared));
    let both = Attach::BOTH.iter().flat_map(|&attach| {
        let bench = bench(attach, Mode::Full);
        [&THEMES[..], &THEMES_WITHOUT_MODE].into_iter().flat_map(move |themes| trials(attach.name(), themes, &bench, !permitted))
    });
    let quiet = trials(QUIET, &THEMES, &bench(Attach::Auto, Mode::Quiet), !permitted);
    let auto = bench(Attach::Auto, Mode::Full);
    let once = trials(ONCE, &THEMES_ONCE, &auto, !permitted);
    let missing = server::missing();
    let servers = trials(SERVERS, &servers::THEMES, &auto, !permitted || missing.is_some());
    let few = smp::missing();
    let smp: Vec<Trial> = [(Mode::Full, "all"), (Mode::Quiet, "default")]
        .iter()
        .flat_map(|&(mode, name)| Attach::BOTH.map(|attach| (mode, name, attach)))
        .flat_map(|(mode, name, attach)| {
            let prefix = format!("{SMP}::{attach}-{name}");
            trials(&prefix, &[("workers", smp::TESTS)], &bench(attach, mode), !permitted || few.is_some())
        })
        .collect();
    let is_chosen = |name: &str| {
        let is_in = |part: &String| name.contains(part.as_str());
        arguments.filter.as_ref().is_none_or(is_in) && !arguments.skip.iter().any(is_in)
    };
    for (trials, missing) in [(&servers, missing), (&smp, few)] {
        if let Some(reason) = missing.filter(|_| permitted) {
            trials.iter().map(Trial::name).filter(|name| is_chosen(name)).for_each(|name| println!("skip {name}: {reason}"));
        }
    }
    let trials = both.chain(quiet).chain(once).chain(smp).chain(servers).collect();
    if !permitted {
        return Ok(libtest_mimic::run(&arguments, trials).exit_code());
    }
    mounts::all()?;
    let before = Hooks::read()?;
    let conclusion = libtest_mimic::run(&arguments, trials);
    shared.end()?;
    before.wait_until_nothing_more(LIMIT).context("after all tests")?;
    Ok(conclusion.exit_code())
}

fn trials(prefix: &str, themes: &[(&str, &[Test])], bench: &Arc<Bench>, ignored: bool) -> Vec<Trial> {
    let tests = themes.iter().flat_map(|(theme, tests)| tests.iter().map(move |test| (theme, test)));
    let tests = tests.filter(|(_, test)| bench.lists(test));
    let trial = |(theme, Test { name, run, .. }): (&&str, &Test)| {
        let (bench, run) = (Arc::clone(bench), *run);
        let name = format!("{prefix}::{theme}::{name}");
        let told = move || -> Result<()> { run(&bench) };
        Trial::test(name, move || told().map_err(|error| format!("{error:#}").into())).with_ignored_flag(ignored)
    };
    tests.map(trial).collect()
}
