//! Columns that are being filled, row by row. A row that holds nothing costs nothing: columns are filled up when they are written.
use std::ops::Range;

use arrow_buffer::{ArrowNativeType, BooleanBuffer, NullBuffer};

use super::encode::Encoder;

/// Bits grow by this number of bytes.
const STEP: usize = 64;

/// A bit for each row; those behind the end are 0.
#[derive(Debug, Default)]
pub(super) struct Bits {
    /// As long as no row was left out, there are no bytes: all rows before this one are set.
    all: usize,
    bytes: Vec<u8>,
}

impl Bits {
    #[inline(always)]
    pub(super) fn set(&mut self, row: usize) {
        if self.bytes.is_empty() && self.all == row {
            self.all += 1;
            return;
        }
        match self.bytes.get_mut(row / 8) {
            Some(byte) => *byte |= 1 << (row % 8),
            None => self.grow(row),
        }
    }

    pub(super) fn set_all(&mut self, rows: &Range<usize>) {
        if rows.is_empty() {
            return;
        }
        if self.bytes.is_empty() && self.all == rows.start {
            self.all = rows.end;
            return;
        }
        // From here on there are bytes.
        self.set(rows.start);
        let whole = rows.start.div_ceil(8)..rows.end / 8;
        if whole.is_empty() {
            return rows.clone().for_each(|row| self.set(row));
        }
        self.bytes.resize(self.bytes.len().max(whole.end), 0);
        self.bytes[whole.clone()].fill(u8::MAX);
        (rows.start..whole.start * 8).chain(whole.end * 8..rows.end).for_each(|row| self.set(row));
    }

    #[inline(never)]
    fn grow(&mut self, row: usize) {
        if self.bytes.is_empty() {
            self.bytes.resize(self.all / 8, u8::MAX);
            self.bytes.push((1 << (self.all % 8)) - 1);
            self.all = 0;
        }
        // The rows that come next have their bytes, too.
        self.bytes.resize(self.bytes.len().max((row / 8 + 1).next_multiple_of(STEP)), 0);
        self.bytes[row / 8] |= 1 << (row % 8);
    }

    /// Whether all of these rows are set, as far as that is known without a look at each.
    pub(super) fn are_all(&self, rows: &Range<usize>) -> bool {
        rows.end <= self.all
    }

    #[inline]
    pub(super) fn has(&self, row: usize) -> bool {
        self.byte(row / 8) >> (row % 8) & 1 == 1
    }

    /// False only where none of these rows is set.
    pub(super) fn may_have(&self, rows: &Range<usize>) -> bool {
        let bytes = (rows.start / 8).min(self.bytes.len())..rows.end.div_ceil(8).min(self.bytes.len());
        rows.start < self.all || self.bytes[bytes].iter().any(|byte| *byte != 0)
    }

    #[inline]
    fn byte(&self, byte: usize) -> u8 {
        match self.all.saturating_sub(byte * 8) {
            0 => self.bytes.get(byte).copied().unwrap_or(0),
            more @ 1..8 => (1 << more) - 1,
            8.. => u8::MAX,
        }
    }

    /// Copies the bits of some rows, from the first bit on.
    fn copy(&self, rows: &Range<usize>, to: &mut Vec<u8>) {
        to.clear();
        let (from, shift) = (rows.start / 8, rows.start % 8);
        let bytes = rows.len().div_ceil(8);
        if shift == 0 {
            to.extend((from..from + bytes).map(|at| self.byte(at)));
        } else {
            to.extend((from..from + bytes).map(|at| self.byte(at) >> shift | self.byte(at + 1) << (8 - shift)));
        }
        if let Some(last) = to.last_mut().filter(|_| !rows.len().is_multiple_of(8)) {
            *last &= (1 << (rows.len() % 8)) - 1;
        }
    }

