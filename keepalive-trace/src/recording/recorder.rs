//! The running recording: when it writes, when it begins another file, and what it leaves when it can't go on.
use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{
    file::{self, Output, Row},
    header::Header,
    writer::Writer,
};
use crate::model::event::Event;

/// An event waits at most so long for its batch to be written: less than the second that is promised.
const WAIT: Duration = Duration::from_millis(800);

/// Where to record, and in what pieces.
#[derive(Clone, Debug)]
pub struct Plan {
    /// None: standard output.
    pub path: Option<PathBuf>,
    pub overwrite: bool,
    pub rotation: Option<Rotation>,
}

/// When another file begins, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub bytes: Option<u64>,
    pub age: Option<Duration>,
    pub keep: usize,
}

/// Records events.
pub struct Recorder {
    plan: Plan,
    row: Option<Row>,
    header: Header,
    writer: Option<Writer<Output>>,
    /// Of the present file.
    path: Option<PathBuf>,
    began: Instant,
    /// When the oldest event that is not written yet came.
    waiting: Option<Instant>,
    events: u64,
    /// Before the present file.
    events_before: u64,
    bytes_before: u64,
}

impl Recorder {
    /// Begins to record.
    ///
    /// # Errors
    /// When the file can't be made, with the way out.
    pub fn begin(plan: Plan, header: Header) -> Result<Self> {
        let row = match (&plan.path, plan.rotation) {
            (Some(path), Some(_)) => Some(Row::of(path)?),
            _ => None,
        };
        let now = Instant::now();
        let mut recorder = Self {
            plan,
            row,
            header,
            writer: None,
            path: None,
            began: now,
            waiting: None,
            events: 0,
            events_before: 0,
            bytes_before: 0,
        };
        recorder.open()?;
        Ok(recorder)
    }

    fn open(&mut self) -> Result<()> {
        let output = match (&self.row, &self.plan.path) {
            (Some(row), _) => {
                let (path, file) = row.next(self.plan.rotation.map_or(1, |rotation| rotation.keep))?;
                self.path = Some(path);
                Output::File(file)
            }
            (None, Some(path)) => {
                self.path = Some(path.clone());
                Output::File(file::create(path, self.plan.overwrite)?)
            }
            (None, None) => Output::Stdout(io::stdout()),
        };
        self.began = Instant::now();
        self.writer = Some(Writer::begin(output, &self.header).map_err(|error| self.stopped(&error))?);
        Ok(())
    }

    /// Takes an event in.
    ///
    /// # Errors
    /// When it can't be written: then the recording has ended.
    pub fn add(&mut self, event: &Event) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        match writer.add(event) {
            Ok(false) => {}
            Ok(true) => {
                self.events += 1;
                self.waiting.get_or_insert_with(Instant::now);
            }
            Err(error) => return Err(self.give_up(&error)),
        }
        Ok(())
    }

    /// How long until [`Self::tick`] has something to do.
    pub fn due(&self) -> Option<Duration> {
        let age = self.plan.rotation.and_then(|rotation| rotation.age).filter(|_| self.events > self.events_before);
        let written = self.waiting.map(|since| WAIT.saturating_sub(since.elapsed()));
        age.map(|most| most.saturating_sub(self.began.elapsed())).into_iter().chain(written).min()
    }

    /// Writes what has waited long enough, and begins another file where it is time.
    ///
    /// # Errors
    /// When it can't be written: then the recording has ended.
    pub fn tick(&mut self) -> Result<()> {
        if self.waiting.is_some_and(|since| since.elapsed() >= WAIT) {
            self.flush()?;
        }
        let Some((rotation, writer)) = self.plan.rotation.zip(self.writer.as_ref()) else { return Ok(()) };
        let full = rotation.bytes.is_some_and(|most| writer.written() >= most);
        let old = rotation.age.is_some_and(|most| self.began.elapsed() >= most);
        // An empty file is no reason to remove one that has something in it.
        if (full || old) && self.events > self.events_before {
            self.close(None)?;
            self.events_before = self.events;
            self.header.part += 1;
            self.open()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if let Err(error) = writer.write() {
            return Err(self.give_up(&error));
        }
        self.waiting = None;
        Ok(())
    }

    /// Ends the recording, at this moment of CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// When the rest can't be written.
    pub fn finish(&mut self, mono_ns: u64) -> Result<()> {
        self.close(Some((mono_ns, self.events)))
    }

    fn close(&mut self, stop: Option<(u64, u64)>) -> Result<()> {
        self.flush()?;
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let (output, bytes) = writer.close(stop).map_err(|error| self.stopped(&error))?;
        self.bytes_before += bytes;
        output.sync().map_err(|error| self.stopped(&anyhow!(error)))
    }

    /// It can't go on: what was whole before stays, without an end, since the run has none.
    fn give_up(&mut self, error: &anyhow::Error) -> anyhow::Error {
        let why = self.stopped(error);
        if let Some(mut writer) = self.writer.take() {
            let whole = writer.written();
            // Where even that fails, whoever reads it sees where it ends.
            drop(writer.get_mut().cut(whole));
        }
        self.waiting = None;
        why
    }

    fn stopped(&self, error: &anyhow::Error) -> anyhow::Error {
        let to = self.path.as_ref().map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::BrokenPipe {
                return anyhow!(io::Error::from(io::ErrorKind::BrokenPipe));
            }
            let room = if io.kind() == io::ErrorKind::StorageFull { ": make room, or record less" } else { "" };
            return anyhow!("recording stopped: cannot write {to}: {io}{room}; what it has up to here is whole");
        }
        anyhow!("recording stopped: cannot write {to}: {error:#}")
    }

    /// Events taken in so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Bytes written so far, of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes_before + self.writer.as_ref().map_or(0, Writer::written)
    }

    /// The present file, where there is one.
    pub fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }
}

impl Drop for Recorder {
    /// Where something else went wrong, what had come is written. There is no end, for it has none.
    fn drop(&mut self) {
        drop(self.flush());
    }
}
