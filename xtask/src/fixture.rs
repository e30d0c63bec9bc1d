//! Shrinks a kernel's BTF to what the tracer looks up, so that its layout can be kept as a test of a few KiB.
//!
//! Structs keep their size and, but for [`KEEP`], all members with their types; every pointer becomes `void *`, which is where
//! the rest of the kernel is cut off.
use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context as _, Result};
use btf::{Btf, Type, kind};

#[allow(dead_code, reason = "the tracer's reader, of which we use a part")]
#[path = "../../keepalive-trace/src/kernel/btf.rs"]
mod btf;

#[path = "../../keepalive-trace/src/kernel/layout/names.rs"]
mod names;

/// What is kept, with everything it contains by value.
const ROOTS: [(u8, &[&str]); 7] = [
    (kind::STRUCT, &names::STRUCTS),
    (kind::FUNC, &names::HOOKS),
    (kind::FUNC, &names::MORE_HOOKS),
    (kind::FUNC, &names::MORE_TARGETS),
    (kind::TYPEDEF, &names::MORE_TARGETS),
    (kind::FUNC, &[names::TYPED_TASK]),
    (kind::ENUM, &[names::REASONS]),
];

/// Structs of which only these members are kept: they contain half the kernel.
const KEEP: [(&str, &[&str]); 7] = [
    ("net", &["ns", "count", "mib", "ipv4"]),
    ("cgroup", &["self", "kn"]),
    ("task_struct", &["tgid", "flags", "group_leader", "comm"]),
    ("file", &["f_inode", "private_data"]),
    ("inode", &["i_mode"]),
    ("socket", &["sk"]),
    ("ctl_table", &["procname", "data"]),
];

/// Writes the essence of raw BTF, such as /sys/kernel/btf/vmlinux, to `out`.
pub fn run(vmlinux_btf: &Path, out: &Path) -> Result<()> {
    let bytes = fs::read(vmlinux_btf).with_context(|| format!("cannot read {}", vmlinux_btf.display()))?;
    let names = ROOTS.iter().flat_map(|(_, names)| *names).copied().collect::<Vec<_>>();
    let btf = Btf::parse(&bytes, &names).with_context(|| vmlinux_btf.display().to_string())?;
    let mut fixture = Fixture { btf: &btf, ids: HashMap::new(), queue: Vec::new(), strings: vec![0], types: Vec::new() };
    for (kind, names) in ROOTS {
        for ty in names.iter().flat_map(|name| btf.named(kind, name)) {
            fixture.id(ty.id)?;
        }
    }
    fs::write(out, fixture.finish()?).with_context(|| format!("cannot write {}", out.display()))
}

struct Fixture<'a> {
    btf: &'a Btf<'a>,
    /// Old numbers to new ones; the new ones count along the queue, from 1.
    ids: HashMap<u32, u32>,
    queue: Vec<Type<'a>>,
    strings: Vec<u8>,
    types: Vec<u8>,
}

impl<'a> Fixture<'a> {
    /// The new number of a type, which will be written when its turn comes. All pointers are one.
    fn id(&mut self, old: u32) -> Result<u32> {
        let ty = self.btf.get(old)?;
        let pointer = self.queue.iter().find(|queued| queued.kind == kind::PTR && ty.kind == kind::PTR);
        let old = pointer.map_or(old, |pointer| pointer.id);
        if old == 0 {
            return Ok(0);
        }
        Ok(*self.ids.entry(old).or_insert_with(|| {
            self.queue.push(ty);
            self.queue.len() as u32
        }))
    }

    fn name(&mut self, name: &[u8]) -> u32 {
        let terminated = [name, &[0]].concat();
        // The end of a longer name would do as well, but an edit of one name should not touch another.
        let mut start = 0;
        for known in self.strings.split_inclusive(|&byte| byte == 0) {
            if known == terminated {
                return start;
            }
            start += known.len() as u32;
        }
        self.strings.extend(terminated);
        start
    }

    fn word(&mut self, word: u32) {
        self.types.extend(word.to_ne_bytes());
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        let mut next = 0;
        while let Some(&ty) = self.queue.get(next) {
            self.write(ty)?;
            next += 1;
        }
        let mut file = Vec::from(0xeb9f_u16.to_ne_bytes());
        file.extend([1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            file.extend(word.to_ne_bytes());
        }
        Ok([file, self.types, self.strings].concat())
    }

    fn write(&mut self, ty: Type<'a>) -> Result<()> {
        // What each word of a record is: a name, a type or a value.
        match ty.kind {
            kind::PTR => self.record(ty, 0, Vec::<[u32; 0]>::new(), ""),
            kind::STRUCT | kind::UNION => {
                let kept = KEEP.iter().find(|(name, _)| ty.kind == kind::STRUCT && ty.name.is(name));
                let kept = |record: &[u32; 3]| {
                    let name = self.btf.name(record[0]);
                    kept.is_none_or(|(_, members)| members.iter().any(|member| name.is_some_and(|name| name.is(member))))
                };
                let members = ty.records().filter(kept).collect();
                self.record(ty, ty.size_or_type, members, "ntv")
            }
            kind::ENUM => self.record(ty, ty.size_or_type, ty.records::<2>().collect(), "nv"),
            kind::ENUM64 => self.record(ty, ty.size_or_type, ty.records::<3>().collect(), "nvv"),
            kind::INT => self.record(ty, ty.size_or_type, ty.records::<1>().collect(), "v"),
            kind::ARRAY => self.record(ty, 0, ty.records::<3>().collect(), "ttv"),
            kind::FUNC_PROTO => {
                let result = self.id(ty.size_or_type)?;
                self.record(ty, result, ty.records::<2>().collect(), "nt")
            }
            kind::FLOAT => self.record(ty, ty.size_or_type, Vec::<[u32; 0]>::new(), ""),
            // Typedefs, qualifiers, functions.
            _ => {
                let of = self.id(ty.size_or_type)?;
                self.record(ty, of, Vec::<[u32; 0]>::new(), "")
            }
        }
    }

    fn record<const N: usize>(&mut self, ty: Type<'a>, size_or_type: u32, records: Vec<[u32; N]>, words: &str) -> Result<()> {
        let counted = matches!(ty.kind, kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FUNC_PROTO);
        let count = if counted { records.len() as u32 } else { ty.info & 0xff_ffff };
        let name = self.name(ty.name.bytes());
        for word in [name, ty.info & !0xff_ffff | count, size_or_type] {
            self.word(word);
        }
        for (what, word) in records.iter().flat_map(|record| words.chars().zip(record)) {
            let word = match what {
                'n' => self.name(self.btf.name(*word).context("a name lies outside of the string section")?.bytes()),
                't' => self.id(*word)?,
                _ => *word,
            };
            self.word(word);
        }
        Ok(())
    }
}
