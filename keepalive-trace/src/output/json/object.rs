//! A JSON object, written key by key into a line. Nothing allocates once the line has grown.
use crate::{
    model::owner::Comm,
    output::{
        append::Append as _,
        harmless::{append_json, is_plain_comm},
    },
};

/// A key with all that stands around it, in one piece.
macro_rules! key {
    ($key:literal) => {
        concat!(",\"", $key, "\":")
    };
}

pub(super) use key;

/// An object that is being written. Keys are those of [`key!`].
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// Where it begins: at its first comma, which becomes the brace.
    from: usize,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        let from = out.len();
        Self { out, from }
    }

    pub(super) fn end(self) {
        match self.out.get_mut(self.from) {
            Some(first) => *first = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
    }

    /// Appends a key; its value follows.
    #[inline(always)]
    pub(super) fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        self.out.text(key);
        self.out
    }

    /// Keys with their values, as another object has them.
    pub(super) fn members(&mut self, members: &[u8]) {
        self.out.extend_from_slice(members);
    }

    /// Appends a key that is known only now.
    pub(super) fn any_key(&mut self, key: &str) -> &mut Vec<u8> {
        for text in [",\"", key, "\":"] {
            self.out.text(text);
        }
        self.out
    }

    /// Text that needs no escapes: our own names.
    #[inline(always)]
    pub(super) fn name(&mut self, key: &'static str, name: &str) {
        self.quoted(key, |out| out.text(name));
    }

    /// What `fill` appends between quotes, with its escapes.
    #[inline(always)]
    pub(super) fn quoted(&mut self, key: &'static str, fill: impl FnOnce(&mut Vec<u8>)) {
        let out = self.key(key);
        out.push(b'"');
        fill(out);
        out.push(b'"');
    }

    /// Any text.
    #[inline(always)]
    pub(super) fn text(&mut self, key: &'static str, text: &str) {
        self.quoted(key, |out| append_json(out, text));
    }

    /// A task's name, in which bytes that are no UTF-8 are replaced.
    #[inline(always)]
    pub(super) fn comm(&mut self, key: &'static str, comm: &Comm) {
        self.quoted(key, |out| {
            if is_plain_comm(comm) {
                return out.comm(comm);
            }
            for chunk in comm.bytes().utf8_chunks() {
                append_json(out, chunk.valid());
                out.text(if chunk.invalid().is_empty() { "" } else { "\u{fffd}" });
            }
        });
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: &'static str, number: impl Into<u64>) {
        self.key(key).number(number.into());
    }

    #[inline(always)]
    pub(super) fn signed(&mut self, key: &'static str, number: impl Into<i64>) {
        self.key(key).signed(number.into());
    }

    #[inline(always)]
    pub(super) fn flag(&mut self, key: &'static str, flag: bool) {
        self.key(key).text(if flag { "true" } else { "false" });
    }

    /// An object within this one.
    pub(super) fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::begin(self.key(key));
        fill(&mut object);
        object.end();
    }

    /// A list of names; nothing where it is empty.
    pub(super) fn names(&mut self, key: &'static str, names: impl Iterator<Item = &'static str>) {
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
    #[inline(always)]
    pub(super) fn name_if(&mut self, key: &'static str, name: Option<&str>) {
        if let Some(name) = name {
            self.name(key, name);
        }
    }

    #[inline(always)]
    pub(super) fn text_if(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    #[inline(always)]
    pub(super) fn number_if(&mut self, key: &'static str, number: Option<impl Into<u64>>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    #[inline(always)]
    pub(super) fn signed_if(&mut self, key: &'static str, number: Option<impl Into<i64>>) {
        if let Some(number) = number {
            self.signed(key, number);
        }
    }
}
