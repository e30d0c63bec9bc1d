//! Recordings as a user meets them: whole ones, what is left of others, and files that are none.
#![expect(clippy::unwrap_used, reason = "a test: a panic is the failure")]
#![expect(clippy::print_stdout, reason = "a test that is left out says why")]

mod crowds;
mod exports;
mod files;
#[path = "../fuzz/targets/told.rs"]
mod fuzzed;
mod refused;
mod told;
