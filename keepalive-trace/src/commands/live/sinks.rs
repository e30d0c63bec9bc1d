//! What becomes of live events: the screen, the recording, and the count of them all.
use std::{fs::File, io::Write as _, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    kernel::{facts, stream::Flow},
    model::{
        event::{Body, Event, Start},
        history::History,
        ledger::Ledger,
        report::{Report, Run},
        worst,
    },
    output::{self, Look, Meter, Printer},
    recording::{self, Header, Plan, Recorder},
};

/// Where events go, and how many of them.
pub(super) struct Sinks<'a> {
    start: Start,
    started_ns: u64,
    screen: Option<(Printer, Look)>,
    shows: &'a dyn Fn(&Event) -> bool,
    limit: Option<u64>,
    shown: u64,
    recorder: Option<Recorder>,
    meter: Option<Meter>,
    report: Option<File>,
    /// Of all that there was, shown or not.
    ledger: Ledger,
}

impl<'a> Sinks<'a> {
    /// To a screen, where something is to be seen; as many of those events that `shows` wants as there may be.
    pub(super) fn new(
        (started_ns, start): (u64, Start),
        look: Option<Look>,
        shows: &'a dyn Fn(&Event) -> bool,
        limit: Option<u64>,
    ) -> Result<Self> {
        let screen = look.map(|look| (Printer::new(&look), look));
        let ledger = Ledger::default();
        let mut sinks =
            Self { start, started_ns, screen, shows, limit, shown: 0, recorder: None, meter: None, report: None, ledger };
        sinks.print(&Event { mono_ns: started_ns, body: Body::Start(sinks.start.clone()) })?;
        Ok(sinks)
    }

    /// Into a recording too.
    ///
    /// # Errors
    /// When it can't be made.
    pub(super) fn record(&mut self, plan: Plan) -> Result<()> {
        let header = Header::of(self.start.clone(), self.started_ns, std::process::id());
        self.recorder = Some(Recorder::begin(plan, header)?);
        self.meter = self.screen.is_none().then(Meter::begin);
        Ok(())
    }

    /// The report into this file too.
    ///
    /// # Errors
    /// When it can't be made.
    pub(super) fn report_to(&mut self, path: &Path, overwrite: bool) -> Result<()> {
        self.report = Some(recording::create(path, overwrite)?);
        Ok(())
    }

    pub(super) fn take(&mut self, event: &Event) -> Result<Flow> {
        self.ledger.note(event);
        let limit = self.limit;
        let full = |shown| limit.is_some_and(|limit| shown >= limit);
        if let Some(recorder) = &mut self.recorder {
            recorder.add(event)?;
        }
        if (self.shows)(event) && !full(self.shown) {
            self.print(event)?;
            self.shown += 1;
        }
        Ok(if full(self.shown) { Flow::Enough } else { Flow::More })
    }

    /// Shows what is no event of the stream.
    pub(super) fn print(&mut self, event: &Event) -> Result<()> {
        self.screen.as_mut().map_or(Ok(()), |(screen, _)| screen.show(event))
    }

    /// Out with what has waited long enough.
    pub(super) fn flush(&mut self) -> Result<()> {
        if let Some(recorder) = &mut self.recorder {
            recorder.tick()?;
            if let Some(meter) = &mut self.meter {
                meter.show(recorder.events(), recorder.bytes(), self.ledger.lost());
            }
        }
        self.screen.as_mut().map_or(Ok(()), |(screen, _)| screen.flush())
    }

    /// When [`Self::flush`] has something to do, or `moment` comes: nanoseconds of CLOCK_MONOTONIC.
    pub(super) fn due(&self, moment: Option<u64>) -> Option<u64> {
        let recorder = self.recorder.as_ref().and_then(Recorder::due);
        let due = recorder.into_iter().chain(self.meter.as_ref().and_then(Meter::due)).min();
        let due = due.map(|due| facts::mono_ns().saturating_add(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX)));
        moment.into_iter().chain(due).min()
    }

    /// Nothing more comes; what is to be told of these histories, if anything is: all of them, or the worst.
    pub(super) fn end<'h>(
        mut self,
        histories: impl Iterator<Item = (&'h History, Option<std::sync::Arc<str>>)>,
        all: Option<bool>,
    ) -> Result<()> {
        let mono_ns = facts::mono_ns();
        // It is safe before anything is shown.
        let recorded = self.recorder.as_mut().map_or(Ok(()), |recorder| recorder.finish(mono_ns));
        self.ledger.close(mono_ns);
        self.print(&Event { mono_ns, body: Body::Stop(self.ledger.stop(self.shown)) })?;
        if let Some(all) = all {
            let limit = if all { usize::MAX } else { worst::FEW };
            let run =
                Run { start: self.start.clone(), started_ns: self.started_ns, ledger: self.ledger.clone(), gaps: Vec::new() };
            self.report(&Report::of(run, histories, all, limit))?;
        }
        recorded?;
        if let Some((screen, _)) = &mut self.screen {
            screen.flush()?;
        }
        if let (Some(meter), Some(recorder)) = (&mut self.meter, &self.recorder) {
            let to = recorder.path().map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
            meter.end(&to, recorder.events(), recorder.bytes(), self.ledger.lost());
        }
        Ok(())
    }

    fn report(&mut self, report: &Report) -> Result<()> {
        let Some((screen, look)) = &mut self.screen else { return Ok(()) };
        screen.report(report)?;
        if let Some(file) = &mut self.report {
            file.write_all(&output::report_text(report, look.wall_clock)?).context("cannot write the report")?;
        }
        Ok(())
    }
}
