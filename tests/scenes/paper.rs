//! What the narrator writes: 110 columns at most, in colour where that is wanted.
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result, bail};

const BOLD: &str = "\x1b[1;36m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Standard output, and whether it is coloured.
#[derive(Clone, Copy)]
pub struct Paper {
    colored: bool,
}

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// What comes now.
    Title,
    /// An aside.
    Note,
    /// It is as it should be.
    Good,
    /// It is not.
    Bad,
    /// Nothing in particular.
    Plain,
}

impl Paper {
    /// `auto`, `always` or `never`.
    pub fn new(color: &str) -> Result<Self> {
        let colored = match color {
            "auto" => io::stdout().is_terminal(),
            "always" => true,
            "never" => false,
            other => bail!("--color is auto, always or never, not `{other}`"),
        };
        Ok(Self { colored })
    }

    /// The same, as an argument of other programs.
    pub fn color(self) -> &'static str {
        if self.colored { "always" } else { "never" }
    }

    /// One line.
    pub fn write(self, tone: Tone, text: &str) -> Result<()> {
        let color = match tone {
            Tone::Title => BOLD,
            Tone::Note => DIM,
            Tone::Good => GREEN,
            Tone::Bad => RED,
            Tone::Plain => "",
        };
        let mut out = io::stdout().lock();
        let written =
            if self.colored && !color.is_empty() { writeln!(out, "{color}{text}{PLAIN}") } else { writeln!(out, "{text}") };
        written.context("cannot write to stdout")
    }

    /// Announces a scene.
    pub fn title(self, text: &str) -> Result<()> {
        self.write(Tone::Plain, "")?;
        self.write(Tone::Title, &format!("── {text}"))
    }

    /// Tells what there is to see.
    pub fn note(self, text: &str) -> Result<()> {
        self.write(Tone::Note, &format!("   {text}"))
    }
}
