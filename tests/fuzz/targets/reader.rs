//! Any bytes as a recording: its checksums are not looked at here, so that what is behind them is met as well.
#![no_main]

use std::path::Path;

use keepalive_trace::recording::{Reader, Wanted};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for wanted in [Wanted::Everything, Wanted::Histories] {
        let Ok(reader) = Reader::of(Path::new("fuzzed"), bytes.len() as u64, bytes) else { return };
        let _ = reader.read(wanted, |_| Ok(()), |_| {});
    }
});
