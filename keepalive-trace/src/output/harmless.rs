//! Text from outside, made harmless: control characters, and those that turn or hide text, do nothing to whoever reads it.
use std::{
    borrow::Cow,
    io::{self, Write as _},
};

use anyhow::Result;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::model::owner::Comm;

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Nearly all text is this.
fn is_plain(text: &str) -> bool {
    // Without a way out in between, several bytes are looked at together.
    text.bytes().fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'~'))
}

/// The same, in a string of JSON.
fn is_plain_json(text: &str) -> bool {
    text.bytes().fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\'))
}

/// The same, of a task's name, which is so in both; without its NULs.
pub(super) fn is_plain_comm(comm: &Comm) -> bool {
    let is_plain = |byte| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    comm.padded().iter().fold(true, |all, byte| all & (is_plain(*byte) | (*byte == 0)))
}

/// For people: what is harmful is written out.
pub fn escape(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Appends `value` as a line of JSON that may be shown on a terminal as well.
pub(super) fn json_line(out: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Harmless))?;
    out.push(b'\n');
    Ok(())
}

/// Appends text for people: what is harmful is written out.
pub(super) fn append_escaped(out: &mut Vec<u8>, text: &str) {
    if is_plain(text) {
        return out.extend_from_slice(text.as_bytes());
    }
    for c in text.chars() {
        if is_harmful(c) {
            c.escape_default().for_each(|c| append_char(out, c));
        } else {
            append_char(out, c);
        }
    }
}

/// Appends text within a JSON string that may be shown on a terminal as well.
pub(super) fn append_json(out: &mut Vec<u8>, text: &str) {
    if is_plain_json(text) {
        return out.extend_from_slice(text.as_bytes());
    }
    for c in text.chars() {
        let short = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{8}' => "\\b",
            '\t' => "\\t",
            '\n' => "\\n",
            '\u{c}' => "\\f",
            '\r' => "\\r",
            c if is_harmful(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // A Vec takes everything.
                    let _ = write!(out, "\\u{unit:04x}");
                }
                continue;
            }
            c => {
                append_char(out, c);
                continue;
            }
        };
        out.extend_from_slice(short.as_bytes());
    }
}

fn append_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// JSON as serde writes it, but for what is harmful in strings: that becomes `\uXXXX`, and parses to the same.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = CompactFormatter;
        if is_plain(fragment) {
            return plain.write_string_fragment(out, fragment);
        }
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_harmful(*c)) {
            plain.write_string_fragment(out, &rest[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        plain.write_string_fragment(out, rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::output::append::appended;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn text_is_escaped_in_place_as_it_is_elsewhere(text in "[\\PC\\pC\"\\\\]*") {
            prop_assert_eq!(appended(|out| append_escaped(out, &text)), escape(&text));
            let mut line = Vec::new();
            json_line(&mut line, &text).unwrap();
            let appended = appended(|out| append_json(out, &text));
            prop_assert_eq!(format!("\"{appended}\"\n"), String::from_utf8(line).unwrap());
        }
    }

    #[test]
    fn terminal_escapes_and_hidden_marks_are_made_visible() {
        assert_eq!(escape("ok \u{1b}[31m\n\u{202e}x"), "ok \\u{1b}[31m\\n\\u{202e}x");
        assert_eq!(escape("naïve-日本"), "naïve-日本");
    }

    #[test]
    fn json_is_as_harmless_and_parses_to_the_same() {
        let hostile = "a\u{7f}b\u{9b}31m\u{202e}c\u{e0041}\"\\\u{1b}\n日本\u{61c}\u{1f600}";
        let mut line = Vec::new();
        json_line(&mut line, &hostile).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, concat!(r#""a\u007fb\u009b31m\u202ec\udb40\udc41\"\\\u001b\n日本\u061c"#, "\u{1f600}\"\n"));
        assert!(!line.trim_end().chars().any(is_harmful));
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), hostile);
    }
}
