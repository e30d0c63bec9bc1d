//! Paper and screen: the only place that writes for people and for other programs.
mod append;
mod columns;
mod detail;
mod harmless;
mod json;
mod listing;
mod progress;
pub mod report;
mod text;
mod wall;

use std::{
    io::{self, BufWriter, IsTerminal as _, Stdout, Write as _},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use harmless::escape;
pub use listing::Listing;
pub use progress::{Bar, Meter};
pub use report::{history_lines, page, report_json};

#[cfg(test)]
use crate::model::samples;
use crate::model::{event::Event, report::Report};

/// What output is to look like.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub json: bool,
    pub wide: bool,
    /// A report comes at the end.
    pub reports: bool,
    /// Time of day instead of seconds since the start.
    pub wall_clock: bool,
    pub colors: Colors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

const STDOUT: &str = "cannot write to standard output";

/// How events become lines.
trait Format {
    /// Appends what `event` looks like, line ends included; it may be nothing.
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<()>;

    /// Appends what it all came to, where the format has that.
    fn report(&mut self, _report: &Report, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}

/// Writes events to standard output in the format that was asked for.
pub struct Printer {
    format: Box<dyn Format>,
    out: BufWriter<Stdout>,
    line: Vec<u8>,
}

impl Printer {
    pub fn new(look: &Look) -> Self {
        let format: Box<dyn Format> =
            if look.json { Box::new(json::Json::default()) } else { Box::new(text::Text::new(look, colors(look.colors))) };
        Self { format, out: BufWriter::with_capacity(64 * 1024, io::stdout()), line: Vec::with_capacity(1024) }
    }

    /// # Errors
    /// When standard output can't be written.
    pub fn show(&mut self, event: &Event) -> Result<()> {
        self.line.clear();
        self.format.write(event, &mut self.line)?;
        self.out.write_all(&self.line).context(STDOUT)
    }

    /// What it all came to, for people.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn report(&mut self, report: &Report) -> Result<()> {
        self.line.clear();
        self.format.report(report, &mut self.line)?;
        self.out.write_all(&self.line).context(STDOUT)
    }

    /// Hands everything over; where there is nothing to hand over, it still notices a reader who has gone.
    ///
    /// # Errors
    /// When standard output can't be written, or nobody reads it any more.
    pub fn flush(&mut self) -> Result<()> {
        if self.out.buffer().is_empty() && is_abandoned(self.out.get_ref()) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        self.out.flush().context(STDOUT)
    }
}

/// The report as text, without colours; its times by the wall clock, or in seconds since the start.
///
/// # Errors
/// Never: memory can be written.
pub fn report_text(report: &Report, wall_clock: bool) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    report::write(report, &report::Clock::new(wall_clock), ("", ""), &mut text)?;
    Ok(text)
}

/// Events as JSON lines, wherever they go.
#[derive(Default)]
pub struct JsonLines {
    json: json::Json,
    line: Vec<u8>,
}

impl JsonLines {
    /// # Errors
    /// When `out` can't be written.
    pub fn write(&mut self, event: &Event, out: &mut impl io::Write) -> Result<()> {
        self.line.clear();
        self.json.write(event, &mut self.line)?;
        out.write_all(&self.line).context("cannot write JSON lines")
    }
}

/// Events as lines for people, wherever they go.
pub struct TextLines {
    text: text::Text,
    line: Vec<u8>,
}

impl TextLines {
    pub fn new(look: &Look) -> Self {
        Self { text: text::Text::new(look, colors(look.colors)), line: Vec::new() }
    }

    /// # Errors
    /// When `out` can't be written.
    pub fn write(&mut self, event: &Event, out: &mut impl io::Write) -> Result<()> {
        self.line.clear();
        self.text.write(event, &mut self.line)?;
        out.write_all(&self.line).context("cannot write lines")
    }
}

/// Text for a cell of a spreadsheet: nothing in it does anything, there or on a terminal.
pub fn harmless_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@']);
    let text = escape(text);
    if formula { format!("'{text}") } else { text.into_owned() }
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A pipe whose reading end is closed.
fn is_abandoned(out: &Stdout) -> bool {
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// Whether an error only means that nobody reads our output any more.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

fn colors(choice: Colors) -> bool {
    match choice {
        Colors::Always => true,
        Colors::Never => false,
        Colors::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// The one line that an error is.
#[expect(clippy::print_stderr, reason = "the program's last word")]
pub fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// A line beside the output: on standard error, so that a pipe stays clean.
#[expect(clippy::print_stderr, reason = "what it is for")]
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// The same, only where somebody sits before a terminal.
pub fn greet(text: &str) {
    if io::stderr().is_terminal() && io::stdout().is_terminal() {
        note(text);
    }
}

/// Lines for people, on standard output; a reader who has gone is no error.
///
/// # Errors
/// When standard output can't be written.
pub fn lines(lines: impl IntoIterator<Item = String>) -> Result<()> {
    let mut out = io::stdout().lock();
    for line in lines {
        match writeln!(out, "{line}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.context(STDOUT)?,
        }
    }
    Ok(())
}

/// Our own log, and the kernel side's, on standard error.
pub fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    env_logger::Builder::new().filter_module("keepalive_trace", level).init();
}
