//! What recordings say that nobody wrote, told as `report` and `export` tell it.
#![no_main]

mod told;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| told::told(bytes));
