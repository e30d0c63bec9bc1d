//! The tracers that the bench measures beside this one, for a guest that has none. Only the bench asks for them.
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::packed::{Packed, libraries};
use crate::vm::Given;

/// All of one suite, so that they share their libraries. Those of trixie start on 6.1 and on 7.3.
const PEERS: Packed = Packed { name: "peers", packages: &["bpftrace", "libbpf-tools", "tcpdump"], suite: "trixie", files };

const PROGRAMS: [&str; 4] = ["usr/bin/tcpdump", "usr/bin/bpftrace", "usr/sbin/tcplife-libbpf", "usr/sbin/tcpstates-libbpf"];

/// An archive for [`crate::vm::Initramfs::with_packed`], in which tcpdump, bpftrace, tcplife-libbpf and tcpstates-libbpf are in
/// `/bin`.
pub fn peers() -> Result<PathBuf> {
    PEERS.provide().context("tcpdump, bpftrace and libbpf-tools cannot be had")
}

fn files(root: &Path) -> Result<Vec<Given>> {
    let programs = PROGRAMS.map(|program| root.join(program));
    let mut files = libraries(root, &programs)?;
    files.extend(programs.iter().map(|program| Given::program(program)));
    Ok(files)
}
