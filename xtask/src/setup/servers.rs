//! Servers and clients of HTTP that nobody here wrote, for a guest that has nothing.
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::packed::{Packed, libraries};
use crate::vm::Given;

const SERVERS: Packed = Packed {
    name: "servers",
    packages: &["nginx", "apache2-bin", "nodejs", "python3", "python3-urllib3", "python3-requests", "curl", "caddy", "hey"],
    suite: "bookworm",
    files,
};

const PROGRAMS: [&str; 7] =
    ["usr/sbin/nginx", "usr/sbin/apache2", "usr/bin/node", "usr/bin/python3.11", "usr/bin/curl", "usr/bin/caddy", "usr/bin/hey"];
/// What Apache loads.
const MODULES: [&str; 2] = ["usr/lib/apache2/modules/mod_mpm_event.so", "usr/lib/apache2/modules/mod_authz_core.so"];
/// What Python and Node.js load.
const FOLDERS: [&str; 7] = [
    "usr/lib/python3.11",
    "usr/lib/python3/dist-packages/certifi",
    "usr/lib/python3/dist-packages/chardet",
    "usr/lib/python3/dist-packages/idna",
    "usr/lib/python3/dist-packages/requests",
    "usr/lib/python3/dist-packages/urllib3",
    "usr/share/nodejs",
];
/// What urllib3 loads.
const SIX: &str = "usr/lib/python3/dist-packages/six.py";

/// An archive for [`crate::vm::Initramfs::with_packed`]: nginx, Apache, Node.js, Python with requests, curl, Caddy and hey, each where
/// Debian has it.
pub fn servers() -> Result<PathBuf> {
    SERVERS.provide().context("nginx, Apache, Node.js, Python, curl, Caddy and hey cannot be had")
}

fn files(root: &Path) -> Result<Vec<Given>> {
    let mut paths: Vec<PathBuf> = PROGRAMS.iter().chain(&MODULES).chain([&SIX]).map(|path| root.join(path)).collect();
    for folder in FOLDERS {
        below(&root.join(folder), &mut paths)?;
    }
    let is_library = |path: &&PathBuf| path.extension() == Some(OsStr::new("so"));
    let programs = PROGRAMS.iter().map(|program| root.join(program));
    let programs: Vec<PathBuf> = programs.chain(paths.iter().filter(is_library).cloned()).collect();
    let mut files = libraries(root, &programs)?;
    for host in paths {
        let guest = host.strip_prefix(root).context("a path of another folder")?.display().to_string();
        files.push(Given { host, guest });
    }
    Ok(files)
}

/// All files below the folder. A link leads to a file, or nowhere: what it points to may be in a package that isn't wanted.
fn below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            below(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
