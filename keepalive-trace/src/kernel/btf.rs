//! A reader of the BPF Type Format (the kernel's Documentation/bpf/btf.rst), as small as the few lookups we need.
//!
//! It borrows the bytes, copies no name, and indexes all types in one pass: start-up is felt on small and emulated machines.
//! Nothing in the bytes is trusted; every length, reference and chain is checked. It imports nothing from this crate, because
//! the fixture maker includes this file too.
use std::fmt;

/// Values of [`Type::kind`].
pub mod kind {
    pub const VOID: u8 = 0;
    pub const INT: u8 = 1;
    pub const PTR: u8 = 2;
    pub const ARRAY: u8 = 3;
    pub const STRUCT: u8 = 4;
    pub const UNION: u8 = 5;
    pub const ENUM: u8 = 6;
    pub const FWD: u8 = 7;
    pub const TYPEDEF: u8 = 8;
    pub const VOLATILE: u8 = 9;
    pub const CONST: u8 = 10;
    pub const RESTRICT: u8 = 11;
    pub const FUNC: u8 = 12;
    pub const FUNC_PROTO: u8 = 13;
    pub const VAR: u8 = 14;
    pub const DATASEC: u8 = 15;
    pub const FLOAT: u8 = 16;
    pub const DECL_TAG: u8 = 17;
    pub const TYPE_TAG: u8 = 18;
    pub const ENUM64: u8 = 19;
}

pub const MAGIC: u16 = 0xeb9f;
pub const HEADER: usize = 24;
/// Header length from which on it names the layout section (Linux 7.x).
const HEADER_WITH_LAYOUT: usize = 32;
const RECORD: usize = 12;
/// Typedefs, qualifiers and array dimensions that may follow one another.
const CHAIN: usize = 32;
/// The format doesn't say it; eBPF programs and what they read are 64-bit.
const POINTER: u32 = 8;

/// Why the BTF can't be used: one sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BtfError {
    /// Bytes, fewer than a header.
    Short(usize),
    NotBtf,
    OtherByteOrder,
    Version(u8),
    /// Section, its end, the file's end: in bytes.
    Cut(&'static str, usize, usize),
    Unterminated,
    /// Number of the type, as in all others below.
    TypeCut(u32),
    UnknownKind(u32, u8),
    NoType(u32),
    NoName(u32),
    Tangled(u32),
    NoStruct(&'static str),
    NoMember(&'static str),
    Bitfield(&'static str),
    /// Member, its bytes, the expected bytes.
    Size(&'static str, u32, u32),
    /// The member lies beyond the part of its struct that is read.
    Far(&'static str, u32),
    NoTimer(&'static str),
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(len) => write!(f, "the BTF is cut short: {len} bytes, and its header takes {HEADER}"),
            Self::NotBtf => write!(f, "this is not BTF: it does not begin with {MAGIC:#x}"),
            Self::OtherByteOrder => f.write_str("the BTF is in the other byte order than this machine's"),
            Self::Version(version) => write!(f, "the BTF has version {version}, only version 1 is known"),
            Self::Cut(section, end, len) => {
                write!(f, "the BTF is cut short: its {section} section ends at byte {end} of {len}")
            }
            Self::Unterminated => f.write_str("the BTF's string section does not begin and end with a NUL"),
            Self::TypeCut(id) => write!(f, "the BTF's type {id} is cut short by the end of the type section"),
            Self::UnknownKind(id, kind) => write!(f, "the BTF's type {id} is of kind {kind}, which is unknown"),
            Self::NoType(id) => write!(f, "the BTF refers to type {id}, which does not exist"),
            Self::NoName(id) => write!(f, "the BTF's type {id} has a name outside of the string section"),
            Self::Tangled(id) => write!(f, "the BTF's type {id} nests without end"),
            Self::NoStruct(name) => write!(f, "the kernel's BTF has no struct {name}"),
            Self::NoMember(path) => write!(f, "the kernel's BTF has no member {path}"),
            Self::Bitfield(path) => write!(f, "{path} is a bitfield"),
            Self::Far(path, offset) => write!(f, "{path} is at byte {offset}, beyond the part that is read"),
            Self::Size(path, found, expected) => write!(f, "{path} is {found} bytes, {expected} expected"),
            Self::NoTimer(path) => write!(f, "{path} is not a struct timer_list"),
        }
    }
}

impl std::error::Error for BtfError {}

/// A name in the string section: it ends at its NUL, which is looked for only when somebody wants the whole name.
#[derive(Clone, Copy)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    pub fn is(self, name: &str) -> bool {
        // The first byte spares nearly all of a hundred thousand calls of memcmp.
        self.0.first() == name.as_bytes().first() && self.0.starts_with(name.as_bytes()) && self.0.get(name.len()) == Some(&0)
    }

    pub fn is_empty(self) -> bool {
        self.0.first() == Some(&0)
    }

    pub fn bytes(self) -> &'a [u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

/// One type. Its references to others are checked when they are followed.
#[derive(Clone, Copy)]
pub struct Type<'a> {
    /// Number in the BTF; 0 is void.
    pub id: u32,
    /// A number of [`kind`], or one that is not known yet.
    pub kind: u8,
    pub name: Name<'a>,
    /// Count, kind and flag, as they are stored.
    pub info: u32,
    /// Bytes of a type that has a size, else the number of the type it refers to.
    pub size_or_type: u32,
    extra: &'a [u8],
}

impl<'a> Type<'a> {
    /// What follows the type, by N words: members by 3, parameters and enum values by 2, 64-bit enum values by 3.
    pub fn records<const N: usize>(self) -> impl Iterator<Item = [u32; N]> + use<'a, N> {
        let (words, _) = self.extra.as_chunks::<4>();
        let (records, _) = words.as_chunks::<N>();
        records.iter().map(|record| record.map(u32::from_ne_bytes))
    }
}

/// The beginnings of names, as bits of a hash: nearly all of a hundred thousand others are told apart at a glance.
struct Beginnings([u64; Self::WORDS]);

impl Beginnings {
    const BITS: u32 = 10;
    const WORDS: usize = (1 << Self::BITS) / u64::BITS as usize;

    fn of(names: &[&str]) -> Self {
        let mut bits = Self([0; Self::WORDS]);
        for name in names {
            let (word, bit) = Self::place(&[name.as_bytes(), &[0; 4]].concat());
            bits.0[word] |= bit;
        }
        bits
    }

    fn has(&self, name: Name<'_>) -> bool {
        let (word, bit) = Self::place(name.0);
        self.0[word] & bit != 0
    }

    /// Of the first four bytes, or those before the NUL. The last names of all may be shorter than four.
    fn place(name: &[u8]) -> (usize, u64) {
        let first = name
            .first_chunk()
            .map_or_else(|| name.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)), |four| u32::from_le_bytes(*four));
        // The lowest bit that is set here is the highest of the first byte that is 0.
        let nul = first.wrapping_sub(0x0101_0101) & !first & 0x8080_8080;
        let first = if nul == 0 { first } else { first & ((1 << (nul.trailing_zeros() & !7)) - 1) };
        let hash = first.wrapping_mul(0x9e37_79b1) >> (u32::BITS - Self::BITS);
        (hash as usize / u64::BITS as usize, 1 << (hash % u64::BITS))
    }
}

