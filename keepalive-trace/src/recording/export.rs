//! Recordings as tables for other tools: a row an event, or a row a connection.
use std::{collections::HashMap, io::Write, sync::Arc};

use anyhow::{Context as _, Result};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, RecordBatch, StringArray, UInt64Array, cast::AsArray as _, types::UInt16Type,
};
use arrow_ipc::{
    CompressionType, MetadataVersion,
    writer::{IpcWriteOptions, StreamWriter},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::{
    columns::Columns,
    header::Header,
    histories,
    writer::{Batches, ROWS},
};
use crate::model::{
    event::Event,
    report::{Run, Told},
};

/// Rows that a Parquet file keeps together, and that are in memory until they are written.
const GROUP: usize = 1 << 17;

/// What a table is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    Csv,
    Arrows,
}

/// A table that is being written.
pub struct Table<W: Write + Send> {
    schema: SchemaRef,
    sink: Sink<W>,
}

enum Sink<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    /// With how text is made harmless.
    Csv(Box<arrow_csv::Writer<W>>, fn(&str) -> String),
    Arrows(StreamWriter<W>),
}

impl<W: Write + Send> Table<W> {
    /// For events.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn of_events(out: W, format: Format, harmless: fn(&str) -> String) -> Result<Self> {
        Self::new(out, format, Columns::fields(), harmless)
    }

    /// For histories.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn of_histories(out: W, format: Format, harmless: fn(&str) -> String) -> Result<Self> {
        Self::new(out, format, histories::Columns::fields(), harmless)
    }

    fn new(out: W, format: Format, fields: Vec<Field>, harmless: fn(&str) -> String) -> Result<Self> {
        let about = [("keepalive-trace.export".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
        let schema: SchemaRef = Schema::new_with_metadata(fields, HashMap::from(about)).into();
        let sink = match format {
            Format::Parquet => {
                let level = ZstdLevel::try_new(1).context("cannot set up compression")?;
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(level))
                    .set_max_row_group_row_count(Some(GROUP))
                    .build();
                let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties)).context("cannot write Parquet")?;
                Sink::Parquet(Box::new(writer))
            }
            Format::Csv => Sink::Csv(Box::new(arrow_csv::WriterBuilder::new().with_header(true).build(out)), harmless),
            Format::Arrows => {
                let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)
                    .and_then(|options| options.try_with_compression(Some(CompressionType::ZSTD)))
                    .context("cannot set up compression")?;
                Sink::Arrows(StreamWriter::try_new_with_options(out, &schema, options).context("cannot write Arrow")?)
            }
        };
        Ok(Self { schema, sink })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.sink {
            Sink::Parquet(writer) => writer.write(batch).context("cannot write Parquet"),
            Sink::Csv(writer, harmless) => writer.write(&readable(batch, *harmless)?).context("cannot write CSV"),
            Sink::Arrows(writer) => writer.write(batch).context("cannot write Arrow"),
        }
    }

    /// # Errors
    /// When `out` can't be written.
    pub fn finish(self) -> Result<()> {
        match self.sink {
            Sink::Parquet(writer) => writer.close().map(|_| ()).context("cannot write Parquet"),
            Sink::Csv(writer, _) => writer.into_inner().flush().context("cannot write CSV"),
            Sink::Arrows(mut writer) => writer.finish().context("cannot write Arrow"),
        }
    }
}

/// Events of a run, on their way into a table.
pub struct Events(Batches);

impl Events {
    pub fn of(header: &Header) -> Self {
        Self(Batches::new(header))
    }

    /// # Errors
    /// When a batch was full and can't be written.
    pub fn add<W: Write + Send>(&mut self, event: &Event, table: &mut Table<W>) -> Result<()> {
        self.0.add(event);
        if self.0.rows >= ROWS { self.flush(table) } else { Ok(()) }
    }

    /// # Errors
    /// When the table can't be written.
    pub fn flush<W: Write + Send>(&mut self, table: &mut Table<W>) -> Result<()> {
        if self.0.rows == 0 {
            return Ok(());
        }
        let batch = self.0.take(&table.schema)?;
        table.write(&batch)
    }
}

/// Writes histories into a table.
///
/// # Errors
/// When the table can't be written.
pub fn write_histories<W: Write + Send>(told: &[Told], runs: &[Run], table: &mut Table<W>) -> Result<()> {
    let mut columns = histories::Columns::default();
    for some in told.chunks(ROWS) {
        for Told { run, history, cgroup } in some {
            if let Some(run) = runs.get(*run) {
                columns.push(histories::flat(history, cgroup.as_ref(), &run.start));
            }
        }
        let batch = columns.finish().and_then(|columns| RecordBatch::try_new(Arc::clone(&table.schema), columns));
        table.write(&batch.context("cannot lay out a batch")?)?;
    }
    Ok(())
}

/// For people and their spreadsheets: ids as everywhere else, and text that does nothing.
fn readable(batch: &RecordBatch, harmless: fn(&str) -> String) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let (kind, column): (DataType, ArrayRef) = if field.name() == "conn" {
            let ids: &UInt64Array = column.as_primitive();
            (DataType::Utf8, Arc::new(ids.iter().map(|id| Some(format!("{:016x}", id?))).collect::<StringArray>()))
        } else if let Some(texts) = column.as_string_opt::<i32>() {
            (DataType::Utf8, Arc::new(texts.iter().map(|text| text.map(harmless)).collect::<StringArray>()))
        } else if let Some(words) = column.as_dictionary_opt::<UInt16Type>() {
            let texts: StringArray = words.values().as_string::<i32>().iter().map(|text| text.map(harmless)).collect();
            let words = DictionaryArray::try_new(words.keys().clone(), Arc::new(texts)).context("cannot lay out a batch")?;
            (words.data_type().clone(), Arc::new(words))
        } else {
            (field.data_type().clone(), Arc::clone(column))
        };
        fields.push(Field::new(field.name(), kind, true));
        columns.push(column);
    }
    RecordBatch::try_new(Schema::new(fields).into(), columns).context("cannot lay out a batch")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the document names types.
    fn named(kind: &DataType) -> String {
        match kind {
            DataType::Boolean => "bool".to_owned(),
            DataType::Utf8 => "text".to_owned(),
            DataType::Timestamp(..) => "timestamp".to_owned(),
            DataType::Dictionary(..) => "word".to_owned(),
            number => number.to_string().to_lowercase(),
        }
    }

    #[test]
    fn every_column_is_documented_with_its_type() {
        let document = include_str!("../../../docs/recording.md");
        let (_, document) = document.split_once("## Columns").unwrap();
        let (events, rest) = document.split_once("## Histories").unwrap();
        for (fields, table) in [(Columns::fields(), events), (histories::Columns::fields(), rest)] {
            let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
            assert_eq!(rows.len(), fields.len());
            for (field, row) in fields.iter().zip(rows) {
                let begin = format!("| `{}` | {} | ", field.name(), named(field.data_type()));
                assert!(row.starts_with(&begin), "{begin}: {row}");
            }
        }
    }
}