    /// Puts the bits of some rows into the encoder's scratch; how many of them are set.
    fn take(&self, rows: &Range<usize>, encoder: &mut Encoder) -> usize {
        if self.all.max(self.bytes.len() * 8) <= rows.start {
            return 0;
        }
        self.copy(rows, &mut encoder.scratch);
        encoder.scratch.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    pub(super) fn clear(&mut self) {
        self.all = 0;
        self.bytes.clear();
    }

    pub(super) fn buffer(&self, rows: usize) -> BooleanBuffer {
        let mut bits = Vec::new();
        self.copy(&(0..rows), &mut bits);
        BooleanBuffer::new(bits.into(), 0, rows)
    }

    pub(super) fn nulls(&self, rows: usize) -> NullBuffer {
        NullBuffer::new(self.buffer(rows))
    }
}

/// Begins a column with its first buffer, which says what rows hold something; how many do.
pub(super) fn begin(valid: &Bits, rows: &Range<usize>, encoder: &mut Encoder) -> usize {
    let set = if valid.are_all(rows) { rows.len() } else { valid.take(rows, encoder) };
    encoder.column(rows.len(), rows.len() - set);
    if set == rows.len() {
        encoder.buffer(&[]);
    } else if set == 0 {
        encoder.zeros(rows.len().div_ceil(8));
    } else {
        encoder.buffer_of_scratch();
    }
    set
}

/// Numbers of one width.
#[derive(Debug)]
pub(super) struct Fixed<T> {
    pub(super) values: Vec<T>,
    pub(super) valid: Bits,
}

impl<T> Default for Fixed<T> {
    fn default() -> Self {
        Self { values: Vec::new(), valid: Bits::default() }
    }
}

impl<T: ArrowNativeType> Fixed<T> {
    #[inline(always)]
    pub(super) fn push(&mut self, row: usize, value: T) {
        if self.values.len() != row {
            self.catch_up(row);
        }
        self.values.push(value);
        self.valid.set(row);
    }

    pub(super) fn repeat(&mut self, rows: &Range<usize>, value: T) {
        self.fill(rows.start);
        self.values.resize(rows.end, value);
        self.valid.set_all(rows);
    }

    /// Appends the rows before this one, which hold nothing.
    #[inline(never)]
    fn catch_up(&mut self, row: usize) {
        self.values.resize(row, T::default());
    }

    pub(super) fn encode(&mut self, rows: &Range<usize>, encoder: &mut Encoder) {
        if begin(&self.valid, rows, encoder) == 0 {
            return encoder.zeros(rows.len() * size_of::<T>());
        }
        self.fill(rows.end);
        encoder.numbers(&self.values[rows.clone()]);
    }

    /// Appends nulls up to this number of rows.
    pub(super) fn fill(&mut self, rows: usize) {
        self.values.resize(rows, T::default());
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.valid.clear();
    }
}

/// Yes or no.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub(super) values: Bits,
    pub(super) valid: Bits,
}

impl Flags {
    #[inline]
    pub(super) fn push(&mut self, row: usize, value: bool) {
        if value {
            self.values.set(row);
        }
        self.valid.set(row);
    }

    pub(super) fn repeat(&mut self, rows: &Range<usize>, value: bool) {
        if value {
            self.values.set_all(rows);
        }
        self.valid.set_all(rows);
    }

    pub(super) fn encode(&self, rows: &Range<usize>, encoder: &mut Encoder) {
        if begin(&self.valid, rows, encoder) == 0 || self.values.take(rows, encoder) == 0 {
            return encoder.zeros(rows.len().div_ceil(8));
        }
        encoder.buffer_of_scratch();
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.valid.clear();
    }
}

/// A value that rows one after the other have. Their columns get it all at once, when a row has another one.
#[derive(Debug)]
pub(super) struct Run<T> {
    value: Option<T>,
    rows: Range<usize>,
}

impl<T> Default for Run<T> {
    fn default() -> Self {
        Self { value: None, rows: 0..0 }
    }
}