/// All types of one BTF.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Sizes of the kinds, as this BTF itself tells: 4 bytes a kind. Mostly empty.
    layout: &'a [u8],
    /// Where each type begins, from type 1 on.
    starts: Vec<u32>,
    /// The structs, functions, enums and typedefs of the wanted names.
    wanted: Vec<u32>,
}

impl<'a> Btf<'a> {
    /// Indexes raw BTF, such as /sys/kernel/btf/vmlinux. `wanted`: what [`Btf::named`] will be asked for.
    pub fn parse(bytes: &'a [u8], wanted: &[&str]) -> Result<Self, BtfError> {
        let header = header(bytes)?;
        let section = |what, at: usize| -> Result<&'a [u8], BtfError> {
            let start = header.saturating_add(word(bytes, at).unwrap_or(0) as usize);
            let end = start.saturating_add(word(bytes, at + 4).unwrap_or(0) as usize);
            bytes.get(start..end).ok_or(BtfError::Cut(what, end, bytes.len()))
        };
        let (types, strings) = (section("type", 8)?, section("string", 16)?);
        let layout = if header >= HEADER_WITH_LAYOUT { section("layout", 24)? } else { &[] };
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            return Err(BtfError::Unterminated);
        }
        // Real ones have 25 bytes a type: never too small by much, and it does not grow by doubling.
        let mut btf = Self { types, strings, layout, starts: Vec::with_capacity(types.len() / 24), wanted: Vec::new() };
        let beginnings = Beginnings::of(wanted);
        let mut start = 0;
        while start < types.len() {
            let id = btf.starts.len() as u32 + 1;
            let (ty, end) = btf.read(id, start)?;
            btf.starts.push(start as u32);
            let is_looked_up = matches!(ty.kind, kind::STRUCT | kind::FUNC | kind::ENUM | kind::TYPEDEF);
            if is_looked_up && beginnings.has(ty.name) && wanted.iter().any(|name| ty.name.is(name)) {
                btf.wanted.push(id);
            }
            start = end;
        }
        Ok(btf)
    }

    /// The type at a byte of the type section, and the byte behind it.
    fn read(&self, id: u32, start: usize) -> Result<(Type<'a>, usize), BtfError> {
        let words = [0, 4, 8].map(|at| word(self.types, start.saturating_add(at)));
        let [Some(name), Some(info), Some(size_or_type)] = words else { return Err(BtfError::TypeCut(id)) };
        // Until Linux 7 the count had 16 bits and the kind 5; the bits between were zero.
        let (kind, count) = ((info >> 24 & 0x7f) as u8, (info & 0xff_ffff) as usize);
        // Bytes that follow once, and for each of the count.
        let (once, each) = match kind {
            kind::INT | kind::VAR | kind::DECL_TAG => (4, 0),
            kind::ARRAY => (12, 0),
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => (0, 12),
            kind::ENUM | kind::FUNC_PROTO => (0, 8),
            kind::PTR | kind::FWD..=kind::FUNC | kind::FLOAT | kind::TYPE_TAG => (0, 0),
            _ => match self.layout.get(kind as usize * 4..) {
                Some(&[once, each, ..]) if kind != kind::VOID => (once as usize, each as usize),
                _ => return Err(BtfError::UnknownKind(id, kind)),
            },
        };
        let extra = start + RECORD;
        let end = count.checked_mul(each).and_then(|len| extra.checked_add(len)?.checked_add(once));
        let (extra, end) = end.and_then(|end| Some((self.types.get(extra..end)?, end))).ok_or(BtfError::TypeCut(id))?;
        let name = self.name(name).ok_or(BtfError::NoName(id))?;
        Ok((Type { id, kind, name, info, size_or_type, extra }, end))
    }

    /// The name at an offset of the string section.
    pub fn name(&self, offset: u32) -> Option<Name<'a>> {
        self.strings.get(offset as usize..).filter(|tail| !tail.is_empty()).map(Name)
    }

    pub fn get(&self, id: u32) -> Result<Type<'a>, BtfError> {
        let Some(index) = id.checked_sub(1) else {
            return Ok(Type { id, kind: kind::VOID, name: Name(&[0]), info: 0, size_or_type: 0, extra: &[] });
        };
        let start = self.starts.get(index as usize).ok_or(BtfError::NoType(id))?;
        Ok(self.read(id, *start as usize)?.0)
    }

    /// The type behind typedefs and qualifiers.
    pub fn resolve(&self, id: u32) -> Result<Type<'a>, BtfError> {
        let mut ty = self.get(id)?;
        for _ in 0..CHAIN {
            let (kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG) = ty.kind else {
                return Ok(ty);
            };
            ty = self.get(ty.size_or_type)?;
        }
        Err(BtfError::Tangled(id))
    }

    /// Bytes of a type; 0 for what has no size, such as a function.
    pub fn size(&self, id: u32) -> Result<u32, BtfError> {
        let (mut element, mut count) = (id, 1_u32);
        for _ in 0..CHAIN {
            let ty = self.resolve(element)?;
            let size = match ty.kind {
                kind::PTR => POINTER,
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::FLOAT | kind::ENUM64 => ty.size_or_type,
                kind::ARRAY => {
                    let Some([of, _, len]) = ty.records().next() else { return Err(BtfError::TypeCut(ty.id)) };
                    (element, count) = (of, count.checked_mul(len).ok_or(BtfError::Tangled(id))?);
                    continue;
                }
                _ => 0,
            };
            return count.checked_mul(size).ok_or(BtfError::Tangled(id));
        }
        Err(BtfError::Tangled(id))
    }

    /// The types of this kind and name, which must be one of the wanted.
    pub fn named(&self, kind: u8, name: &str) -> impl Iterator<Item = Type<'a>> {
        self.wanted.iter().filter_map(|&id| self.get(id).ok()).filter(move |ty| ty.kind == kind && ty.name.is(name))
    }
}

/// Checks the header; its length.
fn header(bytes: &[u8]) -> Result<usize, BtfError> {
    let short = BtfError::Short(bytes.len());
    let &[a, b, ..] = bytes else { return Err(short) };
    match u16::from_ne_bytes([a, b]) {
        MAGIC => {}
        magic if magic.swap_bytes() == MAGIC => return Err(BtfError::OtherByteOrder),
        _ => return Err(BtfError::NotBtf),
    }
    let (Some(&version), Some(len)) = (bytes.get(2), word(bytes, 4)) else { return Err(short) };
    if version != 1 {
        return Err(BtfError::Version(version));
    }
    let len = len as usize;
    if len < HEADER { Err(BtfError::Short(len)) } else { bytes.get(..len).map(|_| len).ok_or(short) }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}
