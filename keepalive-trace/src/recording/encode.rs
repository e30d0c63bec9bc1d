//! Columns into the messages of an Arrow stream. All buffers are used again, so that a batch costs no memory once they have grown.
//!
//! Arrow's own encoder compresses each buffer of each column, though most columns of a batch hold nothing; and it allocates each.
use std::ops::Range;

use anyhow::{Context as _, Result};
use arrow_buffer::{ArrowNativeType, ToByteSlice as _};
use arrow_ipc::{
    BodyCompressionBuilder, BodyCompressionMethod, Buffer, CompressionType, DictionaryBatchBuilder, FieldNode, MessageBuilder,
    MessageHeader, MetadataVersion, RecordBatch, RecordBatchBuilder,
};
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};
use zstd::{
    bulk::Compressor,
    zstd_safe::{CParameter, compress_bound},
};

use super::frame;

/// zstd's: events come cheap, and go on coming.
const LEVEL: i32 = 1;
/// Shorter buffers are not compressed: zstd's own head takes as much.
const SHORTEST: usize = 64;
/// Numbers of 64 bits begin alike, and zstd takes each beginning for a match: much work for little room. So for this number of them
/// and more, matches have to be as long as this. 0 is zstd's own choice.
const MANY: usize = 4096;
const LONG_MATCH: u32 = 7;
const ANY_MATCH: u32 = 0;
/// Before a buffer that is not compressed.
const AS_IT_IS: i64 = -1;

/// Puts a batch together, column by column.
pub(super) struct Encoder {
    metadata: FlatBufferBuilder<'static>,
    nodes: Vec<FieldNode>,
    buffers: Vec<Buffer>,
    body: Vec<u8>,
    zstd: Compressor<'static>,
    /// The shortest match that zstd looks for.
    shortest: u32,
    packed: Vec<u8>,
    /// Buffers of zeros in this body: how many, and where they lie compressed.
    zeros: Vec<(usize, Range<usize>)>,
    /// What a column puts together before it is compressed.
    pub(super) scratch: Vec<u8>,
}

impl Encoder {
    /// # Errors
    /// When zstd has no memory.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            metadata: FlatBufferBuilder::new(),
            nodes: Vec::new(),
            buffers: Vec::new(),
            body: Vec::new(),
            zstd: Compressor::new(LEVEL).context("cannot set up compression")?,
            shortest: ANY_MATCH,
            packed: Vec::new(),
            zeros: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Begins a column of `rows` rows, `nulls` of which hold nothing. Its buffers follow.
    pub(super) fn column(&mut self, rows: usize, nulls: usize) {
        self.nodes.push(FieldNode::new(rows as i64, nulls as i64));
    }

    /// Appends a buffer of the present column.
    pub(super) fn buffer(&mut self, bytes: &[u8]) {
        let from = self.body.len();
        if !bytes.is_empty() {
            self.pack(bytes);
        }
        self.place(from);
    }

    /// Appends numbers as a buffer.
    pub(super) fn numbers<T: ArrowNativeType>(&mut self, numbers: &[T]) {
        let is_long = size_of::<T>() >= 8 && numbers.len() >= MANY;
        self.seek(if is_long { LONG_MATCH } else { ANY_MATCH });
        self.buffer(numbers.to_byte_slice());
        self.seek(ANY_MATCH);
    }

    /// From now on, zstd looks for matches of this length. Were it to refuse, recordings would be as right, and slower.
    fn seek(&mut self, shortest: u32) {
        if self.shortest != shortest && self.zstd.set_parameter(CParameter::MinMatch(shortest)).is_ok() {
            self.shortest = shortest;
        }
    }

    /// Appends [`Self::scratch`] as a buffer.
    pub(super) fn buffer_of_scratch(&mut self) {
        let scratch = std::mem::take(&mut self.scratch);
        self.buffer(&scratch);
        self.scratch = scratch;
    }

    /// Appends a buffer of zeros. Most columns are empty, so that zeros are compressed once for all of the same length.
    pub(super) fn zeros(&mut self, length: usize) {
        let from = self.body.len();
        if let Some((_, range)) = self.zeros.iter().find(|(zeros, _)| *zeros == length) {
            self.body.extend_from_within(range.clone());
        } else if length > 0 {
            self.scratch.clear();
            self.scratch.resize(length, 0);
            let scratch = std::mem::take(&mut self.scratch);
            self.pack(&scratch);
            self.scratch = scratch;
            self.zeros.push((length, from..self.body.len()));
        }
        self.place(from);
    }

    /// Appends the length of what follows, and that, compressed where this makes it shorter.
    fn pack(&mut self, bytes: &[u8]) {
        if bytes.len() >= SHORTEST {
            // There is room for whatever comes of it; were there none, the bytes would stay as they are.
            self.packed.clear();
            self.packed.reserve(compress_bound(bytes.len()));
            let packed = self.zstd.compress_to_buffer(bytes, &mut self.packed).unwrap_or(bytes.len());
            if packed < bytes.len() {
                self.body.extend_from_slice(&(bytes.len() as i64).to_le_bytes());
                return self.body.extend_from_slice(&self.packed);
            }
        }
        self.body.extend_from_slice(&AS_IT_IS.to_le_bytes());
        self.body.extend_from_slice(bytes);
    }

    /// Notes that a buffer lies from here to the end.
    fn place(&mut self, from: usize) {
        self.buffers.push(Buffer::new(from as i64, (self.body.len() - from) as i64));
        self.body.resize(self.body.len().next_multiple_of(8), 0);
    }

    /// Appends the message of a batch of these columns, and begins another.
    pub(super) fn batch(&mut self, rows: usize, out: &mut Vec<u8>) {
        let batch = self.columns(rows).as_union_value();
        self.message(MessageHeader::RecordBatch, batch, out);
    }

    /// Appends the message of a dictionary, whose words are the only column, and begins another.
    pub(super) fn dictionary(&mut self, id: i64, words: usize, out: &mut Vec<u8>) {
        let data = self.columns(words);
        let mut dictionary = DictionaryBatchBuilder::new(&mut self.metadata);
        dictionary.add_id(id);
        dictionary.add_data(data);
        let dictionary = dictionary.finish().as_union_value();
        self.message(MessageHeader::DictionaryBatch, dictionary, out);
    }

    fn columns(&mut self, rows: usize) -> WIPOffset<RecordBatch<'static>> {
        let Self { metadata, nodes, buffers, .. } = self;
        metadata.reset();
        let mut compression = BodyCompressionBuilder::new(metadata);
        compression.add_method(BodyCompressionMethod::BUFFER);
        compression.add_codec(CompressionType::ZSTD);
        let compression = compression.finish();
        let buffers = metadata.create_vector(buffers);
        let nodes = metadata.create_vector(nodes);
        let mut batch = RecordBatchBuilder::new(metadata);
        batch.add_length(rows as i64);
        batch.add_nodes(nodes);
        batch.add_buffers(buffers);
        batch.add_compression(compression);
        WIPOffset::new(batch.finish().value())
    }

    fn message(&mut self, kind: MessageHeader, header: WIPOffset<UnionWIPOffset>, out: &mut Vec<u8>) {
        let mut message = MessageBuilder::new(&mut self.metadata);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(kind);
        message.add_bodyLength(self.body.len() as i64);
        message.add_header(header);
        let message = message.finish();
        self.metadata.finish(message, None);
        frame::write(self.metadata.finished_data(), &self.body, out);
        self.nodes.clear();
        self.buffers.clear();
        self.body.clear();
        self.zeros.clear();
    }
}
