//! The command line as a user meets it, where nothing can be traced: usage, refusals, exit codes.
#![expect(clippy::unwrap_used, reason = "a test: a panic is the failure")]

use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keepalive-trace")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_command_has_help_with_an_example() {
    let overview = stdout(&run(&["--help"]));
    for command in ["trace", "sockets", "sysctl", "check"] {
        assert!(overview.contains(&format!("\n  {command} ")), "{overview}");
        let output = run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("Example: "), "{}", stdout(&output));
    }
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(stdout(&run(&["--version"])), format!("keepalive-trace {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_code_2_and_names_the_value() {
    for (args, named) in [
        (["sockets", "--lint", "--idle-limit=soon"], "aws-nlb (350 s)"),
        (["sockets", "--sort", "luck"], "luck"),
        (["sockets", "--detect-within", "-3"], "-3"),
        (["sockets", "--fail", "-4"], "--lint"),
        (["sysctl", "--all-netns", "perhaps"], "perhaps"),
        (["trace", "-A", "10.0.0.0/33"], "10.0.0.0/33"),
        (["trace", "-a", "localhost"], "localhost"),
        (["trace", "-L", "99999"], "99999"),
        (["trace", "-D", "9-8"], "9-8"),
        (["trace", "--duration", "soon"], "soon"),
        (["trace", "--buffer", "5000"], "5000"),
        (["trace", "--count", "0"], "0"),
        (["trace", "--attach", "magic"], "magic"),
        (["trace", "-4", "-6"], "--ipv4"),
        (["trace", "-T", "-t"], "--time"),
    ] {
        let output = run(&args);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(named), "{args:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn an_unknown_namespace_is_one_sentence_with_the_ways_to_give_one() {
    let output = run(&["trace", "--netns", "no-such-netns"]);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.starts_with("error: --netns no-such-netns: no such network namespace (/run/netns/no-such-netns); give an inode"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn an_unknown_cgroup_is_one_sentence() {
    let output = run(&["trace", "--cgroup", "no/such/cgroup"]);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.starts_with("error: --cgroup no/such/cgroup: no "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn check_has_a_line_for_every_need_and_its_code_agrees_with_its_last_line() {
    let output = run(&["check"]);
    let report = stdout(&output);
    for need in ["privileges", "BTF", "symbols", "kprobes", "fentry", "ring buffer", "cgroup v2", "HTTP", "lockdown"] {
        let line = report.lines().find(|line| line.get(9..).is_some_and(|rest| rest.starts_with(need)));
        let state = line.and_then(|line| line.split(' ').next());
        assert!(matches!(state, Some("ok" | "missing" | "limited" | "unknown")), "{need}: {report}");
    }
    match report.lines().last() {
        Some("`trace` works here") => assert_eq!(output.status.code(), Some(0)),
        Some("`trace` cannot work here: see what is missing above") => assert_eq!(output.status.code(), Some(1)),
        last => panic!("{last:?}"),
    }
}

#[test]
fn each_way_of_attaching_works_or_is_refused_in_one_sentence_as_check_foretold() {
    for attach in ["auto", "kprobe", "fentry"] {
        let works = run(&["check", "--attach", attach]).status.success();
        let output = run(&["trace", "--attach", attach, "--duration", "0"]);
        let error = stderr(&output);
        if works {
            assert_eq!(output.status.code(), Some(0), "{attach}: {error}");
        } else {
            assert_eq!(output.status.code(), Some(1), "{attach}: {error}");
            assert!(error.starts_with("error: ") && error.lines().count() == 1, "{attach}: {error}");
            assert!(output.stdout.is_empty(), "{attach}: {}", stdout(&output));
        }
    }
}

#[test]
fn a_full_disk_is_one_sentence_and_a_closed_pipe_is_none() {
    let check = |stdout: Stdio| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keepalive-trace"));
        child.arg("check").stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = check(full.into());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: cannot write to standard output: No space left on device (os error 28)\n");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = check(writer.into());
    assert_eq!(stderr(&output), "");
}
