//! Which Debian mirrors this machine's own apt sources name.
use std::{env, fs, path::Path};

use anyhow::{Context as _, Result};

const SUITES: [&str; 12] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "stable",
    "testing",
    "unstable",
    "oldstable",
    "oldoldstable",
    "buster",
];
const ENDINGS: [&str; 6] = ["", "-updates", "-backports", "-proposed-updates", "-security", "/updates"];

/// Names a mirror for machines whose own sources have none.
const MIRROR_VARIABLE: &str = "KEEPALIVE_TRACE_DEBIAN_MIRROR";

/// The addresses of Debian's archive and of its security updates.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirrors {
    pub main: String,
    pub security: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// Reads the machine's sources.
///
/// # Errors
/// None of them is Debian's archive.
pub fn mirrors() -> Result<Mirrors> {
    if let Ok(main) = env::var(MIRROR_VARIABLE) {
        let security = Some(format!("{}-security", main.trim_end_matches('/')));
        return Ok(Mirrors { main, security });
    }
    choose(&read(Path::new("/etc/apt"))).with_context(|| {
        format!("this machine's apt sources name no mirror of Debian: set {MIRROR_VARIABLE} to the address of one")
    })
}

fn read(apt: &Path) -> Vec<Source> {
    let mut files: Vec<_> =
        fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.insert(0, apt.join("sources.list"));
    let sources = files.iter().filter_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        match file.extension()?.to_str()? {
            "list" => Some(one_line(&text)),
            "sources" => Some(deb822(&text)),
            _ => None,
        }
    });
    sources.flatten().collect()
}

/// `deb [option=value ...] uri suite component...`
fn one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_line_entry).collect()
}

fn one_line_entry(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim().strip_prefix("deb")?;
    let line = line.starts_with(char::is_whitespace).then(|| line.trim())?;
    let (options, line) = match line.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", line),
    };
    let mut words = line.split_whitespace().map(str::to_owned);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).map(str::to_owned);
    Some(Source { uri: words.next()?, suites: vec![words.next()?], components: words.collect(), signed_by })
}

/// Stanzas of `Field: value`, parted by empty lines.
fn deb822(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).filter_map(deb822_entry).collect()
}

fn deb822_entry(stanza: &[&str]) -> Option<Source> {
    let field = |name: &str| {
        stanza.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let words = |name: &str| field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    if field("Enabled") == Some("no") || !words("Types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uri: words("URIs").into_iter().next()?,
        suites: words("Suites"),
        components: words("Components"),
        signed_by: field("Signed-By").map(str::to_owned),
    })
}

fn choose(sources: &[Source]) -> Option<Mirrors> {
    let debian: Vec<&Source> = sources.iter().filter(|source| is_debian(source)).collect();
    let of = |security: bool| {
        let found = debian.iter().find(|source| source.suites.iter().any(|suite| is_security(suite) == security));
        found.map(|source| source.uri.clone())
    };
    Some(Mirrors { main: of(false)?, security: of(true) })
}

/// Others publish under Debian's suite names, too: what tells is the component and the key.
fn is_debian(source: &Source) -> bool {
    let known = |suite: &String| SUITES.iter().any(|name| suite.strip_prefix(name).is_some_and(|end| ENDINGS.contains(&end)));
    let ours = |key: &String| key.is_empty() || key.contains("debian-archive");
    !source.suites.is_empty()
        && source.suites.iter().all(known)
        && source.components.iter().any(|component| component == "main")
        && source.signed_by.iter().all(ours)
}

fn is_security(suite: &str) -> bool {
    suite.ends_with("-security") || suite.ends_with("/updates")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_line_style_names_both_mirrors() {
        let text = "# a comment\n\
            deb-src http://one.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/usr/share/keyrings/docker.gpg] https://docker.example/debian bookworm main\n\
            deb [arch=amd64] http://one.example/debian bookworm main contrib # ours\n\
            deb http://two.example/security bookworm-security main\n";
        let both =
            Mirrors { main: "http://one.example/debian".to_owned(), security: Some("http://two.example/security".to_owned()) };
        assert_eq!(choose(&one_line(text)), Some(both));
    }

    #[test]
    fn the_stanza_style_names_both_mirrors() {
        let text = "Types: deb\n# from a snapshot\nURIs: http://one.example/debian\nSuites: trixie trixie-updates\nComponents: main\n\
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
            Enabled: no\nTypes: deb\nURIs: http://off.example/\nSuites: trixie-security\nComponents: main\n\n\
            Types: deb deb-src\nURIs: http://two.example/security\nSuites: trixie-security\nComponents: main\n";
        let both =
            Mirrors { main: "http://one.example/debian".to_owned(), security: Some("http://two.example/security".to_owned()) };
        assert_eq!(choose(&deb822(text)), Some(both));
    }

    #[test]
    fn other_archives_are_not_taken_for_debian() {
        let text = "deb https://packages.example/apt cloud-sdk-bookworm main\n\
            deb http://ubuntu.example/ubuntu noble main\n\
            deb https://postgres.example/pub bookworm-pgdg main\n\
            deb https://docker.example/linux/debian bookworm stable\n";
        assert_eq!(choose(&one_line(text)), None);
    }
}
