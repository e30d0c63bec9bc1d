//! Kernel modules as Debian packs them: plain up to 6.1, compressed with xz since.
use std::{borrow::Cow, fs, io::Read as _, path::Path};

use anyhow::{Context as _, Result, bail};
use lzma_rust2::XzReader;

use crate::setup::apt;

const ELF: &[u8] = b"\x7fELF";
const XZ: &[u8] = b"\xfd7zXZ\0";

/// Takes the module that the file is named after out of the package, for a kernel that need not be able to decompress it.
///
/// # Errors
/// The package has no such module, as when the kernel has it built in; or it is broken, or packed in another way.
pub fn extract(deb: &Path, module: &Path) -> Result<()> {
    let name = module.file_name().unwrap_or_default().to_string_lossy();
    apt::extract_file(deb, &format!("*/kernel/net/ipv4/{name}*"), module).with_context(|| format!("no module {name}"))?;
    let packed = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let plain = unpacked(&packed).with_context(|| format!("the module {name} of {}", deb.display()))?;
    fs::write(module, plain).with_context(|| format!("cannot write {}", module.display()))
}

fn unpacked(packed: &[u8]) -> Result<Cow<'_, [u8]>> {
    let plain = if packed.starts_with(XZ) {
        let mut plain = Vec::new();
        XzReader::new(packed, false).read_to_end(&mut plain).context("its xz is broken")?;
        Cow::from(plain)
    } else {
        Cow::from(packed)
    };
    if !plain.starts_with(ELF) {
        bail!("it is neither ELF nor ELF in xz: its first bytes are {:02x?}", &packed[..packed.len().min(6)]);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '\177ELF and no more' | xz --check=crc32 --lzma2=dict=1MiB`, as the kernel's makefile has it.
    const PACKED: &[u8] = b"\xfd7zXZ\0\0\x01i\"\xde6\x02\0!\x01\x10\0\0\0\xa8p\x8e\x86\x01\0\x0f\x7fELF and no more\0D\xee/\xc5\0\x01$\x10\xe9D\xd9\xcc\x90B\x99\x0d\x01\0\0\0\0\x01YZ";

    #[test]
    fn a_module_comes_out_plain_however_it_is_packed() {
        assert_eq!(unpacked(PACKED).unwrap(), b"\x7fELF and no more".as_slice());
        assert_eq!(unpacked(b"\x7fELF and no more").unwrap(), b"\x7fELF and no more".as_slice());
    }

    #[test]
    fn a_broken_module_is_refused() {
        for end in 0..PACKED.len() {
            unpacked(&PACKED[..end]).unwrap_err();
        }
        let place = PACKED.len() / 2;
        let flipped = [&PACKED[..place], &[PACKED[place] ^ 1], &PACKED[place + 1..]].concat();
        unpacked(&flipped).unwrap_err();
    }

    #[test]
    fn another_way_to_pack_is_named_by_its_first_bytes() {
        let error = unpacked(b"\x28\xb5\x2f\xfd\x04\x58 and so on").unwrap_err();
        assert_eq!(error.to_string(), "it is neither ELF nor ELF in xz: its first bytes are [28, b5, 2f, fd, 04, 58]");
    }
}
