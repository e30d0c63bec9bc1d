//! What a run recorded of itself: from that alone, everything that it told live comes again.
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};

use crate::{
    event::Event,
    tracer::{self, Mode},
};

/// The files that a tracer leaves beside what it says: its recording, and the report that it made at its end.
#[derive(Debug)]
pub(crate) struct Recorded {
    recording: PathBuf,
    report: PathBuf,
    /// Further arguments of the run that its replay and its report need too.
    all_histories: bool,
    counted: bool,
    mode: Mode,
}

impl Recorded {
    /// Files of their own for a run with these arguments.
    pub(crate) fn of(mode: Mode, arguments: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = |ending: &str| std::env::temp_dir().join(format!("lab-{}-{number}.{ending}", std::process::id()));
        Self {
            recording: file("arrows"),
            report: file("txt"),
            all_histories: arguments.contains(&"--histories"),
            counted: arguments.contains(&"--count"),
            mode,
        }
    }

    /// What the tracer is told of them.
    pub(crate) fn arguments(&self) -> [&std::ffi::OsStr; 4] {
        ["--record".as_ref(), self.recording.as_os_str(), "--report".as_ref(), self.report.as_os_str()]
    }

    /// Holds that the recording tells what the run told: the report to the byte, and each line of JSON.
    pub(crate) fn tells(&self, events: &[Event]) -> Result<()> {
        let live = fs::read_to_string(&self.report).with_context(|| format!("cannot read {}", self.report.display()))?;
        let histories = if self.all_histories { &["--histories"][..] } else { &[] };
        let forgotten = events.iter().any(|event| event.place.as_deref() == Some("connection-table"));
        if forgotten {
            // What the run had no room for is in its recording: all that it told is there, and more.
            let whole = self.run("report", &["-t", "--histories"])?;
            let missing = stories(&live).find(|story| !stories(&whole).any(|other| other == *story));
            ensure!(missing.is_none(), "told live and not in the recording: {missing:?} of {whole}");
        } else {
            let again = self.run("report", &[&["-t"], histories].concat())?;
            ensure!(again == live, "the recording's report is another than the live one:\n{again}\nand live:\n{live}");
        }
        if !self.counted {
            let again = self.run("replay", &[&["--json"], self.mode.arguments(), histories].concat())?;
            let mut live = events.iter().map(|event| event.line.as_str());
            for line in again.lines() {
                let told = live.next();
                ensure!(told == Some(line), "the replay has another line than the run: {line}\nand live: {told:?}");
            }
            ensure!(live.next().is_none(), "the replay ends too early");
        }
        Ok(())
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Result<String> {
        output(command, &self.recording, arguments)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // Where the run came to nothing, they were never made.
        drop(fs::remove_file(&self.recording));
        drop(fs::remove_file(&self.report));
    }
}

/// What a command prints about a recording; it must end well and complain of nothing.
pub fn output(command: &str, recording: &Path, arguments: &[&str]) -> Result<String> {
    let output = tracer::command(&[command]).arg(recording).args(arguments).output().context("cannot start it")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && errors.is_empty(), "{command} {arguments:?}: {} {errors}", output.status);
    String::from_utf8(output.stdout).context("what it prints is no text")
}

/// The stories of a report, without what goes before and after them.
fn stories(report: &str) -> impl Iterator<Item = &str> {
    report.split("\n\n").map(str::trim_end).filter(|part| part.contains(" > "))
}
