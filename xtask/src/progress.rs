//! Telling the user what takes long: a spinner on a terminal, plain lines elsewhere. All of it goes to stderr.
use std::{
    io::{IsTerminal as _, stderr, stdout},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Several tasks at once, one line each.
pub struct Board {
    bars: MultiProgress,
    terminal: bool,
}

/// One thing that takes long.
pub struct Task {
    bars: MultiProgress,
    bar: Option<ProgressBar>,
    name: String,
    started: Instant,
}

impl Board {
    pub fn new() -> Self {
        Self { bars: MultiProgress::new(), terminal: stderr().is_terminal() }
    }

    pub fn task(&self, name: impl Into<String>) -> Task {
        let name = name.into();
        let bar = self.terminal.then(|| {
            let bar = self.bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.set_message(name.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("  {name} ...");
        }
        Task { bars: self.bars.clone(), bar, name, started: Instant::now() }
    }

    /// One line that stays.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{text}"));
    }
}

/// A task on its own.
pub fn task(name: impl Into<String>) -> Task {
    Board::new().task(name)
}

impl Task {
    /// Says where the task stands; only a terminal shows it.
    pub fn say(&self, state: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {state}", self.name));
        }
    }

    /// Ends the task with one line that stays.
    pub fn done(self, outcome: &str) {
        let line = format!("  {}: {outcome} ({})", self.name, seconds(self.started.elapsed()));
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.bars.suspend(|| eprintln!("{line}"));
    }
}

/// A heading on stdout, bold on a terminal.
pub fn heading(text: &str) {
    if stdout().is_terminal() {
        println!("\n\x1b[1m== {text}\x1b[0m");
    } else {
        println!("\n== {text}");
    }
}

pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
