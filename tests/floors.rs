//! The layer rule: a file imports only from its own floor or below, and the model touches nothing but data.
#![expect(clippy::unwrap_used, reason = "a test: a panic is the failure")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Rooms of `keepalive-trace/src` by floor: 1 is the model, 2 does I/O, 3 is wiring.
const FLOORS: [(&str, u32); 7] =
    [("model", 1), ("kernel", 2), ("output", 2), ("recording", 2), ("cli", 3), ("commands", 3), ("lib", 3)];

/// What the model must not know of.
const IMPURE: [&str; 12] = [
    "aya",
    "tokio",
    "clap",
    "nix",
    "libc::",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "Instant::now",
    "SystemTime",
    "println!",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below `folder`, with its text.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// The room that a file is in: its first folder, or its own name at the top.
fn room(path: &Path) -> String {
    let within = path.strip_prefix(source()).unwrap();
    let first = within.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn floor(room: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// Rooms that a text names after `crate::`, alone or in braces over several lines.
fn rooms_named(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for part in text.split("crate::").skip(1) {
        let Some(list) = part.strip_prefix('{') else {
            named.push(word(part));
            continue;
        };
        let mut depth = 0;
        let mut at_name = true;
        for (index, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_name = true,
                c if at_name && c.is_alphabetic() => {
                    named.push(word(&list[index..]));
                    at_name = false;
                }
                _ => {}
            }
        }
    }
    named
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_are_found_alone_and_in_braces() {
    assert_eq!(rooms_named("use crate::model::{event::Event, verdict};"), ["model"]);
    assert_eq!(rooms_named("use crate::{\n    kernel::{a, b::C},\n    output,\n};\ncrate::cli::X"), ["kernel", "output", "cli"]);
}

#[test]
fn every_room_imports_only_from_its_own_floor_or_below() {
    let mut wrong = Vec::new();
    for (path, text) in files(&source()) {
        let here = room(&path);
        if here == "main" {
            continue;
        }
        let own = floor(&here).unwrap_or_else(|| panic!("{here} has no floor"));
        for named in rooms_named(&text) {
            if floor(&named).is_some_and(|other| other > own) {
                wrong.push(format!("{} imports {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_model_touches_nothing_but_data() {
    let mut wrong = Vec::new();
    for (path, text) in files(&source().join("model")) {
        for impure in IMPURE {
            if text.contains(impure) {
                wrong.push(format!("{} mentions {impure}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
