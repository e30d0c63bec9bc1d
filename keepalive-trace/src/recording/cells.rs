//! The kinds of columns that there are, and how each is filled and looked at.
use std::{any::Any, borrow::Cow, marker::PhantomData, rc::Rc, sync::Arc};

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, DictionaryArray, PrimitiveArray, StringArray, TimestampNanosecondArray,
    UInt16Array,
    builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder},
    cast::AsArray as _,
    types::{TimestampNanosecondType, UInt16Type},
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, TimeUnit};
use hashbrown::HashMap;

use super::words::Word;

/// A kind of column.
pub(super) trait Cell {
    type Value;
    type Builder: Default;
    type View;

    fn data_type() -> DataType;
    fn push(builder: &mut Self::Builder, value: Option<Self::Value>);
    fn finish(builder: &mut Self::Builder) -> Result<ArrayRef, ArrowError>;
    /// None where the column is of another type.
    fn view(name: &'static str, column: &ArrayRef, seen: &mut Seen) -> Option<Self::View>;
    fn at(view: &Self::View, row: usize) -> Option<Self::Value>;
    /// Which rows hold something; none: all.
    fn nulls(view: &Self::View) -> Option<&NullBuffer>;
    /// What stands in a row that is known to hold something.
    fn get(view: &Self::View, row: usize) -> Option<Self::Value> {
        Self::at(view, row)
    }
}

/// Dictionaries that were read before, by their column: most stay the same from batch to batch.
#[derive(Default)]
pub(super) struct Seen(HashMap<&'static str, (StringArray, Rc<dyn Any>)>);

/// Numbers.
pub(super) struct Number<T>(PhantomData<T>);

impl<T: ArrowPrimitiveType> Cell for Number<T> {
    type Value = T::Native;
    type Builder = PrimitiveBuilder<T>;
    type View = PrimitiveArray<T>;

    fn data_type() -> DataType {
        T::DATA_TYPE
    }

    fn push(builder: &mut Self::Builder, value: Option<T::Native>) {
        builder.append_option(value);
    }

    fn finish(builder: &mut Self::Builder) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(builder.finish()))
    }

    fn view(_: &'static str, column: &ArrayRef, _: &mut Seen) -> Option<Self::View> {
        column.as_primitive_opt::<T>().cloned()
    }

    #[inline(always)]
    fn at(view: &Self::View, row: usize) -> Option<T::Native> {
        value(view, row)
    }

    fn nulls(view: &Self::View) -> Option<&NullBuffer> {
        view.nulls()
    }

    #[inline(always)]
    fn get(view: &Self::View, row: usize) -> Option<T::Native> {
        view.values().get(row).copied()
    }
}

/// What stands in a row, if anything does. Arrow's own `value` is a call for each.
#[inline(always)]
fn value<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    let value = *column.values().get(row)?;
    column.nulls().is_none_or(|nulls| nulls.is_valid(row)).then_some(value)
}

/// Moments: nanoseconds since 1970, UTC.
pub(super) struct Moment;

impl Cell for Moment {
    type Value = i64;
    type Builder = PrimitiveBuilder<TimestampNanosecondType>;
    type View = TimestampNanosecondArray;

    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
    }

    fn push(builder: &mut Self::Builder, value: Option<i64>) {
        builder.append_option(value);
    }

    fn finish(builder: &mut Self::Builder) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(builder.finish().with_timezone("UTC")))
    }

    fn view(_: &'static str, column: &ArrayRef, _: &mut Seen) -> Option<Self::View> {
        column.as_primitive_opt::<TimestampNanosecondType>().cloned()
    }

    #[inline(always)]
    fn at(view: &Self::View, row: usize) -> Option<i64> {
        value(view, row)
    }

    fn nulls(view: &Self::View) -> Option<&NullBuffer> {
        view.nulls()
    }

    #[inline(always)]
    fn get(view: &Self::View, row: usize) -> Option<i64> {
        view.values().get(row).copied()
    }
}

/// Yes or no.
pub(super) struct Flag;

impl Cell for Flag {
    type Value = bool;
    type Builder = BooleanBuilder;
    type View = BooleanArray;

    fn data_type() -> DataType {
        DataType::Boolean
    }

    fn push(builder: &mut Self::Builder, value: Option<bool>) {
        builder.append_option(value);
    }

    fn finish(builder: &mut Self::Builder) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(builder.finish()))
    }

    fn view(_: &'static str, column: &ArrayRef, _: &mut Seen) -> Option<Self::View> {
        column.as_boolean_opt().cloned()
    }

    #[inline(always)]
    fn at(view: &Self::View, row: usize) -> Option<bool> {
        view.nulls().is_none_or(|nulls| nulls.is_valid(row)).then(|| Self::get(view, row))?
    }

    fn nulls(view: &Self::View) -> Option<&NullBuffer> {
        view.nulls()
    }

    #[inline(always)]
    fn get(view: &Self::View, row: usize) -> Option<bool> {
        (row < view.len()).then(|| view.values().value(row))
    }
}

