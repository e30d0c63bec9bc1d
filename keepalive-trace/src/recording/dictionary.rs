//! A column of words that is being filled, and the dictionary that it is written with.
use std::{hash::BuildHasher as _, ops::Range, sync::Arc};

use arrow_array::{ArrayRef, StringArray, UInt16Array};
use arrow_buffer::ToByteSlice as _;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::{
    encode::Encoder,
    fill::{self, Fixed},
    words::Word,
};

/// Past this number of words, those of past batches are forgotten. Rows of a batch are fewer than 32,768: words and rows together have
/// numbers of 16 bits.
const MOST: usize = 1 << 14;
/// The place of a word that is not in the dictionary.
const NOWHERE: u16 = u16::MAX;

/// Fills a column of words. A dictionary goes on being used as long as it has all the words of a batch.
pub(super) struct WordsBuilder<W> {
    /// Words by their numbers.
    rows: Fixed<u16>,
    words: Vec<W>,
    /// Numbers by their words. The hash has a random key, since names and addresses come from outside.
    numbers: HashTable<u16>,
    hasher: DefaultHashBuilder,
    /// The number of the last row: many rows have the word of the row before.
    last: u16,
    /// The places of words in the dictionary that was written last, by their numbers; and the numbers by their places.
    places: Vec<u16>,
    dictionary: Vec<u16>,
    is_written: bool,
    /// Whether all places are the numbers of their words.
    is_plain: bool,
    /// The same of the dictionary that was written before the rows that are kept.
    settled: Vec<u16>,
    is_settled: bool,
    /// The places of the rows that are written.
    keys: Vec<u16>,
    texts: Vec<u8>,
    ends: Vec<i32>,
    /// The dictionary as an array, where it was asked for.
    array: Option<ArrayRef>,
}

impl<W: Word> Default for WordsBuilder<W> {
    fn default() -> Self {
        let mut builder = Self {
            rows: Fixed::default(),
            words: Vec::new(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            last: 0,
            places: Vec::new(),
            dictionary: Vec::new(),
            is_written: false,
            is_plain: false,
            settled: Vec::new(),
            is_settled: false,
            keys: Vec::new(),
            texts: Vec::new(),
            ends: Vec::new(),
            array: None,
        };
        builder.learn_known();
        builder
    }
}

impl<W: Word> WordsBuilder<W> {
    fn learn_known(&mut self) {
        for word in W::KNOWN {
            self.number(word.given());
        }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, row: usize, word: W::Given<'_>) {
        let number = self.find(word);
        self.rows.push(row, number);
    }

    pub(super) fn repeat(&mut self, rows: &Range<usize>, word: W::Given<'_>) {
        let number = self.find(word);
        self.rows.repeat(rows, number);
    }

    #[inline(always)]
    fn find(&mut self, word: W::Given<'_>) -> u16 {
        match W::index(word) {
            Some(number) => number,
            None => self.number(word),
        }
    }

    fn number(&mut self, word: W::Given<'_>) -> u16 {
        let Self { words, numbers, hasher, last, .. } = self;
        if words.get(usize::from(*last)).is_some_and(|last| last.is(word)) {
            return *last;
        }
        let is_it = |number: &u16| words[usize::from(*number)].is(word);
        let hash = hasher.hash_one(word);
        let number = if let Some(number) = numbers.find(hash, is_it) {
            *number
        } else {
            let number = words.len() as u16;
            words.push(W::own(word));
            numbers.insert_unique(hash, number, |number| hasher.hash_one(words[usize::from(*number)].given()));
            number
        };
        *last = number;
        number
    }

    /// Looks up the places of some rows, in a new dictionary where the old one lacks a word: of these words and the known ones.
    /// Whether the dictionary is another one.
    fn place(&mut self, rows: &Range<usize>) -> bool {
        self.rows.fill(rows.end);
        if W::IS_CLOSED {
            // A word's place is its number, always.
            let is_new = self.dictionary.len() < self.words.len();
            if is_new {
                self.dictionary.clear();
                self.dictionary.extend(0..self.words.len() as u16);
            }
            self.is_written = true;
            return is_new;
        }
        if self.is_written && self.is_plain {
            let values = &self.rows.values[rows.clone()];
            // A row that holds nothing has 0 here.
            let most = values.iter().fold(0, |most, number| most.max(*number));
            if usize::from(most) < self.dictionary.len() {
                self.keys.clear();
                self.keys.extend_from_slice(values);
                return false;
            }
        }
        self.places.resize(self.words.len(), NOWHERE);
        let is_whole = self.look_up(rows);
        if is_whole && self.is_written {
            return false;
        }
        self.is_written = true;
        self.dictionary.clear();
        self.places.fill(NOWHERE);
        let Self { rows: Fixed { values, valid }, places, dictionary, .. } = self;
        let mut add = |number: u16| {
            let place = &mut places[usize::from(number)];
            if *place == NOWHERE {
                *place = dictionary.len() as u16;
                dictionary.push(number);
            }
        };
        (0..W::KNOWN.len()).for_each(|number| add(number as u16));
        rows.clone().filter(|row| valid.has(*row)).for_each(|row| add(values[row]));
        self.is_plain = self.is_plain();
        self.look_up(rows);
        true
    }

