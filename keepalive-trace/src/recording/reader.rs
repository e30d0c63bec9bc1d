//! One file, from its first message to wherever it ends.
use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::{self as ipc, MessageHeader, MetadataVersion, convert, reader as decoder};
use arrow_schema::{DataType, Schema, SchemaRef};

use super::{
    columns::{Seen, View},
    frame::{Frames, Message, Next},
    header::{Header, Refusal},
    row::{self, Read, Wall},
};
use crate::model::event::Event;

/// A batch of ours has fewer rows, and takes far less memory, than whatever says more.
const MOST_ROWS: i64 = 1 << 20;
const MOST_BYTES: u64 = 1 << 29;
/// A later version may have more columns.
const MOST_COLUMNS: usize = 1024;

/// What histories and counts are made of. The others needn't be unpacked for them.
const STORY: [&str; 44] = [
    "time",
    "event",
    "conn",
    "ip",
    "laddr",
    "lport",
    "raddr",
    "rport",
    "netns",
    "cgroup",
    "state",
    "pid",
    "comm",
    "holders",
    "keepalive",
    "time_s",
    "intvl_s",
    "probes",
    "user_timeout_ms",
    "origin_time",
    "origin_intvl",
    "origin_probes",
    "probes_out",
    "how",
    "connect_us",
    "by_pid",
    "by_comm",
    "via",
    "waited_ms",
    "n",
    "result",
    "outcome",
    "kind",
    "rtt_us",
    "precision",
    "missed",
    "verdict",
    "errno",
    "why",
    "count",
    "where",
    "name",
    "old",
    "new",
];

/// What is to be read of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Everything,
    /// What [`crate::model::history::History`] looks at; all else reads as unknown.
    Histories,
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The recorder said that this is all, at this moment of CLOCK_MONOTONIC, nanoseconds.
    Stopped { mono_ns: u64 },
    /// The run goes on in another file.
    Rotated,
    /// Without a word; so many bytes at the end are no whole message.
    Torn { bytes: u64 },
    /// What follows makes no sense.
    Damaged { at_byte: u64, why: String },
}

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub ending: Ending,
    pub events: u64,
    /// Rows that a later version may understand.
    pub strange: u64,
}

/// A recording that was looked into.
pub struct Reader {
    path: PathBuf,
    frames: Frames<BufReader<File>>,
    schema: SchemaRef,
    pub header: Header,
    /// Bytes of the file, as it was when it was opened.
    pub length: u64,
}

impl Reader {
    /// Opens a file and reads what it says of itself.
    ///
    /// # Errors
    /// When it can't be read, or is no recording: with what it is instead.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let file = File::open(path).map_err(|error| anyhow!("cannot read {name}: {}", cause(&error)))?;
        let about = file.metadata().with_context(|| format!("cannot read {name}"))?;
        if about.is_dir() {
            bail!("{name} is a directory: name the recordings in it, like {}", path.join("*.arrows").display());
        }
        if !about.is_file() {
            bail!("{name} is not a regular file: a recording is read more than once");
        }
        let length = about.len();
        if length == 0 {
            bail!("{name} is empty: whoever was to record into it was ended, or found the disk full, before it wrote anything");
        }
        let mut frames = Frames::new(BufReader::with_capacity(1 << 18, file));
        let first = frames.next().with_context(|| format!("cannot read {name}"))?;
        let schema = match first {
            Next::Message(message) => schema(&message).map_err(|why| anyhow!("{name} is damaged: {why}"))?,
            Next::End | Next::Torn(_) | Next::Damaged(_) => return Err(not_ours(path)),
        };
        let header = Header::read(&schema).map_err(|refusal| match refusal {
            Refusal::Foreign => anyhow!("{name} is an Arrow stream, but no recording of keepalive-trace"),
            Refusal::Newer { schema, version } => anyhow!(
                "{name} was recorded by keepalive-trace {version} in format {schema}, and this one reads format {}: use that version, or a later one",
                super::SCHEMA
            ),
            Refusal::Senseless(key) => anyhow!("{name} is damaged: its header says nothing sensible about `{key}`"),
        })?;
        Ok(Self { path: path.to_owned(), frames, schema, header, length })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands over all events, in order, as far as they are whole; `progress` hears how many more bytes were read.
    ///
    /// # Errors
    /// When the file can't be read, or `sink` fails.
    pub fn read(
        mut self,
        wanted: Wanted,
        mut sink: impl FnMut(&Event) -> Result<()>,
        mut progress: impl FnMut(u64),
    ) -> Result<Found> {
        let wall = Wall { offset_ns: self.header.start.wall_offset_ns };
        let chosen: Option<Vec<usize>> = (wanted == Wanted::Histories).then(|| {
            let fields = self.schema.fields().iter().enumerate();
            fields.filter(|(_, field)| STORY.contains(&field.name().as_str())).map(|(index, _)| index).collect()
        });
        let mut batches =
            Batches { schema: Arc::clone(&self.schema), chosen, dictionaries: HashMap::new(), version: MetadataVersion::V5 };
        let mut seen = Seen::default();
        let (mut events, mut strange, mut stopped) = (0, 0, None);
        progress(self.frames.at);
        let ending = loop {
            let at_byte = self.frames.at;
            let damaged = |why: String| Ending::Damaged { at_byte, why };
            let message = match self.frames.next().with_context(|| format!("cannot read {}", self.path.display()))? {
                Next::Message(message) => message,
                // Where the run's end is there, the file's may be missing.
                Next::End | Next::Torn(_) if stopped.is_some() => {
                    break Ending::Stopped { mono_ns: stopped.unwrap_or_default() };
                }
                Next::End => break Ending::Rotated,
                Next::Torn(bytes) => break Ending::Torn { bytes },
                Next::Damaged(why) => break damaged(why.to_owned()),
            };
            progress(self.frames.at - at_byte);
            let batch = match batches.take(&message) {
                Ok(Some(batch)) => batch,
                Ok(None) => continue,
                Err(why) => break damaged(why),
            };
            let view = View::of(&batch, &mut seen);
            for row in 0..batch.num_rows() {
                match row::read(&view, row, wall) {
                    Read::Event(event) => {
                        events += 1;
                        sink(&event)?;
                    }
                    Read::Stop(mono_ns) => stopped = Some(mono_ns),
                    Read::Strange => strange += 1,
                }
            }
        };
        Ok(Found { ending, events, strange })
    }
}

