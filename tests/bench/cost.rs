//! What a program costs from its start to its end.
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

const ERRORS: &str = "/tmp/bench.errors";
/// Every address of the crowd begins so, and no other word of a listing does.
const ADDRESS: &[u8] = b"127.";

/// The cost of one run. In a machine that counts instructions as nanoseconds, times are instructions.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Of the program itself, in user space and in the kernel.
    pub cpu: Duration,
    /// The part in user space, as the kernel's clock ticks sampled it.
    pub user: Duration,
    /// From before its start until it was gone.
    pub elapsed: Duration,
    /// The most memory that it held, bytes.
    pub peak: u64,
}

/// Runs it, with what it prints going to nobody.
pub fn run(command: &mut Command) -> Result<Cost> {
    run_into(command, Stdio::null())
}

/// Runs it, with what it prints going there.
pub fn run_into(command: &mut Command, stdout: Stdio) -> Result<Cost> {
    let started = Instant::now();
    let child = start(command, stdout)?;
    let (status, usage) = wait(child)?;
    let elapsed = started.elapsed();
    check(command, status)?;
    let [user, system] = [usage.ru_utime, usage.ru_stime].map(duration);
    Ok(Cost { cpu: user + system, user, elapsed, peak: 1024 * u64::try_from(usage.ru_maxrss)? })
}

/// Runs it, and counts its lines that have an address of the crowd in them.
pub fn addresses(command: &mut Command) -> Result<usize> {
    let mut child = start(command, Stdio::piped())?;
    let said = BufReader::with_capacity(1 << 16, child.stdout.take().context("no stdout")?);
    let mut count = 0;
    for line in said.split(b'\n') {
        let line = line.with_context(|| format!("what {command:?} says"))?;
        count += usize::from(line.windows(ADDRESS.len()).any(|bytes| bytes == ADDRESS));
    }
    check(command, wait(child)?.0)?;
    Ok(count)
}

/// What it says, in one go.
pub fn said(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn start(command: &mut Command, stdout: Stdio) -> Result<Child> {
    let errors = File::create(ERRORS).with_context(|| format!("cannot write {ERRORS}"))?;
    command.stdin(Stdio::null()).stdout(stdout).stderr(errors);
    command.spawn().with_context(|| format!("cannot start {command:?}"))
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    let errors = fs::read_to_string(ERRORS).unwrap_or_default();
    ensure!(status.success(), "void: {command:?} ended with {status}: {}", errors.trim());
    Ok(())
}

/// As [`Child::wait`], and what it used up.
fn wait(child: Child) -> Result<(ExitStatus, libc::rusage)> {
    let pid = i32::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: a struct of numbers, for which all bits 0 are fine.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the child is ours and nobody has waited for it; both places are alive.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    ensure!(waited == pid, "cannot wait for a child: {}", std::io::Error::last_os_error());
    Ok((ExitStatus::from_raw(status), usage))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_micros(1_000_000 * time.tv_sec.cast_unsigned() + time.tv_usec.cast_unsigned())
}
