//! The archive that a Linux kernel unpacks as its first file system: cpio's "newc", as in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.
use std::io::{self, Write};

/// The console must be there before devtmpfs is: the kernel opens it for the first process.
const CONSOLE: (u32, u32) = (5, 1);

pub struct Archive<W: Write> {
    to: W,
    count: u32,
}

impl<W: Write> Archive<W> {
    pub fn new(to: W) -> Self {
        Self { to, count: 0 }
    }

    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, 0o040_755, (0, 0), &[])
    }

    pub fn program(&mut self, path: &str, contents: &[u8]) -> io::Result<()> {
        self.entry(path, 0o100_755, (0, 0), contents)
    }

    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, 0o120_777, (0, 0), target.as_bytes())
    }

    pub fn console(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, 0o020_600, CONSOLE, &[])
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.to.flush()
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), contents: &[u8]) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        let size = u32::try_from(contents.len()).map_err(|_| io::Error::other(format!("{path} has over 4 GiB")))?;
        let path_size = u32::try_from(path.len() + 1).map_err(io::Error::other)?;
        self.count += 1;
        let (owner, group, links, time, major, minor, checksum) = (0, 0, 1, 0, 0, 0, 0);
        let fields = [self.count, mode, owner, group, links, time, size, major, minor, device.0, device.1, path_size, checksum];
        let mut header = String::from("070701");
        header.extend(fields.iter().map(|field| format!("{field:08X}")));
        self.padded(&[header.as_bytes(), path.as_bytes(), b"\0"].concat())?;
        self.padded(contents)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.to.write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_entry_ends_on_four_bytes() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.program("/init", b"#!/bin/sh\n").unwrap();
        archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        // 110 bytes of header and 5 of name make 115.
        assert_eq!(&bytes[110..116], b"init\0\0");
        assert_eq!(&bytes[116..126], b"#!/bin/sh\n");
        assert_eq!(&bytes[128..134], b"070701");
    }
}
