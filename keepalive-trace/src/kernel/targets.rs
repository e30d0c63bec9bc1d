//! What programs attach to, by the numbers that the kernel's BTF has for it.
//!
//! aya looks each function up in the whole BTF, whose hundred thousand types it keeps in memory. It is given one instead that has
//! the same numbers, and the few types in question.
use anyhow::{Context as _, Result};
use aya::Btf;

use super::btf::{self, kind};

/// The types that programs attach to.
#[derive(Clone, Debug, Default)]
pub struct Targets(Vec<Target>);

#[derive(Clone, Copy, Debug)]
struct Target {
    /// Number in the kernel's BTF.
    id: u32,
    /// [`kind`].
    kind: u8,
    name: &'static str,
}

/// Bytes of a type: name, info, and another type's number. All kinds that are used here take so much.
const TYPE: usize = 12;
/// Where the kind is in a type's info.
const KIND_SHIFT: u32 = 24;
/// A forward declaration without a name.
const NOTHING: [u8; TYPE] = [0, 0, 0, 0, 0, 0, 0, kind::FWD, 0, 0, 0, 0];

impl Targets {
    /// Those of these functions, and typedefs of tracepoints, that the kernel has.
    pub fn of(btf: &btf::Btf<'_>, names: &[&'static str]) -> Self {
        let kinds = [kind::FUNC, kind::TYPEDEF];
        let target = |name, kind| btf.named(kind, name).next().map(|ty| Target { id: ty.id, kind, name });
        let mut targets: Vec<Target> =
            names.iter().flat_map(|&name| kinds.iter().filter_map(move |&kind| target(name, kind))).collect();
        targets.sort_by_key(|target| target.id);
        Self(targets)
    }

    /// As BTF: what is no target is a forward declaration without a name.
    ///
    /// # Errors
    /// When aya does not understand it.
    pub fn to_btf(&self) -> Result<Btf> {
        let strings: Vec<u8> = [0].into_iter().chain(self.0.iter().flat_map(|target| target.name.bytes().chain([0]))).collect();
        let types = self.0.last().map_or(0, |last| last.id) as usize * TYPE;
        let (type_bytes, string_bytes) = (u32::try_from(types)?, u32::try_from(strings.len())?);
        // A hundred thousand types: one allocation, and no copy.
        let mut bytes = Vec::with_capacity(btf::HEADER + types + strings.len());
        bytes.extend(btf::MAGIC.to_ne_bytes());
        // Version and flags.
        bytes.extend([1, 0]);
        [btf::HEADER as u32, 0, type_bytes, type_bytes, string_bytes].iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        let mut name_at = 1_u32;
        for Target { id, kind, name } in &self.0 {
            let before = btf::HEADER + (*id as usize - 1) * TYPE;
            while bytes.len() < before {
                bytes.extend_from_slice(&NOTHING);
            }
            [name_at, u32::from(*kind) << KIND_SHIFT, 0].iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
            name_at += u32::try_from(name.len())? + 1;
        }
        bytes.extend(strings);
        Btf::parse(&bytes, aya::Endianness::default()).context("cannot lay out what programs attach to")
    }
}
