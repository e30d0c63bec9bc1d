//! The columns: each with its type, and how it is filled and looked at. Their names are the keys of the JSON lines.
use std::{any::Any, borrow::Cow, marker::PhantomData, net::IpAddr, rc::Rc, sync::Arc};

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt16Array,
    builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder},
    cast::AsArray as _,
    types::{Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use hashbrown::HashMap;

use super::words::{Kind, Way, Word};
use crate::model::{
    errno::Errno,
    event::{How, Outcome, Place, Precision, ProbeResult, ReplyKind},
    owner::Comm,
    settings::Origin,
    state::State,
    sysctl::Name,
    verdict::Verdict,
};

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
        (!view.is_null(row)).then(|| view.value(row))
    }
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
        (!view.is_null(row)).then(|| view.value(row))
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
        (!view.is_null(row)).then(|| view.value(row))
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
        if keys.is_null(row) { None } else { words.get(usize::from(keys.value(row)))?.clone() }
    }
}

/// Columns by their names: a row of them, and all rows that are not written yet.
macro_rules! columns {
    ($($(#[doc = $doc:literal])+ $name:ident $(as $key:literal)?: $cell:ty,)+) => {
        /// A row.
        #[derive(Default)]
        pub(super) struct Row {
            $($(#[doc = $doc])+ pub(super) $name: Option<<$cell as $crate::recording::columns::Cell>::Value>,)+
        }

        /// Rows that are not written yet, column by column.
        #[derive(Default)]
        pub(super) struct Columns {
            $($name: <$cell as $crate::recording::columns::Cell>::Builder,)+
        }

        impl Columns {
            pub(super) fn fields() -> Vec<arrow_schema::Field> {
                vec![$(arrow_schema::Field::new(key!($name $($key)?), <$cell as $crate::recording::columns::Cell>::data_type(), true)),+]
            }

            pub(super) fn push(&mut self, row: Row) {
                $(<$cell as $crate::recording::columns::Cell>::push(&mut self.$name, row.$name);)+
            }

            /// All columns, empty again.
            pub(super) fn finish(&mut self) -> Result<Vec<arrow_array::ArrayRef>, arrow_schema::ArrowError> {
                Ok(vec![$(<$cell as $crate::recording::columns::Cell>::finish(&mut self.$name)?),+])
            }
        }
    };
}

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
            pub(super) fn of(batch: &RecordBatch, seen: &mut Seen) -> Self {
                Self {
                    $($name: Look(batch.column_by_name(key!($name $($key)?))
                        .filter(|column| column.null_count() < column.len())
                        .and_then(|column| <$cell as $crate::recording::columns::Cell>::view(key!($name $($key)?), column, seen))),)+
                }
            }
        }
    };
}

/// A look at a column.
pub(super) struct Look<C: Cell>(Option<C::View>);

impl<C: Cell> Look<C> {
    #[inline(always)]
    pub(super) fn at(&self, row: usize) -> Option<C::Value> {
        C::at(self.0.as_ref()?, row)
    }
}

pub(super) use columns;
pub(super) use key;

/// Both, of events.
macro_rules! events {
    ($($column:tt)+) => {
        columns! { $($column)+ }
        view! { $($column)+ }
    };
}

events! {
    /// When it happened, by the wall clock: CLOCK_MONOTONIC and the recording's `wall_offset_ns`.
    time: Moment,
    /// What it is: `open`, `owner`, `settings`, `timer`, `probe`, `reply`, `reset`, `end`, `sysctl`, `lost` or `stop`.
    event: Words<Kind>,
    /// The host's name, the same in every row: for whoever has the recordings of many.
    host: Words<Arc<str>>,
    /// The connection's id; the JSON lines have it as 16 hex digits.
    conn: Number<UInt64Type>,
    /// The kernel's socket cookie.
    cookie: Number<UInt64Type>,
    /// The socket's address family: 4 or 6. An IPv4-mapped connection has IPv4 addresses and a 6 here.
    ip: Number<UInt8Type>,
    /// Local address.
    laddr: Words<IpAddr>,
    /// Local port.
    lport: Number<UInt16Type>,
    /// Remote address.
    raddr: Words<IpAddr>,
    /// Remote port.
    rport: Number<UInt16Type>,
    /// Inode of the network namespace.
    netns: Number<UInt32Type>,
    /// The socket's cgroup v2, as its path from the hierarchy's root.
    cgroup: Words<Arc<str>>,
    /// The socket's state, by the kernel's name without TCP_.
    state: Words<State>,
    /// The owner's process id.
    pid: Number<UInt32Type>,
    /// The owner's name. Bytes that are no UTF-8 are written as `\xf0`, and a backslash as `\\`.
    comm: Words<Comm>,
    /// How many processes hold the socket.
    holders: Number<UInt32Type>,
    /// SO_KEEPALIVE.
    keepalive: Flag,
    /// tcp_keepalive_time in force, seconds.
    time_s: Number<Int32Type>,
    /// tcp_keepalive_intvl in force, seconds.
    intvl_s: Number<Int32Type>,
    /// tcp_keepalive_probes in force.
    probes: Number<UInt32Type>,
    /// TCP_USER_TIMEOUT, milliseconds; 0: none.
    user_timeout_ms: Number<UInt32Type>,
    /// Where `time_s` comes from: `socket` or `sysctl`.
    origin_time: Words<Origin>,
    /// Where `intvl_s` comes from.
    origin_intvl: Words<Origin>,
    /// Where `probes` comes from.
    origin_probes: Words<Origin>,
    /// Since the last ACK or data from the peer, milliseconds.
    idle_ms: Number<UInt64Type>,
    /// Probes sent and not answered before the event.
    probes_out: Number<UInt32Type>,
    /// `open`: how it came to be known.
    how: Words<How>,
    /// `open`: how long the handshake took, microseconds.
    connect_us: Number<UInt64Type>,
    /// `settings`: the process that changed them.
    by_pid: Number<UInt32Type>,
    /// `settings`: its name.
    by_comm: Words<Comm>,
    /// `settings`: `setsockopt`, or `sysctl` where the timer picked up what was written.
    via: Words<Way>,
    /// `settings`: so long before the sysctl was written, milliseconds.
    waited_ms: Number<UInt32Type>,
    /// `probe`, `reply`: which probe of its round, from 1.
    n: Number<UInt32Type>,
    /// `probe`: `sent`, `dropped-locally` or `congested`.
    result: Words<ProbeResult>,
    /// `timer`: why it sent nothing.
    outcome: Words<Outcome>,
    /// `probe`, `timer`: until the timer's next deadline, milliseconds.
    next_ms: Number<Int64Type>,
    /// `probe`, `timer`: fired so long after its deadline, milliseconds.
    late_ms: Number<Int64Type>,
    /// `probe`, `timer`: of that, what the timer wheel explains, milliseconds.
    wheel_ms: Number<Int64Type>,
    /// `reply`: `ack` or `reset`.
    kind: Words<ReplyKind>,
    /// `reply`: from the probe to the answer, microseconds.
    rtt_us: Number<UInt64Type>,
    /// `reply`: how exact that is: `exact` or `jiffy`.
    precision: Words<Precision>,
    /// `reply`: probes of the round before it that nobody answered.
    missed: Number<UInt32Type>,
    /// `reset`: the kernel's name of the reason.
    reason: Words<Arc<str>>,
    /// `reset`: why the keepalive timer ended the connection; empty where it was not the timer.
    cause: Words<Verdict>,
    /// `reset`, `sysctl`: the process that did it.
    task_pid: Number<UInt32Type>,
    /// `reset`, `sysctl`: its name.
    task_comm: Words<Comm>,
    /// `end`: what ended the connection.
    verdict: Words<Verdict>,
    /// `end`: what the application was told; `sysctl`: why the write was refused.
    errno: Words<Errno>,
    /// `end`: probes of the whole connection.
    probes_sent: Number<UInt32Type>,
    /// `end`: of these, those that nobody answered.
    unanswered: Number<UInt32Type>,
    /// `end`: since it was connected or accepted, milliseconds.
    age_ms: Number<UInt64Type>,
    /// `end`: the timer had been armed before a sysctl that it follows was written.
    armed_before_sysctl: Flag,
    /// `end`: one sentence with the evidence.
    why: Text,
    /// `sysctl`: its name.
    name: Words<Name>,
    /// `sysctl`: the value before, seconds or a number.
    old: Number<Int64Type>,
    /// `sysctl`: the value after.
    new: Number<Int64Type>,
    /// `sysctl`: connections in that namespace; empty where they were not counted.
    sockets: Number<UInt64Type>,
    /// `sysctl`: those that follow at once.
    follow_now: Number<UInt64Type>,
    /// `sysctl`: those whose timer keeps its deadline.
    follow_later: Number<UInt64Type>,
    /// `sysctl`: those with a value of their own.
    never_socket: Number<UInt64Type>,
    /// `sysctl`: those without keepalive.
    never_off: Number<UInt64Type>,
    /// `sysctl`: when the first of those timers fires.
    nearest_at: Moment,
    /// `sysctl`: when half of them will have fired.
    median_at: Moment,
    /// `sysctl`: when all of them will have.
    last_at: Moment,
    /// `lost`: how many; `stop`: how many events the recording has before it.
    count: Number<UInt64Type>,
    /// `lost`: where.
    place as "where": Words<Place>,
}
