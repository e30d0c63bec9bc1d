//! Segments of HTTP in any pieces and any order, read as `trace --http` reads them.
#![no_main]

mod passing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| passing::pass(bytes));
