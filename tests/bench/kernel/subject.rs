//! Tracers under measurement: this one and its peers, run as their users run them, with what they print going to /dev/null.
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

const ERRORS: &str = "/tmp/subject.errors";
/// After its start, and for the records that it has not read yet when a load is over.
const PAUSE: Duration = Duration::from_secs(3);

/// By what a tracer is known to trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A line on stderr that has this in it.
    Stderr(&'static str),
    /// A line on stdout that has this in it; later ones are not read.
    Stdout(&'static str),
    /// It is still there after a pause.
    Alive,
}

/// A tracer to be started.
pub struct Subject {
    pub name: String,
    pub program: OsString,
    pub arguments: Vec<String>,
    pub ready: Ready,
}

impl Subject {
    pub fn new(name: &str, program: impl Into<OsString>, arguments: &[&str], ready: Ready) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self { name: name.to_owned(), program: program.into(), arguments, ready }
    }

    /// Starts it, and waits until it traces and is at rest.
    pub fn start(&self) -> Result<Running> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let errors = || File::create(ERRORS).with_context(|| format!("cannot write {ERRORS}"));
        match self.ready {
            Ready::Stderr(_) => command.stderr(Stdio::piped()),
            Ready::Stdout(_) => command.stdout(Stdio::piped()).stderr(errors()?),
            Ready::Alive => command.stderr(errors()?),
        };
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut running = Running { child, start: Duration::ZERO, pipe: None };
        match self.ready {
            Ready::Stderr(word) => running.wait_for(word, Running::stderr)?,
            Ready::Stdout(word) => running.wait_for(word, Running::stdout)?,
            Ready::Alive => {}
        }
        running.start = running.cpu()?;
        sleep(PAUSE);
        if let Some(status) = running.child.try_wait().context("wait")? {
            bail!("it ended with {status}: {}", errors_text());
        }
        if self.ready == Ready::Alive {
            running.start = running.cpu()?;
        }
        Ok(running)
    }
}

/// The first and the last line of what it complained of.
fn errors_text() -> String {
    let text = fs::read_to_string(ERRORS).unwrap_or_default();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(first), Some(last)) => format!("{first} ... {last}"),
        (first, _) => first.unwrap_or("it printed no error").to_owned(),
    }
}

/// A tracer that traces. It is gone when this is dropped.
pub struct Running {
    child: Child,
    /// Its CPU time from its start until it traced.
    pub start: Duration,
    /// Open as long as it runs: a tracer whose stderr is gone has errors of its own.
    pipe: Option<Box<dyn Read>>,
}

impl Running {
    fn stderr(&mut self) -> Option<Box<dyn Read>> {
        self.child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read>)
    }

    fn stdout(&mut self) -> Option<Box<dyn Read>> {
        self.child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read>)
    }

    fn wait_for(&mut self, word: &str, pipe: fn(&mut Self) -> Option<Box<dyn Read>>) -> Result<()> {
        let mut lines = BufReader::new(pipe(self).context("no pipe")?);
        let (mut line, mut last) = (String::new(), String::new());
        while !line.contains(word) {
            last.clone_from(&line);
            line.clear();
            if lines.read_line(&mut line).context("cannot read what it prints")? == 0 {
                let status = self.child.wait().context("wait")?;
                bail!("it ended with {status} before it was attached: {} {}", last.trim(), errors_text());
            }
        }
        self.pipe = Some(Box::new(lines));
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("cannot send {signal}"))
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.child.id().try_into()?))
    }

    /// The CPU time of all its threads so far, exactly, in user space and in the kernel.
    pub fn cpu(&self) -> Result<Duration> {
        let clock = ClockId::pid_cpu_clock_id(self.pid()?).context("it has no CPU clock")?;
        clock_gettime(clock).map(Duration::from).context("cannot read its CPU clock")
    }

    /// Its CPU time since then, when it has caught up with what happened.
    pub fn cpu_since(&self, earlier: Duration) -> Result<Duration> {
        sleep(PAUSE);
        Ok(self.cpu()?.saturating_sub(earlier))
    }

    /// The most memory that it has held so far, MB.
    pub fn peak_memory(&self) -> Result<f64> {
        let file = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        Ok(peak.with_context(|| format!("{file} has no VmHWM"))? * 1024.0 / 1e6)
    }

    /// Ctrl-C.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGINT)?;
        // A tracer that says much at its end would wait for a reader.
        self.pipe = None;
        self.child.wait().context("wait")
    }

    /// Ctrl-C, and it must end well.
    pub fn stop_well(self) -> Result<()> {
        let status = self.stop()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `stop` it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
