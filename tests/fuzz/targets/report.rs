//! What recordings say that nobody wrote, told as `report` and `export` tell it.
#![no_main]

use std::{io, path::Path};

use keepalive_trace::{
    model::{book::Book, choice::Choice},
    output::JsonLines,
    recording::{Reader, Wanted},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(reader) = Reader::of(Path::new("fuzzed"), bytes.len() as u64, bytes) else { return };
    let mut book = Book::new(Choice::default(), true, 100);
    let mut lines = JsonLines::default();
    book.begin(reader.header.start.clone(), reader.header.started_ns);
    let told = reader.read(
        Wanted::Everything,
        |event| {
            book.note(event);
            lines.write(event, &mut io::sink())
        },
        |_| {},
    );
    if told.is_ok() {
        book.end(Vec::new(), None);
        let _ = book.report();
    }
});
