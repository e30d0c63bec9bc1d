//! What is done with any bytes: by the fuzzer, and by the tests with what it kept.
use std::{io, path::Path};

use keepalive_trace::{
    model::{book::Book, choice::Choice},
    output::JsonLines,
    recording::Reader,
};

/// All events as lines, and as the report that comes of them.
pub fn told(bytes: &[u8]) {
    let reader = || Reader::of(Path::new("fuzzed"), bytes.len() as u64, bytes);
    let Ok(lined) = reader() else { return };
    let mut lines = JsonLines::default();
    let _ = lined.read(|event| lines.write(event, &mut io::sink()), |_| {});
    let Ok(reported) = reader() else { return };
    let mut book = Book::new(Choice::default(), true, 100);
    book.begin(reported.header.start.clone(), reported.header.started_ns);
    if reported.read_into(&mut book, |_| {}).is_ok() {
        book.end(Vec::new(), None);
        drop(book.report());
    }
}
