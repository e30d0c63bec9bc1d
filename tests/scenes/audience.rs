//! The two tracers that watch the scenes: one writes for people, right onto our paper, the other tells us what it saw.
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use lab::{
    event::Event,
    netns::Netns,
    pair::Connection,
    tracer::{self, Attach, Mode, Tracer},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::paper::{Paper, Tone};

/// How long a tracer may take to load its programs, and how long an event may take to be told.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a tracer keeps an event to itself: after this, what has happened has been written.
const SETTLE: Duration = Duration::from_millis(300);

/// Both tracers.
pub struct Audience {
    live: Live,
    listener: Tracer,
}

/// The one that writes for people.
struct Live {
    child: Child,
    lines: JoinHandle<Result<()>>,
}

impl Audience {
    /// Starts both for one namespace, and waits until they watch.
    pub fn seat(paper: Paper, netns: &Netns) -> Result<Self> {
        let inode = netns.inode().to_string();
        let listener = Tracer::start(Attach::Auto, Mode::Full, &["--netns", &inode])?;
        let live = Live::start(paper, &inode)?;
        Ok(Self { live, listener })
    }

    /// Waits until so many runs of a connection's timer were told.
    pub fn wait(&self, connection: &Connection, runs: usize, limit: Duration) -> Result<Vec<Event>> {
        let events = self.listener.wait_for_runs_of(connection, runs, limit + PATIENCE)?;
        self.settle();
        Ok(events)
    }

    /// Waits until what has happened so far has been told.
    pub fn settle(&self) {
        thread::sleep(SETTLE);
    }

    /// What was told of a connection.
    pub fn told(&self, connection: &Connection) -> Vec<Event> {
        self.listener.events_of(connection)
    }

    /// Ctrl-C for both, and their last lines.
    pub fn leave(self) -> Result<()> {
        self.live.stop()?;
        let finished = self.listener.stop()?;
        ensure!(finished.status.success(), "the tracer ended with {}: {}", finished.status, finished.errors);
        Ok(())
    }
}

impl Live {
    fn start(paper: Paper, netns: &str) -> Result<Self> {
        let mut command = Command::new(tracer::binary());
        command.args(["trace", "--all", "--netns", netns, "--color", paper.color()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start the tracer")?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        let (first_line, ready) = channel();
        let lines = thread::spawn(move || {
            for line in output.lines() {
                paper.write(Tone::Plain, &line.context("cannot read the tracer's lines")?)?;
                let _ = first_line.send(()); // nobody waits for the later ones
            }
            Ok(())
        });
        is_ready(&ready)?;
        Ok(Self { child, lines })
    }

    fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGINT).context("cannot stop the tracer")?;
        let status = self.child.wait().context("cannot wait for the tracer")?;
        ensure!(status.success(), "the tracer ended with {status}");
        self.lines.join().map_err(|_| anyhow!("the thread that passes lines on panicked"))?
    }
}

fn is_ready(ready: &Receiver<()>) -> Result<()> {
    ready.recv_timeout(PATIENCE).context("the tracer did not begin to trace")
}
