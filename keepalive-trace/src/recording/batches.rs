//! Messages into batches. Whatever is in them: nothing is believed before it is looked at, and nothing takes more memory than ours do.
use std::{collections::HashMap, sync::Arc};

use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::{self as ipc, MessageHeader, MetadataVersion, convert, reader as decoder};
use arrow_schema::{DataType, SchemaRef};

use super::frame::Message;

/// A batch of ours has fewer rows, and takes far less memory, than whatever says more. All dictionaries together: the same.
const MOST_ROWS: i64 = 1 << 17;
const MOST_BYTES: usize = if cfg!(fuzzing) { 1 << 25 } else { 1 << 28 };
/// More words than their numbers can tell apart.
const MOST_WORDS: i64 = 1 << 16;
/// A later version may have more columns.
const MOST_COLUMNS: usize = 1024;
/// Of all names in a schema together.
const MOST_TEXT: usize = 1 << 20;
/// Without these, nothing can be read.
const NEEDED: [&str; 2] = ["time", "event"];

/// The schema that a recording's first message is. The error says why it is none.
pub(super) fn schema(message: &Message) -> Result<SchemaRef, String> {
    let flat = ipc::root_as_message(&message.metadata).map_err(|_| "its first message makes no sense")?;
    let schema = flat.header_as_schema().ok_or("its first message is no schema")?;
    if !modest(schema) {
        return Err("its schema makes no sense".to_owned());
    }
    let schema = convert::try_fb_to_schema(schema).map_err(|_| "its schema makes no sense")?;
    let flat = |kind: &DataType| match kind {
        DataType::Boolean | DataType::Utf8 | DataType::Timestamp(..) => true,
        DataType::Dictionary(keys, values) => **keys == DataType::UInt16 && **values == DataType::Utf8,
        kind => kind.is_integer(),
    };
    let whole = NEEDED.iter().all(|name| schema.field_with_name(name).is_ok());
    if !whole || !schema.fields().iter().all(|field| flat(field.data_type())) {
        return Err("its columns are none that a recording has".to_owned());
    }
    Ok(schema.into())
}

/// Whether a schema is flat and small. Its parts may lie on top of each other, and take far more memory than the message.
fn modest(schema: ipc::Schema) -> bool {
    let mut room = MOST_TEXT;
    let mut take = |text: Option<&str>| match room.checked_sub(text.map_or(0, str::len) + size_of::<u64>()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let own = schema.custom_metadata().into_iter().flatten().all(|entry| take(entry.key()) && take(entry.value()));
    let Some(fields) = schema.fields().filter(|fields| own && fields.len() <= MOST_COLUMNS) else { return false };
    fields.iter().all(|field| {
        let flat = field.children().is_none_or(|children| children.is_empty());
        let zone = field.type_as_timestamp().and_then(|kind| kind.timezone());
        let about = field.custom_metadata().into_iter().flatten().all(|entry| take(entry.key()) && take(entry.value()));
        flat && about && take(field.name()) && take(zone)
    })
}

/// Messages into batches.
pub(super) struct Batches {
    schema: SchemaRef,
    /// The columns that are wanted.
    chosen: Vec<usize>,
    dictionaries: HashMap<i64, ArrayRef>,
    version: MetadataVersion,
}

impl Batches {
    pub(super) fn new(schema: &SchemaRef, chosen: Vec<usize>) -> Self {
        Self { schema: Arc::clone(schema), chosen, dictionaries: HashMap::new(), version: MetadataVersion::V5 }
    }

    /// The batch that a message is, or takes in what later batches need. The error says why it is neither.
    pub(super) fn take(&mut self, Message { metadata, body }: &Message) -> Result<Option<RecordBatch>, String> {
        let message = ipc::root_as_message(metadata).map_err(|_| "a message makes no sense")?;
        let Self { schema, chosen, dictionaries, version } = self;
        let wrong = |error: arrow_schema::ArrowError| format!("a batch makes no sense ({error})");
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                let words = message.header_as_dictionary_batch().ok_or("a dictionary makes no sense")?;
                let column = words.data().ok_or("a dictionary has no words")?;
                fits(column, body, std::iter::once(&DataType::Utf8), MOST_WORDS)?;
                if words.isDelta() {
                    return Err("a dictionary is of a kind that recordings don't have".to_owned());
                }
                dictionaries.remove(&words.id());
                decoder::read_dictionary(body, words, schema, dictionaries, version).map_err(wrong)?;
                let bytes: usize = dictionaries.values().map(|words| words.get_buffer_memory_size()).sum();
                if bytes > MOST_BYTES {
                    return Err("its dictionaries are larger than any that recordings have".to_owned());
                }
                Ok(None)
            }
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or("a batch makes no sense")?;
                fits(batch, body, schema.fields().iter().map(|field| field.data_type()), MOST_ROWS)?;
                // Empty columns take time as well.
                let nodes = batch.nodes().ok_or("a batch makes no sense")?;
                let is_empty = |column: usize| column < nodes.len() && nodes.get(column).null_count() == batch.length();
                let filled: Vec<usize> = chosen.iter().copied().filter(|column| !is_empty(*column)).collect();
                let schema = Arc::clone(schema);
                decoder::read_record_batch(body, batch, schema, dictionaries, Some(&filled), version).map(Some).map_err(wrong)
            }
            _ => Err("a message is none that recordings have".to_owned()),
        }
    }
}

/// Holds that a batch lies within its body, doesn't claim more rows or memory than any of ours has, and that its numbers are
/// whole ones: Arrow itself falls over half a number.
fn fits<'a>(
    batch: ipc::RecordBatch,
    body: &Buffer,
    kinds: impl Iterator<Item = &'a DataType>,
    most_rows: i64,
) -> Result<(), &'static str> {
    const WRONG: &str = "a batch doesn't fit its message";
    if !(0..=most_rows).contains(&batch.length()) {
        return Err(WRONG);
    }
    let mut buffers = batch.buffers().into_iter().flatten();
    let mut bytes: usize = 0;
    for kind in kinds {
        let (count, width) = layout(kind);
        for number in 0..count {
            let buffer = buffers.next().ok_or(WRONG)?;
            let place = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
            let place = place.and_then(|(from, length)| body.get(from..from.checked_add(length)?)).ok_or(WRONG)?;
            let unpacked = match place.split_first_chunk() {
                Some((claimed, rest)) if batch.compression().is_some() => match i64::from_le_bytes(*claimed) {
                    -1 => rest.len(),
                    claimed => usize::try_from(claimed).map_err(|_| WRONG)?,
                },
                _ => place.len(),
            };
            if number == 1 && !unpacked.is_multiple_of(width) {
                return Err(WRONG);
            }
            bytes = bytes.saturating_add(unpacked).saturating_add(place.len());
        }
    }
    if buffers.next().is_some() || bytes > MOST_BYTES { Err(WRONG) } else { Ok(()) }
}

/// How many buffers a column has, and how wide the numbers of the second are; the first says which rows are empty.
fn layout(kind: &DataType) -> (usize, usize) {
    match kind {
        DataType::Utf8 => (3, size_of::<i32>()),
        DataType::Dictionary(..) => (2, size_of::<u16>()),
        kind => (2, kind.primitive_width().unwrap_or(1)),
    }
}
