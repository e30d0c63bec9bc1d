//! Events into one stream of batches.
use std::{io::Write, sync::Arc};

use anyhow::{Context as _, Result};
use arrow_array::RecordBatch;
use arrow_ipc::{
    CompressionType, MetadataVersion,
    writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
};
use arrow_schema::SchemaRef;

use super::{
    columns::Columns,
    frame,
    header::Header,
    row::{self, Wall},
};
use crate::model::event::Event;

/// Rows of a batch at most: a word's number has 16 bits, and a dictionary may have to take the words of two batches.
pub(super) const ROWS: usize = 32_000;

/// zstd's: events come cheap, and go on coming.
const LEVEL: i32 = 1;

/// Events as batches, column by column: of a recording, or of an export.
pub(super) struct Batches {
    columns: Columns,
    wall: Wall,
    host: Arc<str>,
    pub(super) rows: usize,
}

impl Batches {
    pub(super) fn new(header: &Header) -> Self {
        let wall = Wall { offset_ns: header.start.wall_offset_ns };
        Self { columns: Columns::default(), wall, host: header.start.host.as_str().into(), rows: 0 }
    }

    /// Whether it took the event in.
    pub(super) fn add(&mut self, event: &Event) -> bool {
        let row = row::flat(event, self.wall);
        let taken = row.is_some();
        if let Some(row) = row {
            self.push(row);
        }
        taken
    }

    fn stop(&mut self, mono_ns: u64, events: u64) {
        self.push(row::stop(mono_ns, events, self.wall));
    }

    fn push(&mut self, mut row: super::columns::Row) {
        row.host = Some(Arc::clone(&self.host));
        self.columns.push(row);
        self.rows += 1;
    }

    /// All that was added since the last one.
    pub(super) fn take(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        self.rows = 0;
        let columns = self.columns.finish().context("cannot lay out a batch")?;
        RecordBatch::try_new(Arc::clone(schema), columns).context("cannot lay out a batch")
    }
}

/// Writes a stream. Nothing is on its way until [`Self::flush`]: then every byte handed over is part of whole messages.
pub struct Writer<W> {
    out: W,
    schema: SchemaRef,
    batches: Batches,
    options: IpcWriteOptions,
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    context: IpcWriteContext,
    bytes: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with what the recording says of itself.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn begin(out: W, header: &Header) -> Result<Self> {
        let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)
            .and_then(|options| options.try_with_compression(Some(CompressionType::ZSTD)))
            .and_then(|options| options.try_with_compression_level(Some(LEVEL)))
            .context("cannot set up compression")?;
        let mut writer = Self {
            out,
            schema: header.schema(),
            batches: Batches::new(header),
            options,
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(false),
            context: IpcWriteContext::default(),
            bytes: Vec::new(),
            written: 0,
        };
        let Self { generator, schema, dictionaries, options, bytes, .. } = &mut writer;
        frame::write(&generator.schema_to_bytes_with_dictionary_tracker(schema, dictionaries, options), bytes);
        writer.hand_over()?;
        Ok(writer)
    }

    /// Takes an event in; whether it is one that a recording has.
    ///
    /// # Errors
    /// When a batch was full and can't be written.
    pub fn add(&mut self, event: &Event) -> Result<bool> {
        if self.batches.rows >= ROWS {
            self.flush()?;
        }
        Ok(self.batches.add(event))
    }

    /// Events that were taken in and not written yet.
    pub fn pending(&self) -> usize {
        self.batches.rows
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
        if self.batches.rows == 0 {
            return Ok(());
        }
        let Self { batches, schema, generator, dictionaries, options, context, bytes, .. } = self;
        let batch = batches.take(schema)?;
        let (words, rows) = generator.encode(&batch, dictionaries, options, context).context("cannot encode a batch")?;
        words.iter().chain([&rows]).for_each(|message| frame::write(message, bytes));
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
