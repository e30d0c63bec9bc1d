//! A JSON object, written key by key into a line. Nothing allocates once the line has grown.
use crate::output::{
    append::Append as _,
    harmless::{is_plain, json_text},
};

/// An object that is being written. Keys are plain text.
pub(super) struct Object<'a> {
    pub(super) out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    /// Appends a key; its value follows.
    #[inline]
    pub(super) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.out.text(if self.is_empty { "\"" } else { ",\"" });
        self.is_empty = false;
        self.out.text(key);
        self.out.text("\":");
        self.out
    }

    /// Text that needs no escapes: our own names.
    #[inline]
    pub(super) fn name(&mut self, key: &str, name: &str) {
        self.quoted(key, |out| out.text(name));
    }

    /// What `fill` appends between quotes: it needs no escapes.
    #[inline]
    pub(super) fn quoted(&mut self, key: &str, fill: impl FnOnce(&mut Vec<u8>)) {
        let out = self.key(key);
        out.push(b'"');
        fill(out);
        out.push(b'"');
    }

    /// Any text.
    pub(super) fn text(&mut self, key: &str, text: &str) {
        if is_plain(text) && !text.contains(['"', '\\']) {
            return self.name(key, text);
        }
        json_text(self.key(key), text);
    }

    pub(super) fn number(&mut self, key: &str, number: impl Into<u64>) {
        self.key(key).number(number.into());
    }

    pub(super) fn signed(&mut self, key: &str, number: impl Into<i64>) {
        self.key(key).signed(number.into());
    }

    pub(super) fn flag(&mut self, key: &str, flag: bool) {
        self.key(key).text(if flag { "true" } else { "false" });
    }

    /// An object within this one.
    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::begin(self.key(key));
        fill(&mut object);
        object.end();
    }

    /// A list of names; nothing where it is empty.
    pub(super) fn names(&mut self, key: &str, names: impl Iterator<Item = &'static str>) {
        let mut names = names.peekable();
        if names.peek().is_none() {
            return;
        }
        let out = self.key(key);
        for (place, name) in names.enumerate() {
            out.text(if place == 0 { "[\"" } else { "\",\"" });
            out.text(name);
        }
        out.text("\"]");
    }

    /// The same as the others, where there is a value.
    pub(super) fn name_if(&mut self, key: &str, name: Option<&str>) {
        if let Some(name) = name {
            self.name(key, name);
        }
    }

    pub(super) fn text_if(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    pub(super) fn number_if(&mut self, key: &str, number: Option<impl Into<u64>>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    pub(super) fn signed_if(&mut self, key: &str, number: Option<impl Into<i64>>) {
        if let Some(number) = number {
            self.signed(key, number);
        }
    }
}
