//! What a recording promises: every event comes back as it was, and whatever becomes of the file, none that was not written.
use std::{
    io::BufReader,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{frame::Frames, *};
use crate::model::{
    book::Book,
    choice::Choice,
    event::{Body, Event},
    report::Report,
    samples,
};

mod corpus;
mod crafted;
mod cuts;
mod events;
mod flips;
mod properties;
mod recorder;
mod roundtrip;
mod tail;

/// What a reader hands over.
fn told<R: std::io::BufRead>(reader: Reader<R>) -> Result<(Vec<Event>, Found)> {
    let mut events = Vec::new();
    let found = reader.read(
        |event| {
            events.push(event.clone());
            Ok(())
        },
        |_| {},
    )?;
    Ok((events, found))
}

/// What these bytes tell.
fn read(bytes: &[u8]) -> Result<(Vec<Event>, Found)> {
    told(Reader::of(Path::new("x.arrows"), bytes.len() as u64, bytes)?)
}

/// The same, whether or not the checksums are right.
fn unsealed(bytes: &[u8]) -> Result<Reader<&[u8]>> {
    Reader::begin(Path::new("x.arrows"), bytes.len() as u64, Frames::new(bytes, false))
}

/// The report of what is read.
fn reported<R: std::io::BufRead>(reader: Reader<R>) -> Result<Report> {
    booked(&reader.header.clone(), |book| reader.read_into(book, |_| {}).map(drop))
}

/// The report of a book that is filled like this.
fn booked(header: &Header, fill: impl FnOnce(&mut Book) -> Result<()>) -> Result<Report> {
    let mut book = Book::new(Choice::default(), true, usize::MAX);
    book.begin(header.start.clone(), header.started_ns);
    fill(&mut book)?;
    book.end(Vec::new(), None);
    Ok(book.report())
}

fn header() -> Header {
    let Event { mono_ns, body: Body::Start(start) } = samples::start() else { panic!("no start") };
    Header::of(start, mono_ns, 1)
}

/// A recording, as long as it is written to.
fn writer(header: &Header) -> Writer<Vec<u8>> {
    Writer::begin(Vec::new(), header).unwrap()
}

fn end(writer: Writer<Vec<u8>>, stop: Option<(u64, u64)>) -> Vec<u8> {
    writer.finish(stop).unwrap_or_else(|(_, error)| panic!("{error:#}"))
}

/// A recording of these batches, and where each of them ends; the first to end is the header.
struct Recorded {
    bytes: Vec<u8>,
    events: Vec<Event>,
    /// Byte, and events up to it.
    ends: Vec<(usize, usize)>,
}

impl Recorded {
    fn of(batches: &[Vec<Event>]) -> Self {
        let mut writer = writer(&header());
        let mut events = Vec::new();
        let mut ends = vec![(writer.written() as usize, 0)];
        for batch in batches {
            for event in batch {
                assert!(writer.add(event).unwrap());
                events.push(event.clone());
            }
            writer.flush().unwrap();
            ends.push((writer.written() as usize, events.len()));
        }
        let bytes = end(writer, None);
        Self { bytes, events, ends }
    }
}

/// Events of every kind that a recording has, somewhat different each time.
fn batch(turn: u16) -> Vec<Event> {
    let mut events: Vec<Event> = samples::all()
        .into_iter()
        .filter(|event| !matches!(event.body, Body::Start(_) | Body::Stop(_) | Body::Namespace(_)))
        .collect();
    for event in &mut events {
        event.mono_ns += u64::from(turn);
        match &mut event.body {
            Body::Open(connection, _) | Body::Probe(connection, _) | Body::Reply(connection, _) => {
                connection.remote.set_ip([10, 0, (turn >> 8) as u8, turn as u8].into());
            }
            Body::Sysctl(write, _) => write.mono_ns += u64::from(turn),
            _ => {}
        }
    }
    events
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}
