//! Events into one stream of batches.
use std::io::Write;

use anyhow::Result;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};

use super::{encode::Encoder, file::Output, frame, header::Header, row::Batches};
use crate::model::event::Event;

/// Rows of a batch at most: a word's number has 16 bits, and there may be half as many rows that are kept, and words of past batches.
pub(super) const ROWS: usize = 32_000;

/// A batch of this many rows need not be replaced: its fixed cost is small for each row.
const SMALL: usize = 512;
/// Batches are replaced when they have this many rows together, or when there are this many of them.
const ENOUGH: usize = 2048;
const MOST_KEPT: u32 = 128;

/// Writes a stream. Nothing is on its way until [`Self::flush`]: then every byte handed over is part of whole messages.
pub struct Writer<W> {
    out: W,
    batches: Batches,
    encoder: Encoder,
    bytes: Vec<u8>,
    written: u64,
    /// Rows that were written already and are kept, so that a larger batch can take the place of theirs: how many, in how many
    /// batches, and where those begin.
    kept: usize,
    batches_kept: u32,
    tail: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with what the recording says of itself.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn begin(out: W, header: &Header) -> Result<Self> {
        let encoder = Encoder::new()?;
        let mut writer = Self {
            out,
            batches: Batches::new(header),
            encoder,
            bytes: Vec::new(),
            written: 0,
            kept: 0,
            batches_kept: 0,
            tail: 0,
        };
        // Dictionaries have the numbers of their columns among those of words.
        let mut dictionaries = DictionaryTracker::new(false);
        let options = IpcWriteOptions::default();
        let schema =
            IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(&header.schema(), &mut dictionaries, &options);
        frame::write(&schema.ipc_message, &schema.arrow_data, &mut writer.bytes);
        writer.hand_over()?;
        writer.tail = writer.written;
        Ok(writer)
    }

    /// Takes an event in; whether it is one that a recording has.
    ///
    /// # Errors
    /// When a batch was full and can't be written.
    pub fn add(&mut self, event: &Event) -> Result<bool> {
        if self.pending() >= ROWS {
            self.flush()?;
        }
        Ok(self.batches.add(event))
    }

    /// Events that were taken in and not written yet.
    pub fn pending(&self) -> usize {
        self.batches.rows() - self.kept
    }

    /// Bytes handed over so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Writes what was taken in.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn flush(&mut self) -> Result<()> {
        self.append()?;
        self.settle();
        Ok(())
    }

    /// Appends what was taken in.
    fn append(&mut self) -> Result<()> {
        if self.pending() == 0 {
            return Ok(());
        }
        let Self { batches, encoder, bytes, kept, .. } = self;
        batches.encode(*kept, encoder, bytes);
        self.hand_over()
    }

    /// What was written up to here stays as it is.
    fn settle(&mut self) {
        self.batches.clear();
        (self.kept, self.batches_kept, self.tail) = (0, 0, self.written);
    }

    /// Ends the stream; with the run's end, where that is here: at this moment, after so many events.
    ///
    /// # Errors
    /// When `out` can't be written: with what is left of it.
    pub fn finish(mut self, stop: Option<(u64, u64)>) -> Result<W, (W, anyhow::Error)> {
        match self.end(stop) {
            Ok(()) => Ok(self.out),
            Err(error) => Err((self.out, error)),
        }
    }

    fn end(&mut self, stop: Option<(u64, u64)>) -> Result<()> {
        self.stop(stop);
        self.flush()?;
        self.bytes.extend_from_slice(&frame::END);
        self.hand_over()
    }

    fn stop(&mut self, stop: Option<(u64, u64)>) {
        if let Some((mono_ns, events)) = stop {
            self.batches.stop(mono_ns, events);
        }
    }

    /// In one piece, so that whoever reads meanwhile mostly sees whole messages.
    fn hand_over(&mut self) -> Result<()> {
        let handed = self.out.write_all(&self.bytes).and_then(|()| self.out.flush());
        if handed.is_ok() {
            self.written += self.bytes.len() as u64;
        }
        self.bytes.clear();
        Ok(handed?)
    }
}

impl Writer<Output> {
    /// Writes what was taken in. Of a file, batches of few rows are replaced by one later.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn write(&mut self) -> Result<()> {
        let is_due = self.batches.rows() >= ENOUGH || self.batches_kept >= MOST_KEPT;
        if is_due && self.gather()? {
            return Ok(());
        }
        let is_small = self.pending() < SMALL || self.kept > 0;
        self.append()?;
        if is_small && self.out.is_file() && self.batches.rows() < ROWS / 2 {
            self.batches_kept += u32::from(self.kept < self.batches.rows());
            self.kept = self.batches.rows();
        } else {
            self.settle();
        }
        Ok(())
    }

    /// Writes one batch in the place of all that were kept, and of what was taken in since. False where there is none, or
    /// a reader has the file open.
    fn gather(&mut self) -> Result<bool> {
        let few = self.batches_kept + u32::from(self.pending() > 0) < 2 || self.batches_kept == 0;
        if few || !self.out.lock() {
            return Ok(false);
        }
        let Self { out, batches, encoder, bytes, written, tail, .. } = self;
        batches.rewind();
        batches.encode(0, encoder, bytes);
        let replaced = out.replace(*tail, *written, bytes);
        if replaced.is_ok() {
            *written = *tail + bytes.len() as u64;
        }
        bytes.clear();
        replaced?;
        self.settle();
        Ok(true)
    }

    /// Ends the stream as [`Self::finish`] does, with one batch in the place of those that were kept; how many bytes it has.
    ///
    /// # Errors
    /// When `out` can't be written. What is whole stays.
    pub fn close(mut self, stop: Option<(u64, u64)>) -> Result<(Output, u64)> {
        self.stop(stop);
        match self.gather().and_then(|_| self.end(None)) {
            Ok(()) => Ok((self.out, self.written)),
            Err(error) => {
                drop(self.out.cut(self.written));
                Err(error)
            }
        }
    }
}
