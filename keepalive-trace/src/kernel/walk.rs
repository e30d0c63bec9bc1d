//! Lists that the kernel walks through for us: BPF iterators.
use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use aya::programs::iter::IterLink;
use zerocopy::{FromBytes, KnownLayout};

/// Everything that a walk writes, one `T` after the other. A list of one network namespace is that of the calling thread's.
///
/// # Errors
/// When the walk can't begin, or breaks.
pub fn all<T: FromBytes + KnownLayout>(walker: IterLink) -> Result<Vec<T>> {
    let mut file = walker.into_file().context("cannot begin a walk through the kernel's list (bpf_iter_create)")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context("cannot read the kernel's list")?;
    ensure!(bytes.len().is_multiple_of(size_of::<T>()), "the kernel's list ends in the middle of an entry");
    Ok(bytes.chunks_exact(size_of::<T>()).filter_map(|bytes| T::read_from_bytes(bytes).ok()).collect())
}
