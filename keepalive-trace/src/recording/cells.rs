//! The kinds of columns that there are, and how each is filled and looked at.
use std::{any::Any, marker::PhantomData, ops::Range, rc::Rc, sync::Arc};

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, DictionaryArray, PrimitiveArray, StringArray, TimestampNanosecondArray,
    UInt16Array,
    cast::AsArray as _,
    types::{TimestampNanosecondType, UInt16Type},
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use hashbrown::HashMap;

use super::{
    dictionary::WordsBuilder,
    encode::Encoder,
    fill::{Fixed, Flags, Sentences},
    words::Word,
};

/// A kind of column.
pub(super) trait Cell {
    type Value;
    /// A value as a row has it.
    type Given<'a>;
    type Builder: Default;
    type View;

    fn data_type() -> DataType;
    /// Takes in the value of a row. Rows come in order; those that hold nothing are left out.
    fn push(builder: &mut Self::Builder, row: usize, value: Self::Given<'_>);
    /// Takes in a value that many rows have.
    fn repeat(builder: &mut Self::Builder, rows: &Range<usize>, value: Self::Given<'_>);
    /// Appends the dictionary that some rows need, where there is one and it is another than before; and counts dictionaries.
    fn dictionary(_: &mut Self::Builder, _: &Range<usize>, _id: &mut i64, _: &mut Encoder, _out: &mut Vec<u8>) {}
    /// Hands some rows to the encoder.
    fn encode(builder: &mut Self::Builder, rows: &Range<usize>, encoder: &mut Encoder);
    /// The rows as an array.
    fn array(builder: &mut Self::Builder, rows: usize) -> Result<ArrayRef, ArrowError>;
    /// Forgets all rows.
    fn clear(builder: &mut Self::Builder);
    /// Takes back the dictionaries that were written since then.
    fn rewind(_: &mut Self::Builder) {}
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
    type Given<'a> = T::Native;
    type Builder = Fixed<T::Native>;
    type View = PrimitiveArray<T>;

    fn data_type() -> DataType {
        T::DATA_TYPE
    }

    #[inline(always)]
    fn push(builder: &mut Self::Builder, row: usize, value: T::Native) {
        builder.push(row, value);
    }

    fn repeat(builder: &mut Self::Builder, rows: &Range<usize>, value: T::Native) {
        builder.repeat(rows, value);
    }

    fn encode(builder: &mut Self::Builder, rows: &Range<usize>, encoder: &mut Encoder) {
        builder.encode(rows, encoder);
    }

    fn array(builder: &mut Self::Builder, rows: usize) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(numbers::<T>(builder, rows)))
    }

    fn clear(builder: &mut Self::Builder) {
        builder.clear();
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

/// The rows as an array.
fn numbers<T: ArrowPrimitiveType>(builder: &mut Fixed<T::Native>, rows: usize) -> PrimitiveArray<T> {
    builder.fill(rows);
    let nulls = builder.valid.nulls(rows);
    PrimitiveArray::new(builder.values.clone().into(), Some(nulls))
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
    type Given<'a> = i64;
    type Builder = Fixed<i64>;
    type View = TimestampNanosecondArray;

    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
    }

    #[inline(always)]
    fn push(builder: &mut Self::Builder, row: usize, value: i64) {
        builder.push(row, value);
    }

    fn repeat(builder: &mut Self::Builder, rows: &Range<usize>, value: i64) {
        builder.repeat(rows, value);
    }

    fn encode(builder: &mut Self::Builder, rows: &Range<usize>, encoder: &mut Encoder) {
        builder.encode(rows, encoder);
    }

    fn array(builder: &mut Self::Builder, rows: usize) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(numbers::<TimestampNanosecondType>(builder, rows).with_timezone("UTC")))
    }

    fn clear(builder: &mut Self::Builder) {
        builder.clear();
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
    type Given<'a> = bool;
    type Builder = Flags;
    type View = BooleanArray;

    fn data_type() -> DataType {
        DataType::Boolean
    }

    #[inline(always)]
    fn push(builder: &mut Self::Builder, row: usize, value: bool) {
        builder.push(row, value);
    }

    fn repeat(builder: &mut Self::Builder, rows: &Range<usize>, value: bool) {
        builder.repeat(rows, value);
    }

    fn encode(builder: &mut Self::Builder, rows: &Range<usize>, encoder: &mut Encoder) {
        builder.encode(rows, encoder);
    }

    fn array(builder: &mut Self::Builder, rows: usize) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(BooleanArray::new(builder.values.buffer(rows), Some(builder.valid.nulls(rows)))))
    }

    fn clear(builder: &mut Self::Builder) {
        builder.clear();
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
    type Given<'a> = &'a str;
    type Builder = Sentences;
    type View = StringArray;

    fn data_type() -> DataType {
        DataType::Utf8
    }

    #[inline(always)]
    fn push(builder: &mut Self::Builder, row: usize, value: &str) {
        builder.push(row, value);
    }

    fn repeat(builder: &mut Self::Builder, rows: &Range<usize>, value: &str) {
        rows.clone().for_each(|row| builder.push(row, value));
    }

    fn encode(builder: &mut Self::Builder, rows: &Range<usize>, encoder: &mut Encoder) {
        builder.encode(rows, encoder);
    }

    fn array(builder: &mut Self::Builder, rows: usize) -> Result<ArrayRef, ArrowError> {
        builder.fill(rows);
        let offsets: Vec<i32> = std::iter::once(0).chain(builder.ends.iter().copied()).collect();
        let offsets = OffsetBuffer::new(offsets.into());
        let bytes = Buffer::from_slice_ref(&builder.bytes);
        Ok(Arc::new(StringArray::try_new(offsets, bytes, Some(builder.valid.nulls(rows)))?))
    }

    fn clear(builder: &mut Self::Builder) {
        builder.clear();
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

impl<W: Word> Cell for Words<W> {
    type Value = W;
    type Given<'a> = W::Given<'a>;
    type Builder = WordsBuilder<W>;
    type View = (UInt16Array, Rc<Vec<Option<W>>>);

    fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8))
    }

    #[inline(always)]
    fn push(builder: &mut Self::Builder, row: usize, value: W::Given<'_>) {
        builder.push(row, value);
    }

    fn repeat(builder: &mut Self::Builder, rows: &Range<usize>, value: W::Given<'_>) {
        builder.repeat(rows, value);
    }

    fn dictionary(builder: &mut Self::Builder, rows: &Range<usize>, id: &mut i64, encoder: &mut Encoder, out: &mut Vec<u8>) {
        builder.write_dictionary(rows, *id, encoder, out);
        *id += 1;
    }

    fn encode(builder: &mut Self::Builder, rows: &Range<usize>, encoder: &mut Encoder) {
        builder.encode(rows, encoder);
    }

    fn array(builder: &mut Self::Builder, rows: usize) -> Result<ArrayRef, ArrowError> {
        let (places, dictionary) = builder.arrays(rows);
        Ok(Arc::new(DictionaryArray::try_new(places, dictionary)?))
    }

    fn clear(builder: &mut Self::Builder) {
        builder.clear();
    }

    fn rewind(builder: &mut Self::Builder) {
        builder.rewind();
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