impl<T: PartialEq> Run<T> {
    /// Takes in a row's value. The run that it ends is handed over.
    #[inline(always)]
    pub(super) fn put(&mut self, row: usize, value: T, end: impl FnOnce(T, &Range<usize>)) {
        if self.rows.end != row || self.value.as_ref() != Some(&value) {
            self.end(end);
            *self = Self { value: Some(value), rows: row..row };
        }
        self.rows.end = row + 1;
    }

    /// Hands over the run.
    #[inline(never)]
    pub(super) fn end(&mut self, end: impl FnOnce(T, &Range<usize>)) {
        if let Some(value) = self.value.take() {
            end(value, &self.rows);
        }
    }
}

/// Sentences.
#[derive(Debug, Default)]
pub(super) struct Sentences {
    /// Where each ends.
    pub(super) ends: Vec<i32>,
    pub(super) bytes: Vec<u8>,
    pub(super) valid: Bits,
}

impl Sentences {
    pub(super) fn push(&mut self, row: usize, text: &str) {
        self.fill(row);
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len() as i32);
        self.valid.set(row);
    }

    pub(super) fn fill(&mut self, rows: usize) {
        self.ends.resize(rows, self.bytes.len() as i32);
    }

    pub(super) fn encode(&mut self, rows: &Range<usize>, encoder: &mut Encoder) {
        let begins = begin(&self.valid, rows, encoder) > 0;
        if !begins {
            encoder.zeros((rows.len() + 1) * size_of::<i32>());
            return encoder.buffer(&[]);
        }
        self.fill(rows.end);
        let first = rows.start.checked_sub(1).map_or(0, |before| self.ends[before]);
        let last = self.ends[rows.end - 1];
        offsets(self.ends[rows.clone()].iter().map(|end| end - first), encoder);
        encoder.buffer(&self.bytes[first as usize..last as usize]);
    }

    pub(super) fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
        self.valid.clear();
    }
}

/// Appends the buffer that says where texts begin, from where each ends.
pub(super) fn offsets(ends: impl Iterator<Item = i32>, encoder: &mut Encoder) {
    encoder.scratch.clear();
    encoder.scratch.extend_from_slice(&0_i32.to_le_bytes());
    ends.for_each(|end| encoder.scratch.extend_from_slice(&end.to_le_bytes()));
    encoder.buffer_of_scratch();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn some_rows_have_their_own_bits(
            some in prop::collection::btree_set(0..100_usize, 0..60),
            all in 0..100_usize,
            runs in prop::collection::vec((0..100_usize, 0..40_usize), 0..4),
            from in 0..400_usize,
            long in 0..50,
        ) {
            let mut bits = Bits::default();
            // As it is with columns: the first rows all have something.
            let mut set: std::collections::BTreeSet<usize> = some.into_iter().chain(0..all).collect();
            set.iter().for_each(|row| bits.set(*row));
            // Runs of rows follow each other.
            for (gap, long) in runs {
                let start = set.last().map_or(0, |last| last + 1) + gap;
                bits.set_all(&(start..start + long));
                set.extend(start..start + long);
            }
            let (rows, mut copied) = (from..from + long as usize, Vec::new());
            bits.copy(&rows, &mut copied);
            prop_assert!(!bits.are_all(&rows) || rows.clone().all(|row| set.contains(&row)));
            prop_assert!(bits.may_have(&rows) || rows.clone().all(|row| !set.contains(&row)));
            prop_assert_eq!(copied.len(), rows.len().div_ceil(8));
            for at in 0..copied.len() * 8 {
                let expected = at < rows.len() && bits.has(from + at);
                prop_assert_eq!(bits.has(from + at), set.contains(&(from + at)));
                prop_assert_eq!(copied[at / 8] >> (at % 8) & 1 == 1, expected);
            }
        }
    }
}
