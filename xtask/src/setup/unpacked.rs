//! Debian's programs, unpacked into the cache with all their libraries but the C library: no root is needed, and the machine stays as
//! it is.
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::debs::Debs;
use crate::{cache, shell, workspace};

/// Its C library is the oldest that these programs run with.
const SUITE: &str = "bookworm";
/// Below the entry's folder.
const ROOT: &str = "root";
/// Where libraries are. The last two are named by others in a way that doesn't move with them (an absolute RUNPATH).
const LIBRARIES: [&str; 4] =
    ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/nss", "usr/lib/x86_64-linux-gnu/pulseaudio"];

struct Program {
    /// Of the package, of the program, and of the entry.
    name: &'static str,
    /// The program's file in the unpacked packages.
    file: &'static str,
    /// What is kept of the packages, beside the libraries.
    kept: &'static [&'static str],
    /// Variables of its environment, each with a path below the entry.
    environment: &'static [(&'static str, &'static str)],
    arguments: &'static str,
}

const CHROMIUM: Program = Program {
    name: "chromium",
    file: "usr/lib/chromium/chromium",
    kept: &["usr/lib/chromium", "usr/share/fonts"],
    environment: &[("FONTCONFIG_FILE", FONTS)],
    // Its sandbox wants a helper that is setuid root, and the pages that it shows are ours. A container's /dev/shm is small.
    arguments: "--no-sandbox --disable-dev-shm-usage ",
};

const TSHARK: Program = Program {
    name: "tshark",
    file: "usr/bin/tshark",
    kept: &["usr/bin", "usr/share/wireshark"],
    environment: &[("WIRESHARK_DATA_DIR", "root/usr/share/wireshark")],
    arguments: "",
};

/// The C library must be the machine's own, as its loader is; no program without a screen draws by LLVM.
const LEFT_OUT: [&str; 3] = ["libc6_", "libllvm", "libgl1-mesa-dri_"];

const FONTS: &str = "fonts.conf";
const FONTS_TEXT: &str = "<?xml version=\"1.0\"?>\n\
    <fontconfig>\n  \
    <dir prefix=\"relative\">root/usr/share/fonts</dir>\n  \
    <cachedir prefix=\"xdg\">fontconfig</cachedir>\n\
    </fontconfig>\n";

/// A Chromium: the machine's own, or Debian's.
pub fn chromium() -> Result<PathBuf> {
    CHROMIUM.provide()
}

/// A tshark, likewise.
pub fn tshark() -> Result<PathBuf> {
    TSHARK.provide()
}

impl Program {
    fn provide(&self) -> Result<PathBuf> {
        if let Some(file) = shell::find(self.name) {
            return Ok(file);
        }
        if let Some(file) = self.cached() {
            return Ok(file);
        }
        let _lock = cache::lock()?;
        // Another run may have brought it while this one waited for the lock.
        let provided = self.cached().map_or_else(|| self.fetch(), Ok);
        provided.with_context(|| {
            format!("{0} cannot be had. Where root can install it, type: sudo apt-get install -y {0}. Tried", self.name)
        })
    }

    /// The script, and the program itself.
    fn names(&self) -> [String; 2] {
        [self.name.to_owned(), format!("{ROOT}/{}", self.file)]
    }

    fn cached(&self) -> Option<PathBuf> {
        let names = self.names();
        let ([script, _], _) = cache::get(self.name, [&names[0], &names[1]])?;
        Some(script)
    }

    fn fetch(&self) -> Result<PathBuf> {
        Debs::with(&[self.name], SUITE, |debs| {
            let [script, program] = self.names();
            let put = cache::put(self.name, [&script, &program], self.name, &debs.version, |[script, program]| {
                self.unpack(debs, script)?;
                let said = shell::capture(Command::new(script).arg("--version"));
                said.with_context(|| format!("{} does not run here", program.display())).map(drop)
            });
            put.map(|([script, _], _)| script)
        })
    }

    /// Makes the entry, in which the script is.
    fn unpack(&self, debs: &Debs, script: &Path) -> Result<()> {
        let entry = script.parent().context("the entry has no folder")?;
        let whole = debs.unpack(|deb| !is_left_out(deb))?;
        for part in LIBRARIES[..2].iter().chain(self.kept) {
            let (from, to) = (whole.join(part), entry.join(ROOT).join(part));
            if !from.exists() {
                continue;
            }
            workspace::folder(to.parent().map(Path::to_owned).context("no folder")?)?;
            fs::rename(&from, &to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
        }
        if self.environment.iter().any(|(_, path)| *path == FONTS) {
            fs::write(entry.join(FONTS), FONTS_TEXT).with_context(|| format!("cannot write {FONTS}"))?;
        }
        fs::write(script, self.script()).with_context(|| format!("cannot write {}", script.display()))?;
        fs::set_permissions(script, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} a program", script.display()))
    }

    fn script(&self) -> String {
        let libraries: Vec<String> = LIBRARIES.iter().map(|folder| format!("$here/{ROOT}/{folder}")).collect();
        let mut text = format!(
            "#!/bin/sh\n# Debian's {}, with its own libraries.\nhere=$(dirname \"$(readlink -f \"$0\")\")\n\
             export LD_LIBRARY_PATH=\"{}\"\n",
            self.name,
            libraries.join(":")
        );
        for (name, path) in self.environment {
            text.push_str(&format!("export {name}=\"$here/{path}\"\n"));
        }
        text + &format!("exec \"$here/{ROOT}/{}\" {}\"$@\"\n", self.file, self.arguments)
    }
}

fn is_left_out(deb: &str) -> bool {
    LEFT_OUT.iter().any(|prefix| deb.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_left_to_the_machine_and_others_of_similar_names_are_not() {
        assert!(is_left_out("libc6_2.36-9_amd64.deb"));
        assert!(!is_left_out("libc-ares2_1.18.1-3_amd64.deb"));
    }

    #[test]
    fn a_script_finds_its_program_wherever_the_entry_lies() {
        let script = TSHARK.script();
        assert!(script.contains("export LD_LIBRARY_PATH=\"$here/root/usr/lib/x86_64-linux-gnu:"), "{script}");
        assert!(script.contains("export WIRESHARK_DATA_DIR=\"$here/root/usr/share/wireshark\"\n"), "{script}");
        assert!(script.ends_with("exec \"$here/root/usr/bin/tshark\" \"$@\"\n"), "{script}");
    }
}
