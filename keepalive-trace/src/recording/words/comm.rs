//! A task's name as a word.
use std::{borrow::Cow, io::Write as _};

use super::{Word, given_as_it_is};
use crate::model::owner::Comm;

/// A task's name need not be text: bytes that are no UTF-8 are written as `\xf0`, and a backslash as `\\`, so that every name
/// comes back as it was.
impl Word for Comm {
    const KNOWN: &[Self] = &[];

    given_as_it_is!();

    fn text(&self) -> Cow<'_, str> {
        let bytes = self.bytes();
        if let Ok(text) = str::from_utf8(bytes)
            && !text.contains('\\')
        {
            return Cow::Borrowed(text);
        }
        let mut escaped = Vec::with_capacity(64);
        self.append(&mut escaped);
        Cow::Owned(String::from_utf8_lossy(&escaped).into_owned())
    }

    fn append(&self, out: &mut Vec<u8>) {
        for chunk in self.bytes().utf8_chunks() {
            for byte in chunk.valid().bytes() {
                out.extend_from_slice(if byte == b'\\' { b"\\\\" } else { std::slice::from_ref(&byte) });
            }
            for byte in chunk.invalid() {
                // A Vec takes everything.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if !text.contains('\\') {
            return Self::exactly(text.as_bytes());
        }
        let mut bytes = Vec::with_capacity(16);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            bytes.extend_from_slice(before.as_bytes());
            rest = if let Some(rest) = after.strip_prefix('\\') {
                bytes.push(b'\\');
                rest
            } else {
                bytes.push(u8::from_str_radix(after.strip_prefix('x')?.get(..2)?, 16).ok()?);
                after.get(3..)?
            };
        }
        bytes.extend_from_slice(rest.as_bytes());
        Self::exactly(&bytes)
    }
}
