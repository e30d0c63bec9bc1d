//! Columns of a line.

/// Appends a column: what `fill` appends, then blanks up to the width, and one more.
pub(super) fn cell(out: &mut Vec<u8>, width: usize, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    fill(out);
    // Names may have more bytes than characters.
    let text = &out[start..];
    let shown = if text.is_ascii() { text.len() } else { String::from_utf8_lossy(text).chars().count() };
    out.resize(out.len() + width.saturating_sub(shown) + 1, b' ');
}

/// Appends a column like [`cell`], with a dash for what is unknown.
pub(super) fn cell_or_dash<T>(out: &mut Vec<u8>, width: usize, value: Option<T>, fill: impl FnOnce(&mut Vec<u8>, T)) {
    cell(out, width, |out| match value {
        Some(value) => fill(out, value),
        None => out.push(b'-'),
    });
}
