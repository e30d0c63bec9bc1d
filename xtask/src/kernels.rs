//! The kernels that the tracer is tested on: Debian's cloud kernels, which have kprobes, fentry and BTF, and boot fast.
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    cache, modules, progress,
    setup::apt::{self, Apt, LISTS_AGE},
    workspace,
};

/// The newest kernel whose version begins with 7.
pub const NEWEST: &str = "7.x";
/// What is tested when nothing narrows it.
pub const SERIES: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", NEWEST];

/// The image, then the modules in the order in which they are loaded: what `SOCK_DESTROY` takes.
const FILES: [&str; 3] = ["vmlinuz", "inet_diag.ko", "tcp_diag.ko"];
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub series: String,
    /// As `uname -r` says it.
    pub release: String,
    /// The Debian package's version, which has the full upstream version in it.
    pub version: String,
    pub image: PathBuf,
    /// In the order in which they are loaded.
    pub modules: Vec<PathBuf>,
}

/// The kernel of a series, from the cache or else from Debian.
///
/// # Errors
/// No suite has one, or it cannot be fetched.
pub fn provide(series: &str) -> Result<Kernel> {
    match cached(series) {
        Some(kernel) => Ok(kernel),
        None => fetch(series, false),
    }
}

/// The kernel of a series, if it is in the cache and whole.
pub fn cached(series: &str) -> Option<Kernel> {
    let (files, stamp) = cache::get(&entry(series), FILES)?;
    Some(kernel(series, files, stamp))
}

/// Fetches the newest kernel of a series. With `refresh`, one in the cache is kept only when it is the newest.
pub fn fetch(series: &str, refresh: bool) -> Result<Kernel> {
    let _lock = cache::lock()?;
    // Another run may have brought it while this one waited for the lock.
    let present = cached(series);
    if let (Some(kernel), false) = (&present, refresh) {
        return Ok(kernel.clone());
    }
    let apt = Apt::open()?;
    apt.refresh(LISTS_AGE)?;
    let (package, version) = newest(&apt, series)?;
    if let Some(kernel) = present.filter(|kernel| kernel.version == version && package.ends_with(&kernel.release)) {
        return Ok(kernel);
    }
    let task = progress::task(format!("kernel {series}: {package}"));
    let fetched = download(&apt, series, &package, &version).or_else(|_| {
        // The mirror drops a version when a newer one comes: then the lists are too old.
        apt.refresh(std::time::Duration::ZERO)?;
        let (package, version) = newest(&apt, series)?;
        download(&apt, series, &package, &version)
    });
    task.done(if fetched.is_ok() { "fetched" } else { "failed" });
    fetched
}

fn download(apt: &Apt, series: &str, package: &str, version: &str) -> Result<Kernel> {
    let folder = workspace::cache()?.join("download");
    // What a run that was killed left there may be half, or of another version.
    cache::remove(&folder)?;
    workspace::folder(folder.clone())?;
    let kept = cache::put(&entry(series), FILES, package, version, |[image, modules @ ..]| {
        let deb = apt.download(package, version, &folder)?;
        apt::extract_file(&deb, "*/vmlinuz*", image)?;
        let deb = match beside(package) {
            Some(package) => apt.download(&package, version, &folder)?,
            None => deb,
        };
        modules.iter().try_for_each(|module| modules::extract(&deb, module))
    });
    cache::remove(&folder)?;
    let (files, stamp) = kept?;
    Ok(kernel(series, files, stamp))
}

/// The package of the modules, where the kernel's own has none.
fn beside(package: &str) -> Option<String> {
    package.strip_prefix("linux-binary-").map(|release| format!("linux-modules-{release}"))
}

fn newest(apt: &Apt, series: &str) -> Result<(String, String)> {
    let images = apt.packages("linux-image-")?;
    // From 6.19 on the kernel itself is in a package of its own, and linux-image only draws it in.
    let binaries = apt.packages("linux-binary-")?;
    let candidates: Vec<String> = images.into_iter().filter(|package| is_of(series, package)).collect();
    let versions = if candidates.is_empty() { Vec::new() } else { apt.versions(&candidates)? };
    let (package, version) = versions.into_iter().next().with_context(|| format!("no suite of Debian has a kernel {series}"))?;
    let binary = package.replacen("image", "binary", 1);
    Ok(if binaries.contains(&binary) { (binary, version) } else { (package, version) })
}

/// Whether the package is a signed cloud kernel of the series.
fn is_of(series: &str, package: &str) -> bool {
    let release = package.strip_prefix("linux-image-").filter(|release| release.ends_with(FLAVOUR));
    let prefix = series.strip_suffix('x').map_or_else(|| format!("{series}."), str::to_owned);
    release.is_some_and(|release| release.starts_with(&prefix))
}

fn kernel(series: &str, files: [PathBuf; FILES.len()], stamp: cache::Stamp) -> Kernel {
    let release = stamp.package.splitn(3, '-').nth(2).unwrap_or(&stamp.package).to_owned();
    let [image, modules @ ..] = files;
    Kernel { series: series.to_owned(), release, version: stamp.version, image, modules: modules.into() }
}

fn entry(series: &str) -> String {
    Path::new("kernels").join(series).display().to_string()
}

impl Kernel {
    /// The upstream version, all of it.
    pub fn full_version(&self) -> &str {
        self.version.split('-').next().unwrap_or(&self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signed_cloud_kernels_of_the_series_count() {
        assert!(is_of("6.1", "linux-image-6.1.0-50-cloud-amd64"));
        assert!(is_of("7.x", "linux-image-7.3.4+deb13-cloud-amd64"));
        assert!(!is_of("6.1", "linux-image-6.12.117+deb13-cloud-amd64"));
        assert!(!is_of("6.1", "linux-image-6.1.0-50-cloud-amd64-dbg"));
        assert!(!is_of("6.1", "linux-image-6.1.0-50-cloud-amd64-unsigned"));
        assert!(!is_of("6.1", "linux-image-6.1.0-50-rt-amd64"));
        assert!(!is_of("7.x", "linux-image-cloud-amd64"));
    }

    #[test]
    fn a_kernel_without_modules_has_them_in_a_package_beside_it() {
        assert_eq!(beside("linux-image-6.18.15+deb13-cloud-amd64"), None);
        assert_eq!(beside("linux-binary-7.3.4+deb13-cloud-amd64").unwrap(), "linux-modules-7.3.4+deb13-cloud-amd64");
    }
}
