//! Lists that the kernel walks through for us: BPF iterators.
use std::io;

use anyhow::{Context as _, Result, ensure};
use aya::programs::iter::IterLink;
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// How many entries are read at a time.
const BATCH: usize = 256;

/// Everything that a walk writes, one `T` after the other. A list of one network namespace is that of the calling thread's.
///
/// # Errors
/// When the walk can't begin, or breaks.
pub fn all<T: FromBytes + IntoBytes + KnownLayout + Clone>(walker: IterLink) -> Result<Vec<T>> {
    let mut file = walker.into_file().context("cannot begin a walk through the kernel's list (bpf_iter_create)")?;
    let mut entries = Vec::new();
    let mut batch = vec![T::new_zeroed(); BATCH];
    loop {
        let bytes = batch.as_mut_slice().as_mut_bytes();
        let read = fill(&mut file, bytes).context("cannot read the kernel's list")?;
        ensure!(read.is_multiple_of(size_of::<T>()), "the kernel's list ends in the middle of an entry");
        let read = &batch[..read / size_of::<T>()];
        entries.extend_from_slice(read);
        let read = size_of_val(read);
        if read < BATCH * size_of::<T>() {
            return Ok(entries);
        }
    }
}

/// Reads until the buffer is full or the list ends.
fn fill(file: &mut impl io::Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_together_until_the_end() {
        let (mut one, mut other) = (&b"abc"[..], &b"defgh"[..]);
        let mut buffer = [0; 6];
        assert_eq!(fill(&mut io::Read::chain(&mut one, &mut other), &mut buffer).unwrap(), 6);
        assert_eq!(&buffer, b"abcdef");
        assert_eq!(fill(&mut other, &mut buffer).unwrap(), 2);
    }
}
