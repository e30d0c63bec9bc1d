//! What is done with any bytes: by the fuzzer, and by the tests with what it kept.
use std::{io, path::Path};

use keepalive_trace::{
    model::{book::Book, choice::Choice},
    output::JsonLines,
    recording::{Reader, Wanted},
};

/// All events as lines, and as the report that comes of them.
pub fn told(bytes: &[u8]) {
    let Ok(reader) = Reader::of(Path::new("fuzzed"), bytes.len() as u64, bytes) else { return };
    let mut book = Book::new(Choice::default(), true, 100);
    let mut lines = JsonLines::default();
    book.begin(reader.header.start.clone(), reader.header.started_ns);
    let found = reader.read_some(
        Wanted::Everything,
        |events| {
            book.note_some(events);
            events.iter().try_for_each(|event| lines.write(event, &mut io::sink()))
        },
        |_| {},
    );
    if found.is_ok() {
        book.end(Vec::new(), None);
        drop(book.report());
    }
}