    fn is_plain(&self) -> bool {
        self.dictionary.iter().enumerate().all(|(place, number)| place == usize::from(*number))
    }

    /// Whether the dictionary has the words of all these rows.
    fn look_up(&mut self, rows: &Range<usize>) -> bool {
        let Self { rows: Fixed { values, valid }, places, keys, .. } = self;
        keys.clear();
        let mut is_whole = true;
        if !valid.may_have(rows) {
            keys.resize(rows.len(), 0);
            return true;
        }
        if valid.are_all(rows) {
            keys.extend(values[rows.clone()].iter().map(|number| {
                let place = places[usize::from(*number)];
                is_whole &= place != NOWHERE;
                place
            }));
            return is_whole;
        }
        keys.extend(rows.clone().map(|row| {
            if !valid.has(row) {
                return 0;
            }
            let place = places[usize::from(values[row])];
            is_whole &= place != NOWHERE;
            place
        }));
        is_whole
    }

    /// Lays the dictionary's texts one behind the other.
    fn spell(&mut self) {
        self.texts.clear();
        self.ends.clear();
        for number in &self.dictionary {
            self.words[usize::from(*number)].append(&mut self.texts);
            self.ends.push(self.texts.len() as i32);
        }
    }

    /// Appends the dictionary that some rows need, where it is another one than before.
    pub(super) fn write_dictionary(&mut self, rows: &Range<usize>, id: i64, encoder: &mut Encoder, out: &mut Vec<u8>) {
        if self.rows.valid.may_have(rows) {
            if !self.place(rows) {
                return;
            }
        } else if std::mem::replace(&mut self.is_written, true) {
            return;
        }
        self.spell();
        encoder.column(self.ends.len(), 0);
        encoder.buffer(&[]);
        fill::offsets(self.ends.iter().copied(), encoder);
        encoder.buffer(&self.texts);
        encoder.dictionary(id, self.ends.len(), out);
    }

    /// Appends the column, after [`Self::write_dictionary`] for the same rows.
    pub(super) fn encode(&mut self, rows: &Range<usize>, encoder: &mut Encoder) {
        if W::IS_CLOSED {
            return self.rows.encode(rows, encoder);
        }
        if fill::begin(&self.rows.valid, rows, encoder) == 0 {
            return encoder.zeros(rows.len() * size_of::<u16>());
        }
        encoder.buffer(self.keys.to_byte_slice());
    }

    /// All rows, for a table: the places of their words, and the dictionary.
    pub(super) fn arrays(&mut self, rows: usize) -> (UInt16Array, ArrayRef) {
        let is_new = self.place(&(0..rows));
        let dictionary = match self.array.take().filter(|_| !is_new) {
            Some(dictionary) => dictionary,
            None => {
                let texts = self.dictionary.iter().map(|number| self.words[usize::from(*number)].text());
                Arc::new(StringArray::from_iter_values(texts))
            }
        };
        self.array = Some(Arc::clone(&dictionary));
        let keys = if W::IS_CLOSED { &self.rows.values } else { &self.keys };
        let keys = UInt16Array::new(keys.clone().into(), Some(self.rows.valid.nulls(rows)));
        (keys, dictionary)
    }

    /// Begins again; words stay known, unless there are too many of them.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        if self.words.len() > MOST {
            self.words.clear();
            self.numbers.clear();
            self.learn_known();
            // A dictionary begins with the known words.
            self.places.truncate(self.words.len());
            self.dictionary.truncate(self.words.len());
        }
        self.settled.clone_from(&self.dictionary);
        self.is_settled = self.is_written;
    }

    /// Takes back all dictionaries that were written since the last [`Self::clear`].
    pub(super) fn rewind(&mut self) {
        self.dictionary.clone_from(&self.settled);
        self.is_written = self.is_settled;
        self.is_plain = self.is_plain();
        self.places.resize(self.words.len(), NOWHERE);
        self.places.fill(NOWHERE);
        for (place, number) in self.dictionary.iter().enumerate() {
            self.places[usize::from(*number)] = place as u16;
        }
    }
}
