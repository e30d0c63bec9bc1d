//! Sockets as they are listed: a table for people, one object a line for machines.
mod json;
mod text;

use std::io::{BufWriter, Stdout, Write as _};

use anyhow::{Context as _, Result};

use super::{Look, STDOUT, colors};
use crate::model::inventory::{Row, Sum};

/// How rows become lines.
trait Format {
    fn header(&self, out: &mut Vec<u8>) -> Result<()>;
    fn row(&self, row: &Row, out: &mut Vec<u8>) -> Result<()>;
    fn sum(&self, sum: &Sum, mono_ns: u64, out: &mut Vec<u8>) -> Result<()>;
}

/// Writes rows to standard output in the format that was asked for.
pub struct Listing {
    format: Box<dyn Format>,
    out: BufWriter<Stdout>,
    line: Vec<u8>,
}

impl Listing {
    /// `advice`: for people, say of each finding why, and what cures it. `wall_offset_ns` is CLOCK_REALTIME minus CLOCK_MONOTONIC, nanoseconds.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn begin(look: &Look, wall_offset_ns: i64, advice: bool) -> Result<Self> {
        let format: Box<dyn Format> = if look.json {
            Box::new(json::Json { wall_offset_ns })
        } else {
            Box::new(text::Text::new(look, colors(look.colors), advice))
        };
        let mut listing =
            Self { format, out: BufWriter::with_capacity(64 * 1024, std::io::stdout()), line: Vec::with_capacity(1024) };
        listing.format.header(&mut listing.line)?;
        listing.write()?;
        Ok(listing)
    }

    /// # Errors
    /// When standard output can't be written.
    pub fn row(&mut self, row: &Row) -> Result<()> {
        self.format.row(row, &mut self.line)?;
        self.write()
    }

    /// The last line: how many there were, at this moment of CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn end(mut self, sum: &Sum, mono_ns: u64) -> Result<()> {
        self.format.sum(sum, mono_ns, &mut self.line)?;
        self.write()?;
        self.out.flush().context(STDOUT)
    }

    fn write(&mut self) -> Result<()> {
        self.out.write_all(&self.line).context(STDOUT)?;
        self.line.clear();
        Ok(())
    }
}
