//! Many files: whose runs they are, in what order, and what is missing between them.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{
    header::Header,
    reader::{Ending, Found, Reader},
};
use crate::model::{book::Book, event::Event, report::Gap};

/// The files of one run.
#[derive(Debug)]
pub struct Recording {
    /// Of its first file that is there.
    pub header: Header,
    parts: BTreeMap<u32, Part>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    length: u64,
}

/// Recordings, sorted out.
#[derive(Debug, Default)]
pub struct Set {
    /// By when they began, then by host.
    pub runs: Vec<Recording>,
    /// Why some files were not taken.
    pub refused: Vec<anyhow::Error>,
    /// Files that are another's copies.
    pub copies: Vec<PathBuf>,
}

impl Set {
    /// Looks into each file.
    pub fn of(paths: &[PathBuf]) -> Self {
        let mut runs: BTreeMap<u64, Recording> = BTreeMap::new();
        let (mut refused, mut copies) = (Vec::new(), Vec::new());
        for path in paths {
            let Reader { header, length, .. } = match Reader::open(path) {
                Ok(reader) => reader,
                Err(error) => {
                    refused.push(error);
                    continue;
                }
            };
            let part = Part { path: path.clone(), length };
            let number = header.part;
            let run = runs.entry(header.run).or_insert_with(|| Recording { header: header.clone(), parts: BTreeMap::new() });
            if number < run.header.part {
                run.header = header;
            }
            match run.parts.get(&number) {
                // The longer one of two copies has more in it.
                Some(known) if known.length >= length => copies.push(part.path),
                _ => copies.extend(run.parts.insert(number, part).map(|shorter| shorter.path)),
            }
        }
        let mut runs: Vec<Recording> = runs.into_values().collect();
        runs.sort_by(|one, other| {
            let key = |run: &Recording| (run.began(), run.header.start.host.clone());
            key(one).cmp(&key(other))
        });
        Self { runs, refused, copies }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().flat_map(|run| run.parts.values()).map(|part| part.length).sum()
    }
}

/// What is known of a run beside its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    pub gaps: Vec<Gap>,
    /// When it ended, where it did: nanoseconds of CLOCK_MONOTONIC.
    pub stopped_ns: Option<u64>,
}

impl Recording {
    /// When the run began, nanoseconds since 1970.
    fn began(&self) -> i64 {
        self.header.start.wall_offset_ns.saturating_add_unsigned(self.header.started_ns)
    }

    /// Hands over the run's events in order, and says what is missing; `progress` hears how many more bytes were read.
    ///
    /// # Errors
    /// When a file can't be read, or `sink` fails.
    pub fn read(&self, mut sink: impl FnMut(&Event) -> Result<()>, mut progress: impl FnMut(u64)) -> Result<Rest> {
        self.read_parts(|reader| reader.read(&mut sink, &mut progress))
    }

    /// The same, into a book, with no more of the events than that looks at.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn read_into(&self, book: &mut Book, mut progress: impl FnMut(u64)) -> Result<Rest> {
        self.read_parts(|reader| reader.read_into(book, &mut progress))
    }

    fn read_parts(&self, mut read: impl FnMut(Reader) -> Result<Found>) -> Result<Rest> {
        let (mut gaps, mut stopped_ns) = (Vec::new(), None);
        let mut next = 1;
        let last = self.parts.keys().next_back().copied();
        for (number, Part { path, .. }) in &self.parts {
            if *number > next {
                gaps.push(Gap::Missing { first: next, last: number - 1 });
            }
            next = number.saturating_add(1);
            let found = read(Reader::open(path)?)?;
            let file = name(path);
            if found.strange > 0 {
                gaps.push(Gap::Strange { file: file.clone(), rows: found.strange });
            }
            gaps.extend(match found.ending {
                Ending::Stopped { mono_ns } => {
                    stopped_ns = Some(mono_ns);
                    None
                }
                Ending::Rotated if Some(*number) == last => Some(Gap::Continued { file, part: next }),
                Ending::Rotated => None,
                Ending::Torn { bytes } => Some(Gap::Unfinished { file, torn_bytes: bytes }),
                Ending::Damaged { at_byte, why } => Some(Gap::Damaged { file, at_byte, why }),
            });
        }
        Ok(Rest { gaps, stopped_ns })
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
