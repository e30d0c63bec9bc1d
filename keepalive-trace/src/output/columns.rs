//! Columns of a line.

use super::append::Append as _;
use crate::model::owner::Comm;

/// Appends a column: what `fill` appends, all of it ASCII, then blanks up to the width, and one more.
pub(super) fn cell(out: &mut Vec<u8>, width: usize, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    fill(out);
    blanks(out, width.saturating_sub(out.len() - start) + 1);
}

/// Appends a column with a task's name, which may have more bytes than characters.
pub(super) fn comm_cell(out: &mut Vec<u8>, width: usize, comm: Option<&Comm>) {
    let Some(comm) = comm else { return cell(out, width, |out| out.push(b'-')) };
    let start = out.len();
    out.comm(comm);
    let text = &out[start..];
    let shown = if text.is_ascii() { text.len() } else { String::from_utf8_lossy(text).chars().count() };
    blanks(out, width.saturating_sub(shown) + 1);
}

fn blanks(out: &mut Vec<u8>, count: usize) {
    let end = out.len() + count;
    // A fixed number of bytes is copied without a call.
    while out.len() < end {
        out.extend_from_slice(&[b' '; 32]);
    }
    out.truncate(end);
}

/// Appends a column like [`cell`], with a dash for what is unknown.
pub(super) fn cell_or_dash<T>(out: &mut Vec<u8>, width: usize, value: Option<T>, fill: impl FnOnce(&mut Vec<u8>, T)) {
    cell(out, width, |out| match value {
        Some(value) => fill(out, value),
        None => out.push(b'-'),
    });
}
