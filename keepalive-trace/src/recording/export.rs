//! Recordings as tables for other tools: a row an event, or a row a connection.
use std::{collections::HashMap, io::Write, sync::Arc};

use anyhow::{Context as _, Result, bail};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, RecordBatch,
    cast::AsArray as _,
    types::{Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
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

use super::{columns::Columns, header::Header, histories, row::Batches, writer::ROWS};
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
    Csv(Box<csv::Writer<W>>, fn(&str) -> String),
    Arrows(Box<StreamWriter<W>>),
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
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                let names = schema.fields().iter().map(|field| field.name());
                writer.write_record(names).context("cannot write CSV")?;
                Sink::Csv(Box::new(writer), harmless)
            }
            Format::Arrows => {
                let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)
                    .and_then(|options| options.try_with_compression(Some(CompressionType::ZSTD)))
                    .context("cannot set up compression")?;
                let writer = StreamWriter::try_new_with_options(out, &schema, options).context("cannot write Arrow")?;
                Sink::Arrows(Box::new(writer))
            }
        };
        Ok(Self { schema, sink })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.sink {
            Sink::Parquet(writer) => writer.write(batch).context("cannot write Parquet"),
            Sink::Csv(writer, harmless) => lines(batch, writer, *harmless),
            Sink::Arrows(writer) => writer.write(batch).context("cannot write Arrow"),
        }
    }

    /// # Errors
    /// When `out` can't be written.
    pub fn finish(self) -> Result<()> {
        match self.sink {
            Sink::Parquet(writer) => writer.close().map(|_| ()).context("cannot write Parquet"),
            Sink::Csv(mut writer, _) => writer.flush().context("cannot write CSV"),
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
        if self.0.rows() >= ROWS { self.flush(table) } else { Ok(()) }
    }

    /// # Errors
    /// When the table can't be written.
    pub fn flush<W: Write + Send>(&mut self, table: &mut Table<W>) -> Result<()> {
        if self.0.rows() == 0 {
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
                columns.push(histories::flat(history, cgroup.as_ref(), run));
            }
        }
        let batch = columns.finish().and_then(|columns| RecordBatch::try_new(Arc::clone(&table.schema), columns));
        table.write(&batch.context("cannot lay out a batch")?)?;
    }
    Ok(())
}

/// What a cell of a column says, row by row; nothing where it is empty.
type Cells<'a> = Box<dyn Fn(usize) -> String + 'a>;

/// For people and their spreadsheets: ids and times as everywhere else, and text that does nothing.
fn cells<'a>(name: &str, column: &'a ArrayRef, harmless: fn(&str) -> String) -> Result<Cells<'a>> {
    fn numbers<'a, T: ArrowPrimitiveType>(column: &'a ArrayRef, text: impl Fn(T::Native) -> String + 'a) -> Cells<'a> {
        let column = column.as_primitive::<T>();
        Box::new(move |row| if column.is_null(row) { String::new() } else { text(column.value(row)) })
    }
    Ok(match column.data_type() {
        DataType::UInt64 if name == "conn" => numbers::<UInt64Type>(column, |id| format!("{id:016x}")),
        DataType::UInt8 => numbers::<UInt8Type>(column, |value| value.to_string()),
        DataType::UInt16 => numbers::<UInt16Type>(column, |value| value.to_string()),
        DataType::UInt32 => numbers::<UInt32Type>(column, |value| value.to_string()),
        DataType::UInt64 => numbers::<UInt64Type>(column, |value| value.to_string()),
        DataType::Int32 => numbers::<Int32Type>(column, |value| value.to_string()),
        DataType::Int64 => numbers::<Int64Type>(column, |value| value.to_string()),
        DataType::Timestamp(..) => numbers::<TimestampNanosecondType>(column, |ns| {
            jiff::Timestamp::from_nanosecond(ns.into()).map_or_else(|_| String::new(), |time| format!("{time:.9}"))
        }),
        DataType::Boolean => {
            let column = column.as_boolean();
            Box::new(move |row| if column.is_null(row) { String::new() } else { column.value(row).to_string() })
        }
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            Box::new(move |row| if column.is_null(row) { String::new() } else { harmless(column.value(row)) })
        }
        DataType::Dictionary(..) => {
            let column = column.as_dictionary::<UInt16Type>();
            let words: Vec<_> = column.values().as_string::<i32>().iter().map(|word| word.map(harmless)).collect();
            let word = move |row| words.get(usize::from(column.keys().value(row))).cloned().flatten();
            Box::new(move |row| if column.is_null(row) { String::new() } else { word(row).unwrap_or_default() })
        }
        other => bail!("no column is of the type {other}"),
    })
}

/// Writes the rows of a batch.
fn lines<W: Write>(batch: &RecordBatch, writer: &mut csv::Writer<W>, harmless: fn(&str) -> String) -> Result<()> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, column)| cells(field.name(), column, harmless)).collect::<Result<Vec<_>>>()?;
    for row in 0..batch.num_rows() {
        writer.write_record(columns.iter().map(|cell| cell(row))).context("cannot write CSV")?;
    }
    Ok(())
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
