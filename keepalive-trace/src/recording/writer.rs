//! Events into one stream of batches.
use std::{io::Write, ops::Range, sync::Arc};

use anyhow::{Context as _, Result};
use arrow_array::RecordBatch;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_schema::SchemaRef;

use super::{
    columns::Columns,
    encode::Encoder,
    frame,
    header::Header,
    row::{self, Wall},
};
use crate::model::event::Event;

/// Rows of a batch at most: a word's number has 16 bits, and a dictionary may have to take the words of two batches.
pub(super) const ROWS: usize = 32_000;

/// Events as batches, column by column: of a recording, or of an export.
pub(super) struct Batches {
    columns: Columns,
    wall: Wall,
    host: String,
}

impl Batches {
    pub(super) fn new(header: &Header) -> Self {
        let wall = Wall { offset_ns: header.start.wall_offset_ns };
        Self { columns: Columns::default(), wall, host: header.start.host.clone() }
    }

    /// Whether it took the event in.
    pub(super) fn add(&mut self, event: &Event) -> bool {
        let Self { columns, wall, host } = self;
        let row = row::flat(event, host, *wall);
        let taken = row.is_some();
        if let Some(row) = row {
            columns.push(row);
        }
        taken
    }

    fn stop(&mut self, mono_ns: u64, events: u64) {
        let Self { columns, wall, host } = self;
        columns.push(row::stop(mono_ns, events, host, *wall));
    }

    pub(super) fn rows(&self) -> usize {
        self.columns.rows()
    }

    /// All that was added since the last one.
    pub(super) fn take(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let columns = self.columns.finish().context("cannot lay out a batch")?;
        RecordBatch::try_new(Arc::clone(schema), columns).context("cannot lay out a batch")
    }

    /// Appends some rows as messages of a stream.
    fn encode(&mut self, rows: &Range<usize>, encoder: &mut Encoder, out: &mut Vec<u8>) {
        self.columns.encode(rows, encoder, out);
    }
}

/// Writes a stream. Nothing is on its way until [`Self::flush`]: then every byte handed over is part of whole messages.
pub struct Writer<W> {
    out: W,
    batches: Batches,
    encoder: Encoder,
    bytes: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with what the recording says of itself.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn begin(out: W, header: &Header) -> Result<Self> {
        let encoder = Encoder::new()?;
        let mut writer = Self { out, batches: Batches::new(header), encoder, bytes: Vec::new(), written: 0 };
        // Dictionaries have the numbers of their columns among those of words.
        let mut dictionaries = DictionaryTracker::new(false);
        let options = IpcWriteOptions::default();
        let schema =
            IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(&header.schema(), &mut dictionaries, &options);
        frame::write(&schema.ipc_message, &schema.arrow_data, &mut writer.bytes);
        writer.hand_over()?;
        Ok(writer)
    }

    /// Takes an event in; whether it is one that a recording has.
    ///
    /// # Errors
    /// When a batch was full and can't be written.
    pub fn add(&mut self, event: &Event) -> Result<bool> {
        if self.batches.rows() >= ROWS {
            self.flush()?;
        }
        Ok(self.batches.add(event))
    }

    /// Events that were taken in and not written yet.
    pub fn pending(&self) -> usize {
        self.batches.rows()
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
        if self.batches.rows() == 0 {
            return Ok(());
        }
        let Self { batches, encoder, bytes, .. } = self;
        batches.encode(&(0..batches.rows()), encoder, bytes);
        batches.columns.clear();
        self.hand_over()
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
        self.flush()?;
        if let Some((mono_ns, events)) = stop {
            self.batches.stop(mono_ns, events);
        }
        self.flush()?;
        self.bytes.extend_from_slice(&frame::END);
        self.hand_over()
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
