//! Columns under their names: those that are being filled, and a look at a batch of them.
use std::ops::Range;

use arrow_buffer::NullBuffer;

use super::cells::Cell;

/// Columns by their names, and all rows that are not written yet.
macro_rules! columns {
    ($($(#[doc = $doc:literal])+ $name:ident $(as $key:literal)?: $cell:ty,)+) => {
        /// Rows that are not written yet, column by column.
        #[derive(Default)]
        pub(super) struct Columns {
            rows: usize,
            $($(#[doc = $doc])+ pub(super) $name: $crate::recording::layout::Column<$cell>,)+
        }

        impl Columns {
            pub(super) fn fields() -> Vec<arrow_schema::Field> {
                vec![$(arrow_schema::Field::new(key!($name $($key)?), <$cell as $crate::recording::cells::Cell>::data_type(), true)),+]
            }

            /// Ends a row: columns that got no value in it hold nothing there.
            pub(super) fn end_row(&mut self) {
                self.rows += 1;
            }

            /// All columns, empty again.
            pub(super) fn finish(&mut self) -> Result<Vec<arrow_array::ArrayRef>, arrow_schema::ArrowError> {
                let columns = vec![$(<$cell as $crate::recording::cells::Cell>::array(&mut self.$name.0, self.rows)?),+];
                self.clear();
                Ok(columns)
            }

            /// Forgets all rows.
            pub(super) fn clear(&mut self) {
                $(<$cell as $crate::recording::cells::Cell>::clear(&mut self.$name.0);)+
                self.rows = 0;
            }
        }
    };
}

/// A row by the names of its columns, for rows that are few.
macro_rules! row {
    ($($(#[doc = $doc:literal])+ $name:ident $(as $key:literal)?: $cell:ty,)+) => {
        /// A row.
        #[derive(Default)]
        pub(super) struct Row<'a> {
            $(pub(super) $name: Option<<$cell as $crate::recording::cells::Cell>::Given<'a>>,)+
        }

        impl Columns {
            pub(super) fn push(&mut self, row: Row<'_>) {
                $(self.$name.put_some(self.rows, row.$name);)+
                self.end_row();
            }
        }
    };
}

/// Columns as messages of a stream.
macro_rules! messages {
    ($($(#[doc = $doc:literal])+ $name:ident $(as $key:literal)?: $cell:ty,)+) => {
        impl Columns {
            /// How many rows there are.
            pub(super) fn rows(&self) -> usize {
                self.rows
            }

            /// Appends the messages of some rows.
            pub(super) fn encode(&mut self, rows: &std::ops::Range<usize>, encoder: &mut Encoder, out: &mut Vec<u8>) {
                let mut id = 0;
                $(<$cell as $crate::recording::cells::Cell>::dictionary(&mut self.$name.0, rows, &mut id, encoder, out);)+
                $(<$cell as $crate::recording::cells::Cell>::encode(&mut self.$name.0, rows, encoder);)+
                encoder.batch(rows.len(), out);
            }

            /// Takes back the dictionaries that were written since the rows were forgotten.
            pub(super) fn rewind(&mut self) {
                $(<$cell as $crate::recording::cells::Cell>::rewind(&mut self.$name.0);)+
            }
        }
    };
}

/// A column's name.
macro_rules! key {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $key:literal) => {
        $key
    };
}

/// A look at a batch, column by column.
macro_rules! view {
    ($($(#[doc = $doc:literal])+ $name:ident $(as $key:literal)?: $cell:ty,)+) => {
        #[expect(dead_code, reason = "the host is in the header as well")]
        /// A look at a batch. Columns that it doesn't have, or that are of another type, are empty, as those are that hold nothing.
        pub(super) struct View {
            $(pub(super) $name: Look<$cell>,)+
        }

        impl View {
            pub(super) fn of(batch: &arrow_array::RecordBatch, seen: &mut Seen) -> Self {
                Self {
                    $($name: Look(batch.column_by_name(key!($name $($key)?))
                        .filter(|column| column.null_count() < column.len())
                        .and_then(|column| <$cell as $crate::recording::cells::Cell>::view(key!($name $($key)?), column, seen))),)+
                }
            }
        }
    };
}

/// A column that is being filled. Rows come in order; those that hold nothing are left out.
pub(super) struct Column<C: Cell>(pub(super) C::Builder);

impl<C: Cell> Default for Column<C> {
    fn default() -> Self {
        Self(C::Builder::default())
    }
}

impl<C: Cell> Column<C> {
    #[inline(always)]
    pub(super) fn put(&mut self, row: usize, value: C::Given<'_>) {
        C::push(&mut self.0, row, value);
    }

    #[inline(always)]
    pub(super) fn put_some(&mut self, row: usize, value: Option<C::Given<'_>>) {
        if let Some(value) = value {
            C::push(&mut self.0, row, value);
        }
    }

    /// The same value in all of these rows.
    pub(super) fn repeat(&mut self, rows: &Range<usize>, value: C::Given<'_>) {
        C::repeat(&mut self.0, rows, value);
    }
}

/// A look at a column.
pub(super) struct Look<C: Cell>(pub(super) Option<C::View>);

impl<C: Cell> Look<C> {
    #[inline(always)]
    pub(super) fn at(&self, row: usize) -> Option<C::Value> {
        C::at(self.0.as_ref()?, row)
    }

    pub(super) fn nulls(&self) -> Option<&NullBuffer> {
        C::nulls(self.0.as_ref()?)
    }

    /// Of a row that is known to hold something: [`Together`].
    #[inline(always)]
    pub(super) fn get(&self, row: usize) -> Option<C::Value> {
        C::get(self.0.as_ref()?, row)
    }
}

/// Rows in which several columns hold something, looked up once for all of them.
pub(super) struct Together(Option<NullBuffer>);

impl Together {
    pub(super) fn of<'a>(columns: impl IntoIterator<Item = Option<&'a NullBuffer>>) -> Self {
        Self(columns.into_iter().fold(None, |all, one| NullBuffer::union(all.as_ref(), one)))
    }

    #[inline(always)]
    pub(super) fn hold(&self, row: usize) -> bool {
        self.0.as_ref().is_none_or(|rows| row < rows.len() && rows.is_valid(row))
    }
}

pub(super) use {columns, key, messages, row, view};
