//! One boot of one virtual machine, from QEMU's start to the verdict.
use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::{prctl, signal::Signal};

use super::{
    console::{Console, Line},
    initramfs::Initramfs,
};
use crate::kernels::Kernel;

/// A boot takes 5 to 8 s; this much only on a machine that is busy with other things.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// What the kernel gets to write down why it died.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What a guest has where nothing asks for more, MiB.
pub const MEMORY: u32 = 1024;
/// What one has in which a large file system is unpacked, MiB.
pub const MORE_MEMORY: u32 = 1536;

/// How the guest's clock goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// As fast as the guest works: its waits take no time, and every run takes the same.
    Virtual,
    /// As on the wall, which leaves room for more than one CPU.
    Real { cpus: u32 },
}

/// A machine to boot.
#[derive(Clone, Debug)]
pub struct Vm {
    pub qemu: PathBuf,
    pub kernel: Kernel,
    /// The kernel's modules come to it by themselves.
    pub initramfs: Initramfs,
    pub clock: Clock,
    /// MiB.
    pub memory: u32,
    /// The real time after which it is ended.
    pub limit: Duration,
    /// The real time without a line after which it is taken to hang.
    pub patience: Duration,
}

/// What became of one boot.
enum Ended {
    Verdict(i32),
    BeforeInit(String),
    Died(String),
}

impl Vm {
    /// Boots the machine, hands on its lines, and gives the exit code of its command. A boot that never reached init is tried once more.
    ///
    /// # Errors
    /// QEMU does not run, the kernel dies, or the time is over.
    pub fn run(&self, mut on_line: impl FnMut(&Line)) -> Result<i32> {
        let name = format!("the machine with kernel {}", self.kernel.series);
        let initramfs = self.initramfs.with_modules(&self.kernel.modules)?;
        let first = match self.boot(&initramfs, &mut on_line)? {
            Ended::Verdict(code) => return Ok(code),
            Ended::Died(reason) => bail!("{name} died: {reason}"),
            Ended::BeforeInit(reason) => reason,
        };
        on_line(&Line::Note(format!("this boot never reached init ({first}): trying once more")));
        match self.boot(&initramfs, &mut on_line)? {
            Ended::Verdict(code) => Ok(code),
            Ended::Died(reason) => bail!("{name} died: {reason}"),
            Ended::BeforeInit(second) => bail!("{name} never reached init, twice: {first}; {second}"),
        }
    }

    fn boot(&self, initramfs: &Initramfs, on_line: &mut impl FnMut(&Line)) -> Result<Ended> {
        let mut child = Running(self.command(initramfs).spawn().with_context(|| format!("cannot run {}", self.qemu.display()))?);
        let output = child.0.stdout.take().context("QEMU has no output")?;
        let ended = self.follow(&lines(output), on_line);
        let Ended::BeforeInit(reason) = ended else { return Ok(ended) };
        child.kill();
        let mut said = String::new();
        if let Some(mut errors) = child.0.stderr.take() {
            errors.read_to_string(&mut said).context("cannot read QEMU's errors")?;
        }
        Ok(Ended::BeforeInit(format!("{reason} {}", said.trim()).trim_end().to_owned()))
    }

    fn follow(&self, lines: &Receiver<Vec<u8>>, on_line: &mut impl FnMut(&Line)) -> Ended {
        let started = Instant::now();
        let mut console = Console::default();
        let end = started + self.limit;
        let mut deadline = end.min(started + BOOT_LIMIT);
        let mut in_init = false;
        let mut reason = None;
        let silence = loop {
            let bytes = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => bytes,
                Err(silence) => break silence,
            };
            let line = console.line(&bytes);
            on_line(&line);
            match line {
                Line::Exit(code) => return Ended::Verdict(code),
                Line::Start => in_init = true,
                Line::Deadly(text) if reason.is_none() => {
                    reason = Some(text);
                    deadline = Instant::now() + LAST_WORDS;
                }
                Line::Boot(_) | Line::Guest(_) | Line::Deadly(_) | Line::Note(_) => {}
            }
            if in_init && reason.is_none() {
                deadline = end.min(Instant::now() + self.patience);
            }
        };
        let reason = reason.unwrap_or_else(|| match silence {
            RecvTimeoutError::Timeout if Instant::now() >= end => format!("no verdict in {} s", self.limit.as_secs()),
            RecvTimeoutError::Timeout => {
                format!("it hangs: nothing came any more, {} s after its start", started.elapsed().as_secs())
            }
            RecvTimeoutError::Disconnected => "QEMU ended without a verdict".to_owned(),
        });
        if in_init { Ended::Died(reason) } else { Ended::BeforeInit(reason) }
    }

    /// One vCPU and one thread unless more CPUs are asked for: virtual time knows no other way. Without the fast strings, which
    /// are slow when emulated byte by byte: a start of the tracer takes a fifth less.
    fn command(&self, initramfs: &Initramfs) -> Command {
        let mut parameters = "console=ttyS0 quiet loglevel=2 panic=-1".to_owned();
        let mut qemu = Command::new(&self.qemu);
        let (cpus, thread) = match self.clock {
            Clock::Virtual | Clock::Real { cpus: 1 } => (1, "single"),
            Clock::Real { cpus } => (cpus, "multi"),
        };
        qemu.args(["-accel", &format!("tcg,thread={thread}"), "-cpu", "max,-erms,-fsrm", "-smp", &cpus.to_string()])
            .args(["-m", &self.memory.to_string()])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"]);
        if self.clock == Clock::Virtual {
            qemu.args(["-icount", "shift=0,sleep=off"]);
            parameters.push_str(" clocksource=tsc tsc=reliable");
        }
        qemu.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(initramfs.path()).args(["-append", &parameters]);
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only one system call is made, and nothing is allocated.
        unsafe { qemu.pre_exec(die_with_parent) };
        qemu
    }
}

/// However this program ends, no machine goes on without it.
fn die_with_parent() -> std::io::Result<()> {
    Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Reads in a thread, so that waiting for a line can have an end.
fn lines(output: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A QEMU that ends when this is dropped.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        // Both fail only where it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
