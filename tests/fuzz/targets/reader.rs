//! Any bytes as a recording: its checksums are not looked at here, so that what is behind them is met as well.
#![no_main]

use std::path::Path;

use keepalive_trace::{
    model::{book::Book, choice::Choice},
    recording::Reader,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let reader = || Reader::of(Path::new("fuzzed"), bytes.len() as u64, bytes);
    let Ok(all) = reader() else { return };
    let _ = all.read(|_| Ok(()), |_| {});
    let Ok(looked_at) = reader() else { return };
    let _ = looked_at.read_into(&mut Book::new(Choice::default(), true, 100), |_| {});
});
