//! Whole recordings, and what is left of others.
use std::fs;

use keepalive_trace::{
    model::{
        event::Body,
        owner::{Comm, Owner, Task},
    },
    recording::Writer,
};

use crate::files::*;

#[test]
fn a_whole_recording_is_read_without_a_word_on_standard_error() {
    let folder = Folder::new("whole");
    folder.put("x.arrows", &whole());
    for (output, command) in folder.run_each(&["x.arrows"]) {
        assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""), "{command}");
    }
}

/// A program that reads the lines learns first how a connection began, from a replay as from `trace --json`.
#[test]
fn a_replay_in_json_has_the_openings() {
    let folder = Folder::new("openings");
    folder.put("x.arrows", &whole());
    let openings = |args: &[&str]| stdout(&folder.run(args)).lines().filter(|line| line.contains(r#""event":"open""#)).count();
    let all = openings(&["replay", "x.arrows", "--json", "--all"]);
    assert!(all > 0);
    assert_eq!(openings(&["replay", "x.arrows", "--json"]), all);
}

/// A task that is called like this means harm: to a spreadsheet, a terminal, a reader's eye, and a page.
#[test]
fn a_name_that_means_harm_does_none_wherever_it_is_shown() {
    const NAME: &str = "=\u{1b}[31m\u{202e}<q>\u{7f}";
    let cut = *b"\xf0\x9f\x90\xa2\xf0\x9f\x90\xa2\xf0\x9f\x90\xa2\xf0\x9f\x90\0";
    let folder = Folder::new("harm");
    let mut writer = Writer::begin(Vec::new(), &header("db1", 1, 1)).unwrap();
    for (mut event, comm) in events(2).into_iter().zip([Comm::from(NAME), Comm::from(cut)]) {
        if let Body::Open(connection, _) = &mut event.body {
            connection.owner = Some(Owner { task: Task { pid: 812, comm }, holders: 1 });
        }
        writer.add(&event).unwrap();
    }
    let bytes = writer.finish(Some((9_000_000, 2))).unwrap_or_else(|(_, error)| panic!("{error:#}"));
    folder.put("x.arrows", &bytes);
    let shown = |args: &[&str]| {
        let output = folder.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        let text = stdout(&output);
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7f}']), "{args:?}: {text:?}");
        assert!(text.contains("\u{1f422}\u{1f422}\u{1f422}"), "{args:?}: {text:?}");
        text
    };
    shown(&["report", "x.arrows", "--histories"]);
    shown(&["replay", "x.arrows", "--all"]);
    let csv = shown(&["export", "x.arrows", "--format", "csv", "-o", "-"]);
    assert!(csv.contains(",'=\\u{1b}[31m"), "a formula: {csv}");
    for args in [
        &["report", "x.arrows", "--json"][..],
        &["replay", "x.arrows", "--all", "--json"],
        &["export", "x.arrows", "--format", "jsonl", "-o", "-"],
    ] {
        let lines = shown(args);
        let names: Vec<_> = lines
            .lines()
            .filter_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line.get("comm")?.as_str().map(str::to_owned)
            })
            .collect();
        assert!(names.iter().any(|name| name == NAME), "{args:?}: {names:?}");
    }
    assert!(folder.run(&["report", "x.arrows", "--html", "x.html"]).status.success());
    let page = fs::read_to_string(folder.0.join("x.html")).unwrap();
    assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{7f}']) && !page.contains("<q>"), "the page has it raw");
}

#[test]
fn a_torn_recording_tells_what_it_has_and_that_it_has_no_end() {
    let folder = Folder::new("torn");
    let mut writer = Writer::begin(Vec::new(), &header("db1", 5, 1)).unwrap();
    for event in events(3) {
        writer.add(&event).unwrap();
    }
    writer.flush().unwrap();
    writer.add(&events(1)[0]).unwrap();
    let two = writer.finish(None).unwrap_or_else(|(_, error)| panic!("{error:#}"));
    folder.put("x.arrows", &two[..two.len() - 20]);
    for (output, command) in folder.run_each(&["x.arrows"]) {
        assert_eq!(output.status.code(), Some(0), "{command}: {}", stderr(&output));
        let told = stdout(&output) + &stderr(&output);
        assert!(told.contains("incomplete: x.arrows has no end (its last "), "{command}: {told}");
    }
}

#[test]
fn the_same_file_twice_is_read_once() {
    let folder = Folder::new("twice");
    folder.put("x.arrows", &whole());
    fs::hard_link(folder.0.join("x.arrows"), folder.0.join("y.arrows")).unwrap();
    let once = folder.run(&["report", "x.arrows"]);
    for other in ["x.arrows", "y.arrows"] {
        let twice = folder.run(&["report", "x.arrows", other]);
        assert_eq!((twice.status.code(), stdout(&twice)), (Some(0), stdout(&once)));
        assert!(stderr(&twice).starts_with("note: ") && stderr(&twice).lines().count() == 1, "{}", stderr(&twice));
    }
}

#[test]
fn parts_are_read_in_their_order_and_missing_ones_are_named() {
    let folder = Folder::new("parts");
    for part in 1..=5 {
        folder.put(&format!("p{part}"), &recorded(&header("db1", 5, part), 2, part == 5));
    }
    let all = folder.run(&["report", "p1", "p2", "p3", "p4", "p5"]);
    assert_eq!(all.status.code(), Some(0), "{}", stderr(&all));
    assert!(!stdout(&all).contains("incomplete"), "{}", stdout(&all));
    assert_eq!(stdout(&folder.run(&["report", "p4", "p1", "p5", "p3", "p2"])), stdout(&all));
    for (output, command) in folder.run_each(&["p4", "p2"]) {
        assert_eq!(output.status.code(), Some(0), "{command}: {}", stderr(&output));
        let told = stdout(&output) + &stderr(&output);
        for gap in [
            "incomplete: part 1 is missing",
            "incomplete: part 3 is missing",
            "incomplete: after p4, part 5 and what follows are missing",
        ] {
            assert!(told.contains(gap), "{command}: {told}");
        }
    }
}

#[test]
fn recordings_of_several_hosts_are_told_together_and_a_bad_one_among_them_is_named_and_fails() {
    let folder = Folder::new("hosts");
    for host in ["db1", "db2", "web"] {
        folder.put(host, &recorded(&header(host, 5, 1), 2, true));
    }
    let output = folder.run(&["report", "web", "db2", "db1"]);
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""));
    for host in ["db1", "db2", "web"] {
        assert!(stdout(&output).contains(host), "{}", stdout(&output));
    }
    folder.put("bad", b"something else");
    let output = folder.run(&["report", "web", "bad", "db1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("db1"), "{}", stdout(&output));
    let [note, error] = stderr(&output).lines().map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    assert!(note.starts_with("note: bad is no recording"), "{note}");
    assert_eq!(error, "error: a file was left out, as said above");
}
