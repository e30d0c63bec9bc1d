//! The sizes of what is shipped: the static binary, and the eBPF object in it.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::figures::Figures;

const OBJECT: &str = "keepalive-trace-ebpf";
/// `SHF_EXECINSTR`.
const EXECUTABLE: u64 = 4;

pub fn measure(tracer: &Path, figures: &mut Figures) -> Result<()> {
    figures.set("binary", "MB", size(tracer)? / 1e6);
    let object = newest(tracer).context("there is no eBPF object beside the binary")?;
    let bytes = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    figures.set("ebpf object", "KB", bytes.len() as f64 / 1e3);
    let code = code(&bytes).with_context(|| format!("{} is not an ELF object", object.display()))?;
    figures.set("ebpf object", "code KB", code as f64 / 1e3);
    Ok(())
}

fn size(path: &Path) -> Result<f64> {
    Ok(fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len() as f64)
}

/// The object that the binary's last build left in its `OUT_DIR`.
fn newest(tracer: &Path) -> Option<PathBuf> {
    let builds = fs::read_dir(tracer.parent()?.join("build")).ok()?;
    let objects = builds.flatten().map(|build| build.path().join("out").join(OBJECT));
    let dated = objects.filter_map(|object| Some((fs::metadata(&object).ok()?.modified().ok()?, object)));
    dated.max().map(|(_, object)| object)
}

/// Bytes in the executable sections of a 64-bit little-endian ELF file.
fn code(file: &[u8]) -> Option<u64> {
    let number = |at: usize, bytes: usize| {
        let field = file.get(at..at + bytes)?;
        Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    file.starts_with(b"\x7fELF\x02\x01").then_some(())?;
    let (table, size, count) = (number(0x28, 8)?, number(0x3A, 2)?, number(0x3C, 2)?);
    let mut sum = 0;
    for section in 0..count {
        let at = usize::try_from(table + section * size).ok()?;
        if number(at + 8, 8)? & EXECUTABLE != 0 {
            sum += number(at + 0x20, 8)?;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_sections_are_code() {
        let mut file = vec![0; 0x40 + 2 * 0x40];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x28] = 0x40;
        file[0x3A] = 0x40;
        file[0x3C] = 2;
        for (section, flags, size) in [(0, 2, 100), (1, 6, 200)] {
            file[0x40 + section * 0x40 + 8] = flags;
            file[0x40 + section * 0x40 + 0x20] = size;
        }
        assert_eq!(code(&file), Some(200));
        assert_eq!(code(b"\x7fELF"), None);
    }
}
