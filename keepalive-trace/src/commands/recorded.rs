//! What `report`, `replay` and `export` have in common: the files, whatever they are.
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::{
    cli::ChoiceArgs,
    model::{book::Book, choice::Choice, event::Event},
    output::{self, Bar},
    recording::{Recording, Rest, Set},
};

/// So many complaints of one kind are made one by one.
const NAMED: usize = 10;

/// Recordings that can be read. Of the others it is said why.
pub(super) struct Recorded {
    pub set: Set,
    pub choice: Choice,
    files: Vec<PathBuf>,
    bar: Bar,
}

impl Recorded {
    /// # Errors
    /// When there is nothing to read.
    pub fn open(files: &[PathBuf], choice: &ChoiceArgs) -> Result<Self> {
        let choice = choice.choice().map_err(anyhow::Error::msg)?;
        let set = Set::of(files);
        if let ([], [only]) = (&set.runs[..], &set.refused[..]) {
            bail!("{only:#}");
        }
        complain(set.refused.iter().map(|error| format!("{error:#}")));
        complain(
            set.copies.iter().map(|path| format!("{} is a part that another file has too: it is read once", path.display())),
        );
        if set.runs.is_empty() {
            bail!("none of these {} files is a recording", files.len());
        }
        let bar = Bar::begin(set.bytes());
        Ok(Self { set, choice, files: files.to_vec(), bar })
    }

    /// No bar: what is read is shown on the same terminal.
    pub fn without_bar(self) -> Self {
        Self { bar: Bar::hidden(), ..self }
    }

    /// Holds that what is to be written is none of what is to be read.
    ///
    /// # Errors
    /// When it is.
    pub fn spares(&self, output: &Path) -> Result<()> {
        let id = |path: &Path| fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
        let Some(written) = id(output) else { return Ok(()) };
        match self.files.iter().find(|file| id(file) == Some(written)) {
            Some(file) => bail!("{} is read, and can't be written at the same time: give another name", file.display()),
            None => Ok(()),
        }
    }

    /// Takes a run's events into a book.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn read_into(&self, run: &Recording, book: &mut Book) -> Result<Rest> {
        run.read_into(book, |bytes| self.bar.advance(bytes))
    }

    /// Hands over all of a run's events, in order.
    ///
    /// # Errors
    /// When a file can't be read, or `sink` fails.
    pub fn read(&self, run: &Recording, sink: impl FnMut(&Event) -> Result<()>) -> Result<Rest> {
        run.read(sink, |bytes| self.bar.advance(bytes))
    }

    /// All is read.
    ///
    /// # Errors
    /// When some files were refused: what was told is not all that was asked for.
    pub fn end(&self) -> Result<()> {
        self.bar.end();
        match self.set.refused.len() {
            0 => Ok(()),
            1 => bail!("a file was left out, as said above"),
            count => bail!("{count} files were left out, as said above"),
        }
    }
}

fn complain(complaints: impl ExactSizeIterator<Item = String>) {
    let count = complaints.len();
    complaints.take(NAMED).for_each(|complaint| output::note(&format!("note: {complaint}")));
    if count > NAMED {
        output::note(&format!("note: {} more files like these", count - NAMED));
    }
}
