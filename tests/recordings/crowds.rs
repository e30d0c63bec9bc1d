//! Many files at once.
use std::{fs, path::Path};

use crate::{files::*, fuzzed};

#[test]
fn fifty_thousand_files_that_are_none_are_few_words() {
    let folder = Folder::new("garbage");
    let names: Vec<String> = (0..50_000).map(|number| number.to_string()).collect();
    let first = folder.put("0", b"something else");
    names[1..].iter().for_each(|name| fs::hard_link(&first, folder.0.join(name)).unwrap());
    let args: Vec<&str> = ["report"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let output = folder.run(&args);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.lines().count() <= 12, "{error}");
    assert!(error.ends_with("error: none of these 50000 files is a recording\n"), "{error}");
}

/// This many recordings of so many runs, told.
fn crowd(name: &str, files: u64, runs: u64) {
    let folder = Folder::new(name);
    let names: Vec<String> = (0..files).map(|number| number.to_string()).collect();
    for (number, name) in (0..).zip(&names) {
        let path = folder.0.join(name);
        match number {
            _ if number < runs => drop(folder.put(name, &recorded(&header(&format!("host{number}"), number, 1), 1, true))),
            _ => fs::hard_link(folder.0.join((number % runs).to_string()), path).unwrap(),
        }
    }
    let args: Vec<&str> = ["report"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let output = folder.run(&args);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.lines().count() <= 11, "{error}");
    assert!(stdout(&output).contains("host0"), "{}", stdout(&output));
}

#[test]
fn fifty_thousand_files_of_many_hosts_are_told_at_once() {
    crowd("crowd", 50_000, 500);
}

#[test]
fn whatever_the_fuzzer_kept_is_told_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/reader");
    let kept: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    kept.iter().for_each(|file| fuzzed::told(&fs::read(file).unwrap()));
    assert!(kept.len() >= 8, "only {} files", kept.len());
}
