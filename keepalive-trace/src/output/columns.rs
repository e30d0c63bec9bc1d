//! Columns of a line.
use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// A column: what `fill` writes, then blanks up to the width, and one more.
pub(super) fn cell(out: &mut Vec<u8>, width: usize, fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let start = out.len();
    fill(out)?;
    // Names may be of more bytes than characters.
    let text = &out[start..];
    let shown = if text.is_ascii() { text.len() } else { String::from_utf8_lossy(text).chars().count() };
    out.resize(out.len() + width.saturating_sub(shown) + 1, b' ');
    Ok(())
}

pub(super) fn or_dash(out: &mut Vec<u8>, value: Option<impl Display>) -> io::Result<()> {
    match value {
        Some(value) => write!(out, "{value}"),
        None => write!(out, "-"),
    }
}