/// The system's words without its number.
fn cause(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn schema(message: &Message) -> Result<SchemaRef, String> {
    let flat = ipc::root_as_message(&message.metadata).map_err(|_| "its first message makes no sense")?;
    let schema = flat.header_as_schema().ok_or("its first message is no schema")?;
    let schema = convert::try_fb_to_schema(schema).map_err(|_| "its schema makes no sense")?;
    let flat = |kind: &DataType| match kind {
        DataType::Boolean | DataType::Utf8 | DataType::Timestamp(..) => true,
        DataType::Dictionary(keys, values) => **keys == DataType::UInt16 && **values == DataType::Utf8,
        kind => kind.is_integer(),
    };
    if schema.fields().len() > MOST_COLUMNS || !schema.fields().iter().all(|field| flat(field.data_type())) {
        return Err("its columns are none that a recording has".to_owned());
    }
    Ok(schema.into())
}

/// What a file is that begins like no recording.
fn not_ours(path: &Path) -> anyhow::Error {
    let mut begin = [0; 8];
    let got = File::open(path).and_then(|mut file| file.read(&mut begin)).unwrap_or(0);
    let name = path.display();
    let looks = match &begin[..got] {
        [0xff, 0xff, 0xff, 0xff, ..] => {
            return anyhow!(
                "{name} begins like an Arrow stream, but not like a recording: it is an export, of another program, or cut off before its first batch"
            );
        }
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => "an Arrow file",
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file",
        [0x1f, 0x8b, ..] => "a gzip file: unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd file: unpack it first",
        [0xd4, 0xc3, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0xc3, 0xd4, ..]
        | [0x4d, 0x3c, 0xb2, 0xa1, ..]
        | [0x0a, 0x0d, 0x0d, 0x0a, ..] => "a packet capture",
        [b'{', ..] => "JSON lines",
        _ => return anyhow!("{name} is no recording of keepalive-trace"),
    };
    anyhow!("{name} is no recording of keepalive-trace: it looks like {looks}")
}

/// Messages into batches.
struct Batches {
    schema: SchemaRef,
    /// The columns that are wanted; none: all.
    chosen: Option<Vec<usize>>,
    dictionaries: HashMap<i64, ArrayRef>,
    version: MetadataVersion,
}

impl Batches {
    /// The batch that a message is, or takes in what later batches need. The error says why it is neither.
    fn take(&mut self, Message { metadata, body }: &Message) -> Result<Option<RecordBatch>, String> {
        let message = ipc::root_as_message(metadata).map_err(|_| "a message makes no sense")?;
        let Self { schema, chosen, dictionaries, version } = self;
        let wrong = |error: arrow_schema::ArrowError| format!("a batch makes no sense ({error})");
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                let words = message.header_as_dictionary_batch().ok_or("a dictionary makes no sense")?;
                fits(words.data().ok_or("a dictionary has no words")?, body)?;
                if words.isDelta() {
                    return Err("a dictionary is of a kind that recordings don't have".to_owned());
                }
                decoder::read_dictionary(body, words, &Schema::clone(schema), dictionaries, version).map_err(wrong)?;
                Ok(None)
            }
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or("a batch makes no sense")?;
                fits(batch, body)?;
                let schema = Arc::clone(schema);
                decoder::read_record_batch(body, batch, schema, dictionaries, chosen.as_deref(), version).map(Some).map_err(wrong)
            }
            _ => Err("a message is none that recordings have".to_owned()),
        }
    }
}

/// Holds that a batch lies within its body, and doesn't claim more memory than any of ours takes.
fn fits(batch: ipc::RecordBatch, body: &Buffer) -> Result<(), &'static str> {
    const WRONG: &str = "a batch doesn't fit its message";
    if !(0..=MOST_ROWS).contains(&batch.length()) {
        return Err(WRONG);
    }
    let mut bytes: u64 = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let place = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let place = place.and_then(|(from, length)| body.get(from..from.checked_add(length)?));
        let place = place.ok_or(WRONG)?;
        let claimed = match place.first_chunk() {
            Some(length) if batch.compression().is_some() => i64::from_le_bytes(*length).max(0).cast_unsigned(),
            _ => 0,
        };
        bytes = bytes.saturating_add(claimed).saturating_add(place.len() as u64);
    }
    if bytes > MOST_BYTES { Err(WRONG) } else { Ok(()) }
}
