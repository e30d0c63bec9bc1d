//! Where it can't work or was asked for nonsense, it says so in one sentence and leaves nothing behind.
use std::process::{Command, Output};

use anyhow::{Context, Result};
use lab::{
    disguise,
    leftovers::Hooks,
    pair::{Family, Plan},
    stage::Stage,
    tracer::command,
};

use crate::bench::{Bench, LIMIT, tests};

tests![
    without_btf_it_says_so,
    without_kallsyms_it_traces_all_the_same,
    without_privileges_it_says_so,
    an_unknown_namespace_is_named,
    a_malformed_address_is_named,
];

/// `trace` with these arguments, ended by itself in a few seconds at the latest.
fn trace(bench: &Bench, arguments: &[&str]) -> Command {
    command(&[&["trace", "--json", "--duration", "5", "--attach", bench.attach.name()], arguments].concat())
}

/// Runs it and holds that it failed with one sentence, which contains each of these words, and left nothing.
fn is_refused(mut command: Command, words: &[&str]) -> Result<()> {
    let before = Hooks::read()?;
    let Output { status, stdout, stderr } = command.output().context("cannot run the tracer")?;
    let errors = String::from_utf8(stderr).context("stderr")?;
    assert!(status.code().is_some_and(|code| code != 0), "{status}: {errors}");
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    assert!(errors.starts_with("error: "), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    for word in words {
        assert!(errors.contains(word), "`{word}` is not in: {errors}");
    }
    before.wait_until_nothing_more(LIMIT)
}

/// An error of ours is one line; clap's has a hint below.
fn in_one_line(command: &mut Command) -> Result<()> {
    let errors = String::from_utf8(command.output().context("cannot run the tracer")?.stderr).context("stderr")?;
    assert_eq!(errors.lines().count(), 1, "{errors}");
    Ok(())
}

fn without_btf_it_says_so(bench: &Bench) -> Result<()> {
    let mut blind = trace(bench, &[]);
    disguise::hide_folder(&mut blind, "/sys/kernel/btf");
    in_one_line(&mut blind)?;
    is_refused(blind, &["/sys/kernel/btf/vmlinux"])
}

fn without_kallsyms_it_traces_all_the_same(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let pair = stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 3))?;
    let inode = stage.netns.inode().to_string();
    let mut hidden = trace(bench, &["--netns", &inode, "--count", "3"]); // both ends, and a probe
    disguise::hide_file(&mut hidden, "/proc/kallsyms");
    let output = hidden.output().context("cannot run the tracer")?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""event":"probe""#), "{output:?}");
    drop(pair);
    Ok(())
}

fn without_privileges_it_says_so(bench: &Bench) -> Result<()> {
    let mut poor = trace(bench, &[]);
    disguise::drop_privileges(&mut poor);
    in_one_line(&mut poor)?;
    is_refused(poor, &["no permission", "sudo"])
}

fn an_unknown_namespace_is_named(bench: &Bench) -> Result<()> {
    is_refused(trace(bench, &["--netns", "no-such-namespace"]), &["no-such-namespace"])?;
    is_refused(trace(bench, &["--netns", "/proc/self/no-such-file"]), &["/proc/self/no-such-file"])
}

fn a_malformed_address_is_named(bench: &Bench) -> Result<()> {
    for (option, value) in
        [("-a", "300.0.0.1"), ("-A", "10.0.0.0/33"), ("-L", "70000"), ("-D", "9-8"), ("--cgroup", "/no/such/cgroup")]
    {
        is_refused(trace(bench, &[option, value]), &[value])?;
    }
    Ok(())
}