/// Sentences.
pub(super) struct Text;

impl Cell for Text {
    type Value = String;
    type Builder = StringBuilder;
    type View = StringArray;

    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn push(builder: &mut Self::Builder, value: Option<String>) {
        builder.append_option(value);
    }

    fn finish(builder: &mut Self::Builder) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(builder.finish()))
    }

    fn view(_: &'static str, column: &ArrayRef, _: &mut Seen) -> Option<Self::View> {
        column.as_string_opt::<i32>().cloned()
    }

    #[inline(always)]
    fn at(view: &Self::View, row: usize) -> Option<String> {
        (!view.is_null(row)).then(|| view.value(row).to_owned())
    }

    fn nulls(view: &Self::View) -> Option<&NullBuffer> {
        view.nulls()
    }
}

/// Words, through a dictionary.
pub(super) struct Words<W>(PhantomData<W>);

/// Fills a column of words. A dictionary goes on being used as long as it has all the words of a batch.
pub(super) struct WordsBuilder<W> {
    rows: Vec<Option<u16>>,
    numbers: HashMap<W, u16>,
    words: Vec<W>,
    /// The dictionary that was written last, and how many words it has.
    written: Option<ArrayRef>,
    known: usize,
}

impl<W: Word> Default for WordsBuilder<W> {
    fn default() -> Self {
        let mut builder = Self { rows: Vec::new(), numbers: HashMap::new(), words: Vec::new(), written: None, known: 0 };
        for word in W::KNOWN {
            builder.number(Cow::Borrowed(word));
        }
        builder
    }
}

impl<W: Word> WordsBuilder<W> {
    /// Rows of a batch are fewer than numbers, and so are the words of a dictionary.
    fn number(&mut self, word: Cow<'_, W>) -> u16 {
        if let Some(number) = self.numbers.get(word.as_ref()) {
            return *number;
        }
        let number = self.words.len() as u16;
        self.words.push(word.clone().into_owned());
        self.numbers.insert(word.into_owned(), number);
        number
    }

    /// Only words of this batch: the others have gone by.
    fn renew(&mut self) {
        let old = std::mem::take(&mut self.words);
        self.numbers.clear();
        W::KNOWN.iter().for_each(|word| _ = self.number(Cow::Borrowed(word)));
        let mut renumbered: Vec<Option<u16>> = vec![None; old.len()];
        for row in 0..self.rows.len() {
            let Some(number) = self.rows[row] else { continue };
            let number = usize::from(number);
            let new = renumbered[number].unwrap_or_else(|| self.number(Cow::Borrowed(&old[number])));
            renumbered[number] = Some(new);
            self.rows[row] = Some(new);
        }
    }
}

impl<W: Word + 'static> Cell for Words<W> {
    type Value = W;
    type Builder = WordsBuilder<W>;
    type View = (UInt16Array, Rc<Vec<Option<W>>>);

    fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8))
    }

    fn push(builder: &mut Self::Builder, value: Option<W>) {
        let number = value.map(|word| builder.number(Cow::Owned(word)));
        builder.rows.push(number);
    }

    fn finish(builder: &mut Self::Builder) -> Result<ArrayRef, ArrowError> {
        let written = builder.written.take().filter(|_| builder.words.len() == builder.known);
        let dictionary = written.unwrap_or_else(|| {
            builder.renew();
            Arc::new(StringArray::from_iter_values(builder.words.iter().map(W::text)))
        });
        (builder.written, builder.known) = (Some(Arc::clone(&dictionary)), builder.words.len());
        let keys = UInt16Array::from_iter(builder.rows.drain(..));
        Ok(Arc::new(DictionaryArray::try_new(keys, dictionary)?))
    }

    fn view(name: &'static str, column: &ArrayRef, seen: &mut Seen) -> Option<Self::View> {
        let column = column.as_dictionary_opt::<UInt16Type>()?;
        let values = column.values().as_string_opt::<i32>()?;
        if let Some((before, words)) = seen.0.get(name)
            && before.values().ptr_eq(values.values())
            && before.offsets().ptr_eq(values.offsets())
            && let Ok(words) = Rc::clone(words).downcast::<Vec<Option<W>>>()
        {
            return Some((column.keys().clone(), words));
        }
        let words = values.iter().map(|word| W::parse(word?)).collect();
        let words: Rc<Vec<Option<W>>> = Rc::new(words);
        let shared: Rc<dyn Any> = Rc::<Vec<Option<W>>>::clone(&words);
        seen.0.insert(name, (values.clone(), shared));
        Some((column.keys().clone(), words))
    }

    #[inline(always)]
    fn at((keys, words): &Self::View, row: usize) -> Option<W> {
        words.get(usize::from(value(keys, row)?))?.clone()
    }

    fn nulls((keys, _): &Self::View) -> Option<&NullBuffer> {
        keys.nulls()
    }

    #[inline(always)]
    fn get((keys, words): &Self::View, row: usize) -> Option<W> {
        words.get(usize::from(*keys.values().get(row)?))?.clone()
    }
}
