//! One file, from its first message to wherever it ends.
use std::{
    fs::OpenOptions,
    io::{self, BufRead, BufReader},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use arrow_schema::SchemaRef;

use super::{
    batches::{self, Batches},
    cells::Seen,
    columns::View,
    frame::{Frames, Next},
    header::{Header, Refusal},
    row::Wall,
    rows::{Rows, Span, Sum},
    stranger,
    tail::Stored,
};
use crate::model::{
    book::{Book, Depth, Unread as _},
    event::Event,
};

/// What histories and counts are made of. The others needn't be unpacked for them.
const STORY: [&str; 56] = [
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
    "idle_ms",
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
    "dir",
    "method",
    "status",
    "timeout_s",
    "max",
    "idle_before_ms",
    "http",
    "requests",
    "responses",
    "saved_us",
    "saved_from",
    "findings",
    "verdict",
    "errno",
    "why",
    "count",
    "where",
    "name",
    "old",
    "new",
];

/// Events that are handed over in one go: enough for their connections to be fetched together, and few enough to stay close.
const SOME: usize = 128;

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The recorder said that this is all, at this moment of CLOCK_MONOTONIC, nanoseconds.
    Stopped { mono_ns: u64 },
    /// The run goes on in another file.
    Rotated,
    /// Without a word; so many bytes at the end are no whole batch.
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
pub struct Reader<R = BufReader<Stored>> {
    path: PathBuf,
    frames: Frames<R>,
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
        // A pipe that nobody writes to would be waited for.
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|error| unreadable(path, &error))?;
        let about = file.metadata().map_err(|error| unreadable(path, &error))?;
        if about.is_dir() {
            bail!("{name} is a directory: name the recordings in it, like {}", path.join("*.arrows").display());
        }
        if !about.is_file() {
            bail!("{name} is not a regular file, and a recording is read more than once: write it to a file first");
        }
        let stored = Stored::open(file).map_err(|error| unreadable(path, &error))?;
        Self::of(path, stored.length(), BufReader::with_capacity(1 << 18, stored))
    }
}

impl<R: BufRead> Reader<R> {
    /// The same, of what was opened already: so many bytes.
    ///
    /// # Errors
    /// As above.
    pub fn of(path: &Path, length: u64, input: R) -> Result<Self> {
        // A fuzzer doesn't guess checksums.
        Self::begin(path, length, Frames::new(input, !cfg!(fuzzing)))
    }

    pub(super) fn begin(path: &Path, length: u64, mut frames: Frames<R>) -> Result<Self> {
        let name = path.display();
        let begin: Vec<u8> = {
            let begin = frames.peek().map_err(|error| unreadable(path, &error))?;
            begin.iter().copied().take(stranger::TELLING).collect()
        };
        if begin.is_empty() {
            bail!("{name} is empty: whoever was to record into it was killed, or found the disk full, before it wrote anything");
        }
        let first = frames.next().map_err(|error| unreadable(path, &error))?;
        let Next::Message(message) = first else { return Err(stranger::refused(path, &begin, &first)) };
        let schema = batches::schema(&message).map_err(|why| anyhow!("{name} is damaged: {why}"))?;
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
    pub fn read(self, mut sink: impl FnMut(&Event) -> Result<()>, progress: impl FnMut(u64)) -> Result<Found> {
        let each = |span: &mut Span| {
            (0..span.count()).filter_map(|nth| span.read(nth, Depth::Everything)).try_for_each(|event| sink(&event))
        };
        self.read_spans(None, each, progress)
    }

    /// The same, into a book, with no more of the events than that looks at.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read_into(self, book: &mut Book, progress: impl FnMut(u64)) -> Result<Found> {
        let all = |span: &mut Span| {
            book.note_some(span);
            Ok(())
        };
        self.read_spans(Some(&STORY), all, progress)
    }

    /// All rows, with these columns alone.
    fn read_spans(
        mut self,
        columns: Option<&[&str]>,
        mut sink: impl FnMut(&mut Span) -> Result<()>,
        mut progress: impl FnMut(u64),
    ) -> Result<Found> {
        let wall = Wall { offset_ns: self.header.start.wall_offset_ns };
        let fields = self.schema.fields().iter().enumerate();
        let chosen = fields.filter(|(_, field)| columns.is_none_or(|columns| columns.contains(&field.name().as_str())));
        let chosen = chosen.map(|(index, _)| index).collect();
        let mut batches = Batches::new(&self.schema, chosen);
        let mut seen = Seen::default();
        let mut sum = Sum::default();
        // Up to here, nothing is missing.
        let mut whole = self.frames.at;
        progress(whole);
        let ending = loop {
            let at_byte = self.frames.at;
            let damaged = |why: String| Ending::Damaged { at_byte, why };
            let message = match self.frames.next().map_err(|error| unreadable(&self.path, &error))? {
                Next::Message(message) => message,
                // Where the run's end is there, the file's may be missing.
                Next::End | Next::Torn(_) if sum.stopped.is_some() => {
                    break Ending::Stopped { mono_ns: sum.stopped.unwrap_or_default() };
                }
                Next::End => break Ending::Rotated,
                Next::Beyond => {
                    let why = "another one follows its end: files that were put together are read one by one".to_owned();
                    break Ending::Damaged { at_byte: self.frames.at, why };
                }
                Next::Torn(bytes) => break Ending::Torn { bytes: at_byte - whole + bytes },
                Next::Foreign(_) => break damaged("a message has no checksum".to_owned()),
                Next::Damaged(why) => break damaged(why.to_owned()),
            };
            progress(self.frames.at - at_byte);
            let batch = match batches.take(&message) {
                Ok(Some(batch)) => batch,
                Ok(None) => continue,
                Err(why) => break damaged(why),
            };
            let rows = Rows::new(View::of(&batch, &mut seen), wall);
            for first in (0..batch.num_rows()).step_by(SOME) {
                let range = first..batch.num_rows().min(first + SOME);
                sink(&mut Span { rows: &rows, range, sum: &mut sum })?;
            }
            whole = self.frames.at;
        };
        Ok(Found { ending, events: sum.events, strange: sum.strange })
    }
}

/// The system's words without its number.
fn unreadable(path: &Path, error: &io::Error) -> anyhow::Error {
    let text = error.to_string();
    let cause = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied => ": recordings are for their owner alone, so read it as that user or as root",
        _ => "",
    };
    anyhow!("cannot read {}: {cause}{way_out}", path.display())
}
