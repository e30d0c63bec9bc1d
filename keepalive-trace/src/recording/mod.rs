//! The disk: recordings of events, as streams of Arrow batches. `docs/recording.md` is the format, column by column.
mod batches;
mod cells;
mod columns;
mod dictionary;
mod encode;
mod export;
mod file;
mod fill;
mod frame;
mod header;
mod histories;
mod layout;
mod reader;
mod recorder;
mod row;
mod rows;
mod set;
mod stranger;
mod tail;
mod words;
mod writer;

pub use export::{Events, Format, Table, write_histories};
pub use file::{Output, create};
pub use header::{Header, SCHEMA};
pub use reader::{Ending, Found, Reader};
pub use recorder::{Plan, Recorder, Rotation};
pub use set::{Recording, Rest, Set};
pub use writer::Writer;

#[cfg(test)]
mod tests;
