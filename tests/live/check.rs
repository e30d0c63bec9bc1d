//! `check`: what this kernel allows, with and without privileges.
use std::{fs, process::Command};

use anyhow::{Context, Result};
use lab::{disguise, tracer};

use crate::bench::{Bench, tests};

tests![
    it_finds_all_that_is_needed,
    without_privileges_it_names_what_is_missing,
    without_btf_it_names_what_is_missing,
    without_cgroups_or_the_right_to_look_at_packets_only_http_is_out_of_reach,
];

/// What it prints, and whether it says that `trace` works.
fn check(mut command: Command) -> Result<(String, bool)> {
    let output = command.output().context("cannot run the tracer")?;
    let printed = String::from_utf8(output.stdout).context("stdout")?;
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let code = output.status.code().with_context(|| format!("it ended with {}", output.status))?;
    assert!([0, 1].contains(&code), "{code}: {printed}");
    Ok((printed, code == 0))
}

fn it_finds_all_that_is_needed(_: &Bench) -> Result<()> {
    let (printed, works) = check(tracer::command(&["check"]))?;
    assert!(works, "{printed}");
    for need in ["privileges", "BTF", "symbols", "kprobes", "fentry", "ring buffer", "cgroup v2", "HTTP"] {
        let found = printed.lines().any(|line| line.starts_with("ok ") && line.contains(need));
        assert!(found, "no `ok` for {need}: {printed}");
    }
    Ok(())
}

fn without_privileges_it_names_what_is_missing(_: &Bench) -> Result<()> {
    let mut poor = tracer::command(&["check"]);
    disguise::drop_privileges(&mut poor);
    let (printed, works) = check(poor)?;
    assert!(!works, "{printed}");
    let missing = printed.lines().find(|line| line.starts_with("missing") && line.contains("privileges"));
    let missing = missing.with_context(|| format!("it does not miss the privileges: {printed}"))?;
    assert!(missing.contains("sudo"), "without a remedy: {missing}");
    Ok(())
}

fn without_btf_it_names_what_is_missing(_: &Bench) -> Result<()> {
    let mut blind = tracer::command(&["check"]);
    disguise::hide_folder(&mut blind, "/sys/kernel/btf");
    let (printed, works) = check(blind)?;
    assert!(!works, "{printed}");
    assert!(printed.lines().any(|line| line.starts_with("missing") && line.contains("BTF")), "{printed}");
    Ok(())
}

/// It says so, and `trace --http` says the same in one sentence; `trace` works all the same, with fentry where the kernel keeps kprobes
/// to CAP_SYS_ADMIN, as Debian's do with `kernel.perf_event_paranoid` at 3.
fn without_cgroups_or_the_right_to_look_at_packets_only_http_is_out_of_reach(_: &Bench) -> Result<()> {
    const CAP_NET_ADMIN: libc::c_ulong = 12;
    const CAP_SYS_ADMIN: libc::c_ulong = 21;
    type Disguise = fn(&mut Command);
    let disguises: [(Disguise, &str, bool); 2] = [
        (|command| disguise::unmount(command, "/sys/fs/cgroup"), "mount -t cgroup2 none /sys/fs/cgroup", true),
        (|command| disguise::drop_capabilities(command, &[CAP_NET_ADMIN, CAP_SYS_ADMIN]), "no CAP_NET_ADMIN", false),
    ];
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").context("how paranoid the kernel is")?;
    let is_paranoid = paranoid.trim().parse::<i32>().context("how paranoid the kernel is")? > 2;
    for (disguise, remedy, is_admin) in disguises {
        let mut poor = tracer::command(&["check"]);
        disguise(&mut poor);
        let (printed, works) = check(poor)?;
        assert!(works, "{printed}");
        let limited = printed.lines().find(|line| line.starts_with("limited") && line.contains("HTTP"));
        let limited = limited.with_context(|| format!("nothing is said of HTTP: {printed}"))?;
        assert!(limited.contains(remedy), "{limited}");
        let kprobes = printed.lines().find(|line| line.starts_with("limited") && line.contains(" kprobes "));
        assert_eq!(kprobes.is_some(), is_paranoid && !is_admin, "{printed}");
        assert!(kprobes.is_none_or(|line| line.contains("kernel.perf_event_paranoid")), "{kprobes:?}");

        let mut poor = tracer::command(&["trace", "--duration", "1"]);
        disguise(&mut poor);
        let output = poor.output().context("cannot run the tracer")?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        let mut poor = tracer::command(&["trace", "--http", "--duration", "1"]);
        disguise(&mut poor);
        let output = poor.output().context("cannot run the tracer")?;
        let errors = String::from_utf8(output.stderr).context("stderr")?;
        assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{errors}");
        assert!(errors.starts_with("error: cannot watch HTTP: ") && errors.contains(remedy), "{errors}");
    }
    Ok(())
}
