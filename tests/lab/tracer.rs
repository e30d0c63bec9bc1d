//! The one on trial: `keepalive-trace`, run as its users run it and heard through its JSON lines.
use std::{
    ffi::OsString,
    fmt,
    io::{BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{clock, event::Event, netns::Id, pair::Connection, recorded::Recorded};

mod heard;

use heard::{Garbled, Heard};

/// How long the tracer may take to be ready, and to stop: loading programs is slow on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the pipe to the tracer, so that it has not to wait for the listener, who on one CPU may have to wait for a test.
const PIPE: i32 = 1 << 20;

/// Shorter than anything that a test waits for.
const A_MOMENT: Duration = Duration::from_millis(5);

/// How the tracer hooks into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// As the tracer chooses.
    Auto,
    /// Breakpoints or ftrace, on any kernel with CONFIG_KPROBES.
    Kprobe,
    /// BPF trampolines.
    Fentry,
}

impl Attach {
    /// Both ways that there are.
    pub const BOTH: [Self; 2] = [Self::Kprobe, Self::Fentry];

    /// What the tracer chooses where it may: every machine of the tests has kprobes.
    pub fn chosen(self) -> Self {
        if self == Self::Auto { Self::Kprobe } else { self }
    }

    /// As the command line and the `start` line spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kprobe => "kprobe",
            Self::Fentry => "fentry",
        }
    }
}

impl fmt::Display for Attach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Which connections `trace` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of them, from the opening to the end: `--all`.
    Full,
    /// Those on which something happens. The others are counted.
    Quiet,
}

impl Mode {
    /// What the command line says for it.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Full => &["--all"],
            Self::Quiet => &[],
        }
    }
}

/// The binary under test: `KEEPALIVE_TRACE`, else where the lab's machines have it.
pub fn binary() -> OsString {
    std::env::var_os("KEEPALIVE_TRACE").unwrap_or_else(|| "/bin/keepalive-trace".into())
}

/// Its command line, to be run in some way of one's own.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn trace(attach: Attach, mode: Mode, arguments: &[&str]) -> Command {
    command(&[&["trace", "--json", "--attach", attach.name()], mode.arguments(), arguments].concat())
}

/// A running `keepalive-trace trace --json`, which records itself too, or `keepalive-trace sysctl --json`.
pub struct Tracer {
    child: Child,
    heard: Arc<Heard>,
    output: Option<JoinHandle<()>>,
    errors: Option<JoinHandle<String>>,
    recorded: Option<Recorded>,
}

/// What a tracer left when it had ended.
#[derive(Debug)]
pub struct Finished {
    /// All lines, `start` and `stop` included.
    pub events: Vec<Event>,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stderr.
    pub errors: String,
}

impl Tracer {
    /// Starts it with these further arguments, and waits until it traces.
    pub fn start(attach: Attach, mode: Mode, arguments: &[&str]) -> Result<Self> {
        let tracer = Self::spawn(attach, mode, arguments)?;
        tracer.wait_for("its start line", PATIENCE, |events| !events.is_empty())?;
        Ok(tracer)
    }

    /// Starts it for more events than a recording and its replay should cost on an emulated machine.
    pub fn start_unrecorded(attach: Attach, mode: Mode, arguments: &[&str]) -> Result<Self> {
        let tracer = Self::run(trace(attach, mode, arguments), None)?;
        tracer.wait_for("its start line", PATIENCE, |events| !events.is_empty())?;
        Ok(tracer)
    }

    /// Starts `sysctl` with these further arguments, and waits until it watches.
    pub fn watch_sysctls(attach: Attach, arguments: &[&str]) -> Result<Self> {
        let arguments = [&["sysctl", "--json", "--attach", attach.name()], arguments].concat();
        let tracer = Self::run(command(&arguments), None)?;
        tracer.wait_for("its start line", PATIENCE, |events| !events.is_empty())?;
        Ok(tracer)
    }

    /// Starts it and waits for nothing.
    pub fn spawn(attach: Attach, mode: Mode, arguments: &[&str]) -> Result<Self> {
        let recorded = Recorded::of(mode, arguments);
        let mut command = trace(attach, mode, arguments);
        command.args(recorded.arguments());
        Self::run(command, Some(recorded))
    }

