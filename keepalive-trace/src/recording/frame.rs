//! Messages on the disk, each sealed with a checksum, so that a torn or damaged one is known before anybody believes it.
//!
//! Arrow lets a message's metadata be padded. The last eight bytes of ours are a mark and the CRC-32 of all the rest of the
//! message, which other readers skip as padding.
use std::io::{self, BufRead, Read};

use arrow_buffer::{Buffer, MutableBuffer};

use super::tail::MARK as MARK_BEHIND;

/// Before every message.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// After the last one.
pub(super) const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// Before the checksum.
const MARK: [u8; 4] = *b"ktrc";
/// Bytes of the mark and the checksum.
const SEAL: usize = 8;
/// Metadata and bodies of ours are far smaller: whatever says that it is larger is damaged, or not ours.
const LARGEST_METADATA: usize = 1 << 20;
const LARGEST_BODY: usize = 1 << 28;

/// Appends a message, sealed.
pub(super) fn write(metadata: &[u8], body: &[u8], out: &mut Vec<u8>) {
    let padded = metadata.len().next_multiple_of(8);
    out.extend_from_slice(&CONTINUATION);
    let from = out.len();
    // Metadata is some KiB.
    out.extend_from_slice(&((padded + SEAL) as u32).to_le_bytes());
    out.extend_from_slice(metadata);
    out.resize(from + 4 + padded, 0);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[from..]);
    let padding = &[0; 8][..body.len().next_multiple_of(8) - body.len()];
    crc.update(body);
    crc.update(padding);
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(padding);
}

/// A message as it lies on the disk.
pub(super) struct Message {
    /// The flatbuffer.
    pub(super) metadata: Buffer,
    pub(super) body: Buffer,
}

/// What comes next.
pub(super) enum Next {
    Message(Message),
    /// The mark of the end.
    End,
    /// The file ends within a message, of which it has this number of bytes; 0 where it ends after one, or where its recorder was killed
    /// while it copied what comes next.
    Torn(u64),
    /// Something follows the mark of the end.
    Beyond,
    /// A message that nobody sealed, without its body.
    Foreign(Message),
    /// Why this is no message.
    Damaged(&'static str),
}

/// Reads messages, one after the other.
pub(super) struct Frames<R> {
    input: R,
    /// Whether a checksum that is wrong matters.
    strict: bool,
    /// Where the next message begins.
    pub(super) at: u64,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(input: R, strict: bool) -> Self {
        Self { input, strict, at: 0 }
    }

    /// What comes next, unread: some bytes of it, and none at the end.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn peek(&mut self) -> io::Result<&[u8]> {
        peek(&mut self.input)
    }

    /// # Errors
    /// When the file can't be read.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        let mut head = [0; 8];
        let got = fill(&mut self.input, &mut head)?;
        if got < head.len() {
            return Ok(Next::Torn(got as u64));
        }
        if head == END {
            self.at += head.len() as u64;
            return Ok(match peek(&mut self.input)? {
                [] => Next::End,
                behind if is_marked(behind) => Next::Torn(0),
                _ => Next::Beyond,
            });
        }
        if head == [0; 8] && is_marked(peek(&mut self.input)?) {
            return Ok(Next::Torn(0));
        }
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head[..4] != CONTINUATION || !length.is_multiple_of(8) || !(SEAL..=LARGEST_METADATA).contains(&length) {
            return Ok(Next::Damaged("no message begins here"));
        }
        let mut metadata = MutableBuffer::from_len_zeroed(length);
        let got = fill(&mut self.input, &mut metadata)?;
        if got < length {
            return Ok(Next::Torn((head.len() + got) as u64));
        }
        let metadata: Buffer = metadata.into();
        let flat = metadata.slice_with_length(0, length - SEAL);
        let seal = &metadata[length - SEAL..];
        if self.strict && seal[..4] != MARK {
            return Ok(Next::Foreign(Message { metadata, body: Buffer::default() }));
        }
        let Some(body) = arrow_ipc::root_as_message(&flat).ok().and_then(|message| usize::try_from(message.bodyLength()).ok())
        else {
            return Ok(Next::Damaged("a message makes no sense"));
        };
        if body > LARGEST_BODY || !body.is_multiple_of(8) {
            return Ok(Next::Damaged("a message makes no sense"));
        }
        let mut bytes = MutableBuffer::with_capacity(body.min(1 << 24));
        let got = extend(&mut self.input, &mut bytes, body)?;
        if got < body {
            return Ok(Next::Torn((head.len() + length + got) as u64));
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head[4..]);
        crc.update(&flat);
        crc.update(&bytes);
        if self.strict && seal[4..] != crc.finalize().to_le_bytes() {
            return Ok(Next::Damaged("a message's checksum is wrong"));
        }
        self.at += (head.len() + length + body) as u64;
        Ok(Next::Message(Message { metadata: flat, body: bytes.into() }))
    }
}

/// Whether a copy follows that was not finished.
fn is_marked(behind: &[u8]) -> bool {
    !behind.is_empty() && behind.iter().zip(MARK_BEHIND).all(|(byte, mark)| *byte == mark)
}

fn peek(input: &mut impl BufRead) -> io::Result<&[u8]> {
    while let Err(error) = input.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    input.fill_buf()
}

/// Fills the buffer as far as there is something.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// The same, with no more memory than there is something.
fn extend(input: &mut impl Read, buffer: &mut MutableBuffer, length: usize) -> io::Result<usize> {
    const STEP: usize = 1 << 24;
    while buffer.len() < length {
        let from = buffer.len();
        buffer.resize((from + STEP).min(length), 0);
        let to = buffer.len();
        let got = fill(input, &mut buffer.as_slice_mut()[from..])?;
        if from + got < to {
            return Ok(from + got);
        }
    }
    Ok(length)
}
