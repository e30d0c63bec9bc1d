//! Debian packages of any suite, through a private apt: the machine's own configuration stays as it is, and no root is needed.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};

use super::{
    sources::{self, Mirrors},
    version,
};
use crate::{progress, shell, workspace};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SUITES: [&str; 6] = ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "sid"];
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];

/// How old the package lists may be before they are fetched again.
pub const LISTS_AGE: Duration = Duration::from_secs(12 * 3600);

/// The private apt: its lists and settings are in the cache.
pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Writes the configuration.
    ///
    /// # Errors
    /// The machine has no apt, no mirror, or no key of Debian's.
    pub fn open() -> Result<Self> {
        if shell::find("apt-get").is_none() || shell::find("dpkg-deb").is_none() {
            bail!("this machine has no apt: only Debian and its kin are set up by themselves");
        }
        if !Path::new(KEYRING).exists() {
            bail!("the key {KEYRING} is missing. Type:\n\n    sudo apt-get install -y debian-archive-keyring\n");
        }
        let folder = workspace::cache()?.join("apt");
        workspace::folder(folder.join("state/lists/partial"))?;
        workspace::folder(folder.join("cache/archives/partial"))?;
        let apt = Self { folder };
        apt.write("sources.list", &source_list(&sources::mirrors()?))?;
        apt.write("status", "")?;
        apt.write("apt.conf", &apt.configuration())?;
        Ok(apt)
    }

    /// Fetches the package lists, unless they are younger than `age`.
    pub fn refresh(&self, age: Duration) -> Result<()> {
        let mark = self.folder.join("refreshed");
        let young = |time: SystemTime| time.elapsed().is_ok_and(|elapsed| elapsed < age);
        if fs::metadata(&mark).and_then(|mark| mark.modified()).is_ok_and(young) {
            return Ok(());
        }
        let task = progress::task("package lists of Debian");
        // By itself, apt takes an unreachable mirror for a success.
        match shell::capture(self.command("apt-get").args(["-qq", "--error-on=any", "update"])) {
            Ok(_) => {
                task.done("fetched");
                self.write("refreshed", "")
            }
            // A suite that the mirror has no more is no reason to do without the others.
            Err(error) if !self.packages("linux-image-").unwrap_or_default().is_empty() => {
                task.done(&format!("fetched in part: {error:#}"));
                Ok(())
            }
            Err(error) => {
                task.done("failed");
                Err(error.context("cannot fetch Debian's package lists"))
            }
        }
    }

    /// The names of all packages that begin so.
    pub fn packages(&self, prefix: &str) -> Result<Vec<String>> {
        let names = shell::capture(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// What of these packages there is, newest version first.
    pub fn versions<'a>(&self, packages: impl IntoIterator<Item = &'a String>) -> Result<Vec<(String, String)>> {
        let table = shell::capture(self.command("apt-cache").arg("madison").args(packages))?;
        let mut all: Vec<(String, String)> = table.lines().filter_map(madison).collect();
        all.sort_by(|left, right| version::compare(&right.1, &left.1));
        all.dedup();
        Ok(all)
    }

    /// Downloads exactly this package into the folder; apt checks it against the signed lists.
    pub fn download(&self, package: &str, version: &str, folder: &Path) -> Result<PathBuf> {
        let what = format!("{package}={version}");
        shell::capture(self.command("apt-get").args(["-qq", "download", &what]).current_dir(folder))
            .with_context(|| format!("cannot download {what}"))?;
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let prefix = format!("{package}_");
        let deb = entries.flatten().map(|entry| entry.path()).find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix) && name.ends_with(".deb")
        });
        deb.with_context(|| format!("apt-get downloaded {what}, but no file of it is in {}", folder.display()))
    }

    /// Downloads the suite's versions of packages into the folder, and those of all packages that these depend on.
    pub fn download_all(&self, packages: &[&str], suite: &str, folder: &Path) -> Result<Vec<PathBuf>> {
        workspace::folder(folder.join("partial"))?;
        let archives = format!("Dir::Cache::archives={}/", folder.display());
        let mut command = self.command("apt-get");
        command.args(["-qq", "-y", "--download-only", "--no-install-recommends", "-o", "Debug::NoLocking=1"]);
        shell::capture(command.args(["-o", &archives, "-t", suite, "install"]).args(packages))
            .with_context(|| format!("cannot download {} of {suite}, and what they depend on", packages.join(", ")))?;
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let files = entries.flatten().map(|entry| entry.path());
        Ok(files.filter(|path| path.extension().is_some_and(|kind| kind == "deb")).collect())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.folder.join("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    }

    /// Read after the machine's own settings: its proxies stay, its hooks and its list of sources do not.
    fn configuration(&self) -> String {
        let folder = self.folder.display();
        let root = if shell::is_root() { "APT::Sandbox::User \"root\";\n" } else { "" };
        format!(
            "Dir::Etc::sourcelist \"{folder}/sources.list\";\n\
             Dir::Etc::sourceparts \"-\";\n\
             Dir::State \"{folder}/state\";\n\
             Dir::State::status \"{folder}/status\";\n\
             Dir::Cache \"{folder}/cache\";\n\
             Dir::Cache::pkgcache \"pkgcache.bin\";\n\
             Dir::Cache::srcpkgcache \"\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";\n\
             #clear APT::Update::Pre-Invoke;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             {root}"
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn source_list(mirrors: &Mirrors) -> String {
    let main = SUITES.iter().map(|suite| (&mirrors.main, suite));
    let security = mirrors.security.iter().flat_map(|mirror| SECURITY_SUITES.iter().map(move |suite| (mirror, suite)));
    main.chain(security).map(|(mirror, suite)| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n")).collect()
}

/// `package | version | where it is from`
fn madison(line: &str) -> Option<(String, String)> {
    let mut columns = line.split('|').map(|column| column.trim().to_owned());
    let (package, version) = (columns.next()?, columns.next()?);
    columns.next()?.ends_with(" Packages").then_some((package, version))
}

/// Takes the one file whose path matches the pattern out of the package.
pub fn extract_file(deb: &Path, pattern: &str, to: &Path) -> Result<()> {
    let file = fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    untar(deb, Command::new("tar").args(["-xO", "--wildcards", pattern]).stdout(file))?;
    if fs::metadata(to).is_ok_and(|file| file.len() == 0) {
        bail!("{} has nothing in {pattern}", deb.display());
    }
    Ok(())
}

/// Unpacks what lies below the one folder that matches the pattern; `depth` leading folders are left out.
pub fn extract_folder(deb: &Path, pattern: &str, depth: u32, to: &Path) -> Result<()> {
    let strip = format!("--strip-components={depth}");
    untar(deb, Command::new("tar").args(["-x", "--wildcards", "--no-same-owner", &strip, pattern]).current_dir(to))
}

fn untar(deb: &Path, tar: &mut Command) -> Result<()> {
    let mut unpacker = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run `dpkg-deb`")?;
    let packed = unpacker.stdout.take().context("dpkg-deb has no output")?;
    let taken = tar.stdin(packed).status();
    let unpacked = unpacker.wait().context("dpkg-deb was lost")?;
    if !unpacked.success() || !taken.context("cannot run `tar`")?.success() {
        bail!("cannot unpack {}", deb.display());
    }
    Ok(())
}
