//! How far it has come: on a terminal, beside the output, and nowhere else.
use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that shows itself when something takes longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much of so many bytes is read.
pub struct Bar {
    bar: ProgressBar,
    began: Instant,
    hidden: bool,
}

impl Bar {
    pub fn begin(bytes: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
        // The template is ours and right; a bar without it would do as well.
        if let Ok(style) = ProgressStyle::with_template("reading {bytes} of {total_bytes} [{bar:30}] {percent} %, {eta} left") {
            bar.set_style(style);
        }
        Self { bar, began: Instant::now(), hidden: false }
    }

    /// One that is never seen.
    pub fn hidden() -> Self {
        Self { hidden: true, ..Self::begin(0) }
    }

    pub fn advance(&self, bytes: u64) {
        if !self.hidden && self.bar.is_hidden() && self.began.elapsed() > PATIENCE && io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(bytes);
    }

    /// Gone, as if it had never been.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// How often what a recording has come to is shown.
const EACH: Duration = Duration::from_secs(1);

/// What a recording has come to so far, once a second.
pub struct Meter {
    line: ProgressBar,
    shown: Instant,
    events: u64,
}

impl Meter {
    pub fn begin() -> Self {
        let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let line = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            line.set_style(style);
        }
        Self { line, shown: Instant::now(), events: 0 }
    }

    /// How long until [`Self::show`] has something to do, where anybody sees it.
    pub fn due(&self) -> Option<Duration> {
        (!self.line.is_hidden()).then(|| EACH.saturating_sub(self.shown.elapsed()))
    }

    /// Events and bytes so far, and events lost.
    pub fn show(&mut self, events: u64, bytes: u64, lost: u64) {
        let since = self.shown.elapsed();
        if since < EACH {
            return;
        }
        let rate = (events - self.events) as f64 / since.as_secs_f64();
        (self.shown, self.events) = (Instant::now(), events);
        let (events, size) = (HumanCount(events), HumanBytes(bytes));
        self.line.set_message(format!("recording: {events} events, {rate:.0}/s, {size}, {lost} lost. Ctrl-C ends it."));
    }

    /// The last word, where somebody sits before a terminal.
    pub fn end(&self, to: &str, events: u64, bytes: u64, lost: u64) {
        self.line.finish_and_clear();
        if io::stderr().is_terminal() {
            super::note(&format!("{to}: {} events, {}, {lost} lost", HumanCount(events), HumanBytes(bytes)));
        }
    }
}