    fn run(mut command: Command, recorded: Option<Recorded>) -> Result<Self> {
        let mut child = command.spawn().with_context(|| format!("cannot start {}", binary().display()))?;
        let heard = Arc::new(Heard::default());
        let stdout = child.stdout.take().context("no stdout")?;
        fcntl(&stdout, FcntlArg::F_SETPIPE_SZ(PIPE)).context("F_SETPIPE_SZ")?;
        let mut stderr = child.stderr.take().context("no stderr")?;
        let listener = Arc::clone(&heard);
        let output = thread::spawn(move || listener.listen(BufReader::new(stdout)));
        let errors = thread::spawn(move || {
            let mut text = String::new();
            // What was read before an error is worth showing; the error itself is not.
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Ok(Self { child, heard, output: Some(output), errors: Some(errors), recorded })
    }

    /// Fails where a line about this namespace was not as published. What it says of others is for others to hold, and for
    /// [`Self::wait`].
    pub fn speaks_well_of(&self, netns: Id) -> Result<()> {
        self.heard.check();
        let said = self.heard.said();
        let is_in = |line: &&Garbled| line.event.as_ref().is_some_and(|event| event.is_in(netns));
        let garbled = said.garbled.iter().find(is_in);
        garbled.map_or(Ok(()), |line| bail!("the tracer wrote a line that is no event: {}", line.complaint))
    }

    /// All that it has said so far.
    pub fn events(&self) -> Vec<Event> {
        self.heard.said().events.clone()
    }

    /// How many lines it has said so far.
    pub fn lines(&self) -> usize {
        let said = self.heard.unread();
        said.events.len() + said.garbled.len() + said.unread.len()
    }

    /// What it has said of this connection so far.
    pub fn events_of(&self, connection: &Connection) -> Vec<Event> {
        self.heard.said().events.iter().filter(|event| event.is_of(connection)).cloned().collect()
    }

    /// What it has said of any connection in this namespace so far.
    pub fn events_in(&self, netns: Id) -> Vec<Event> {
        self.heard.said().events.iter().filter(|event| event.is_in(netns)).cloned().collect()
    }

    /// Waits until what it has said satisfies.
    pub fn wait_for(&self, what: &str, limit: Duration, satisfied: impl Fn(&[Event]) -> bool) -> Result<()> {
        let start = clock::now();
        loop {
            let said = self.heard.said();
            if satisfied(&said.events) {
                return Ok(());
            }
            ensure!(!said.ended, "the tracer ended before it said {what}");
            let Some(left) = limit.checked_sub(clock::between(start, clock::now())) else {
                bail!("the tracer has not said {what} within {limit:?}");
            };
            drop(self.heard.changed.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner));
            // What comes in a rush is looked at together.
            thread::sleep(A_MOMENT);
        }
    }

    /// What it has said so far of the timer's runs and resets of this connection's local end: [`Event::is_run`].
    pub fn runs_of(&self, connection: &Connection) -> Vec<Event> {
        self.events_of(connection).into_iter().filter(Event::is_run).collect()
    }

    /// Waits until it has told so many runs of a connection, and gives those that it has.
    pub fn wait_for_runs_of(&self, connection: &Connection, count: usize, limit: Duration) -> Result<Vec<Event>> {
        self.wait_for_some_of(connection, &format!("{count} runs"), limit, |event| event.is_run(), count)?;
        Ok(self.runs_of(connection))
    }

    /// Waits until it has told so many of those events of a connection's local end that are wanted.
    pub fn wait_for_some_of(
        &self,
        connection: &Connection,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Event) -> bool,
        count: usize,
    ) -> Result<()> {
        let told = |events: &[Event]| events.iter().filter(|event| event.is_of(connection) && wanted(event)).count() >= count;
        let waited = self.wait_for(&format!("{what} of {connection:?}"), limit, told);
        self.speaks_well_of(connection.netns)?;
        waited.with_context(|| format!("it said {:?}", self.events_of(connection).iter().map(Event::gist).collect::<Vec<_>>()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to the tracer"))
    }

    /// The most memory that it has held so far, in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(1024 * peak.with_context(|| format!("{file} has no VmHWM"))?)
    }

    /// Ctrl-C, and all that it said.
    pub fn stop(self) -> Result<Finished> {
        self.signal(Signal::SIGINT)?;
        self.wait()
    }

    /// Waits for it to end by itself. Fails where any line was not as published, or its recording doesn't tell the same.
    pub fn wait(mut self) -> Result<Finished> {
        // Its output ends when it does.
        let start = clock::now();
        let mut said = self.heard.said();
        while !said.ended {
            let left = PATIENCE.checked_sub(clock::between(start, clock::now()));
            let left = left.with_context(|| format!("the tracer has not ended within {PATIENCE:?}"))?;
            said = self.heard.changed.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(said);
        self.heard.check();
        let mut said = self.heard.said();
        let events = std::mem::take(&mut said.events);
        said.checked = 0;
        if let [first, more @ ..] = &said.garbled[..] {
            bail!("the tracer wrote a line that is no event, and {} more like it: {}", more.len(), first.complaint);
        }
        drop(said);
        let status = self.child.wait().context("cannot wait for the tracer")?;
        let errors = self.errors.take().context("stderr was read before")?;
        let errors = errors.join().map_err(|_| anyhow!("the thread that reads stderr panicked"))?;
        if let Some(recorded) = self.recorded.take().filter(|_| status.success() && !events.is_empty()) {
            recorded.tells(&events).context("live and recorded disagree")?;
        }
        Ok(Finished { events, status, errors })
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // After `wait` it is gone already; in a test that fails it must not outlive the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.output.take().map(JoinHandle::join);
    }
}

impl Finished {
    /// The last line, if it is `stop`.
    pub fn stop_line(&self) -> Result<&Event> {
        let last = self.events.last().context("the tracer said nothing")?;
        ensure!(last.kind == "stop", "the last line is {last:?}");
        Ok(last)
    }

    /// All that its `lost` lines count.
    pub fn lost(&self) -> u64 {
        self.events.iter().filter(|event| event.kind == "lost").filter_map(|event| event.count).sum()
    }
}
