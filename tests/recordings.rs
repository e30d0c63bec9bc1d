//! Recordings as a user meets them: whole ones, what is left of others, and files that are none.
#![expect(clippy::unwrap_used, reason = "a test: a panic is the failure")]
#![expect(clippy::print_stdout, reason = "a test that is left out says why")]

#[path = "fuzz/targets/told.rs"]
mod fuzzed;

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use keepalive_trace::{
    model::{
        event::{Body, ConnId, Connection, Event, Family, How, Lost, Open, Place, Start},
        owner::{Comm, Owner, Task},
        state::State,
    },
    recording::{Events, Format, Header, SCHEMA, Table, Writer},
};

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keepalive-trace-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn run<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Output {
        self.run_into(args, Stdio::piped())
    }

    fn run_into<S: AsRef<std::ffi::OsStr>>(&self, args: &[S], stdout: Stdio) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keepalive-trace"));
        command.args(args).current_dir(&self.0).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    }

    /// What each command makes of these files.
    fn run_each(&self, files: &[&str]) -> Vec<(Output, &'static str)> {
        let mut outputs = Vec::new();
        for (command, name) in
            [(&["report"][..], "report"), (&["replay"], "replay"), (&["export", "-o", "out.jsonl", "--force"], "export")]
        {
            outputs.push((self.run(&[command, files].concat()), name));
        }
        drop(fs::remove_file(self.0.join("out.jsonl")));
        outputs
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Of a run on this host: two runs that began at different times are different ones.
fn header(host: &str, started_ns: u64, part: u32) -> Header {
    let start = Start {
        version: "0.1.0".to_owned(),
        host: host.to_owned(),
        kernel: "6.18.15".to_owned(),
        hz: 250,
        attach: None,
        cmdline: "keepalive-trace record".to_owned(),
        sysctls: None,
        wall_offset_ns: 1_700_000_000_000_000_000,
    };
    Header { part, ..Header::of(start, started_ns, 1) }
}

fn events(count: u64) -> Vec<Event> {
    let event = |number: u64| {
        let task = Task { pid: 812, comm: Comm::from("app") };
        let connection = Connection {
            id: ConnId(number),
            cookie: None,
            family: Family::V4,
            local: ([10, 0, 0, 5], 51334).into(),
            remote: ([10, 0, 0, 9], 5432).into(),
            netns: Some(7),
            cgroup: None,
            owner: Some(Owner { task, holders: 1 }),
            state: State(1),
            settings: None,
            idle_ms: None,
            probes_out: Some(0),
        };
        Event { mono_ns: 1_000_000 * (number + 1), body: Body::Open(connection, Open { how: How::Connect, connect_us: None }) }
    };
    let lost = Event { mono_ns: 1_000_000 * (count + 1), body: Body::Lost(Lost { count: 3, place: Place::RingBuffer }) };
    (0..count).map(event).chain([lost]).collect()
}

/// A recording, with the run's end or without.
fn recorded(header: &Header, count: u64, stops: bool) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), header).unwrap();
    let events = events(count);
    events.iter().for_each(|event| assert!(writer.add(event).unwrap()));
    let stop = stops.then_some((1_000_000 * (count + 2), events.len() as u64));
    writer.finish(stop).unwrap_or_else(|(_, error)| panic!("{error:#}"))
}

fn whole() -> Vec<u8> {
    recorded(&header("db1", 5, 1), 3, true)
}

fn exported(format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut table = Table::of_events(&mut bytes, format, str::to_owned).unwrap();
    let mut rows = Events::of(&header("db1", 5, 1));
    events(3).iter().for_each(|event| rows.add(event, &mut table).unwrap());
    rows.flush(&mut table).unwrap();
    table.finish().unwrap();
    bytes
}

/// The same recording in the next format: a number in its sealed header.
fn of_a_later_format(mut bytes: Vec<u8>) -> Vec<u8> {
    let seal = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let text = SCHEMA.to_string().into_bytes();
    assert_eq!(text.len(), 1);
    for at in 8..seal - 6 {
        if bytes[at..at + 6] == [1, 0, 0, 0, text[0], 0] {
            bytes[at + 4] += 1;
        }
    }
    let crc = crc32fast::hash(&bytes[4..seal]);
    bytes[seal + 4..seal + 8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Holds that it failed, with one sentence that says this.
fn one_sentence(output: &Output, says: &str, what: &str) {
    let error = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{what}: {error}");
    assert!(error.starts_with("error: ") && error.contains(says), "{what}: {error}");
    assert_eq!(error.lines().count(), 1, "{what}: {error}");
    assert!(!error.contains("panicked"), "{what}: {error}");
    assert!(output.stdout.is_empty(), "{what}: {}", stdout(output));
}

#[test]
fn a_file_that_is_no_recording_is_refused_in_one_sentence_that_says_what_it_is() {
    let folder = Folder::new("strangers");
    let whole = whole();
    let first = u32::from_le_bytes(whole[4..8].try_into().unwrap()) as usize;
    let mut flipped = whole.clone();
    flipped[100] ^= 4;
    let foreign = {
        let schema = arrow_schema::Schema::new(vec![arrow_schema::Field::new("x", arrow_schema::DataType::Int32, true)]);
        arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap()
    };
    for (name, bytes, says) in [
        ("x.pcap", &b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0"[..], "looks like a packet capture"),
        ("x.pcapng", b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a", "looks like a packet capture"),
        ("x.parquet", &exported(Format::Parquet), "a Parquet file, perhaps an export: give the recording"),
        ("x.arrow", b"ARROW1\0\0\xff\xff\xff\xff\x10\0\0\0", "an Arrow file"),
        ("x.foreign", &foreign, "is an Arrow stream, but no recording of keepalive-trace"),
        ("x.arrows", &exported(Format::Arrows), "is an export or another tool's copy of a recording: give the recording"),
        ("x.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "a gzip file: unpack it first"),
        ("x.zst", b"\x28\xb5\x2f\xfd\x04\x58\x09\0\0", "a zstd file: unpack it first"),
        ("x.jsonl", b"{\"event\":\"start\",\"time\":1}\n", "JSON: give the recording"),
        ("x.csv", b"time,event,host\n1,open,db1\n", "looks like text"),
        ("x.zeros", &[0; 64], "looks like zeros"),
        ("x.random", b"\x93\x01\xfe\x00\x17\xd2\x9b\x04\x81\x02", "is no recording of keepalive-trace: `keepalive-trace record`"),
        ("x.empty", b"", "is empty: whoever was to record into it"),
        ("x.cut", &whole[..first / 2], "was cut off within its first message"),
        ("x.3", &whole[..3], "was cut off within its first message, after 3 bytes"),
        ("x.flipped", &flipped, "is damaged at its very beginning"),
        (
            "x.later",
            &of_a_later_format(whole.clone()),
            "in format 2, and this one reads format 1: use that version, or a later one",
        ),
    ] {
        folder.put(name, bytes);
        for (output, command) in folder.run_each(&[name]) {
            one_sentence(&output, says, &format!("{command} {name}"));
            assert!(stderr(&output).contains(name), "{command}: {}", stderr(&output));
        }
    }
}

#[test]
fn what_is_no_file_is_refused_in_one_sentence_and_not_waited_for() {
    let folder = Folder::new("no-files");
    fs::create_dir(folder.0.join("folder")).unwrap();
    nix::unistd::mkfifo(&folder.0.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (name, says) in [
        ("folder", "folder is a directory: name the recordings in it, like folder/*.arrows"),
        ("fifo", "fifo is not a regular file"),
        ("/dev/null", "/dev/null is not a regular file"),
        ("missing", "cannot read missing: no such file or directory"),
    ] {
        for (output, command) in folder.run_each(&[name]) {
            one_sentence(&output, says, &format!("{command} {name}"));
        }
    }
}

#[test]
fn a_file_of_somebody_elses_is_refused_with_the_way_out() {
    let folder = Folder::new("forbidden");
    let path = folder.put("x.arrows", &whole());
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_ok() {
        println!("left out: this user may read every file");
        return;
    }
    for (output, command) in folder.run_each(&["x.arrows"]) {
        one_sentence(&output, "cannot read x.arrows: permission denied: recordings are for their owner alone", command);
    }
}

#[test]
fn a_whole_recording_is_read_without_a_word_on_standard_error() {
    let folder = Folder::new("whole");
    folder.put("x.arrows", &whole());
    for (output, command) in folder.run_each(&["x.arrows"]) {
        assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""), "{command}");
    }
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
fn an_export_is_for_its_owner_alone_and_overwrites_nothing_unasked() {
    let folder = Folder::new("exports");
    folder.put("x.arrows", &whole());
    let out = folder.0.join("out.jsonl");
    let export = ["export", "x.arrows", "-o", "out.jsonl"];
    assert_eq!(folder.run(&export).status.code(), Some(0));
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    folder.put("out.jsonl", b"precious");
    one_sentence(&folder.run(&export), "out.jsonl exists already: give another name, or --force to overwrite it", "exists");
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    fs::set_permissions(&out, Permissions::from_mode(0o644)).unwrap();
    let force = ["export", "x.arrows", "-o", "out.jsonl", "--force"];
    assert_eq!(folder.run(&force).status.code(), Some(0));
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);

    // Somebody records into it.
    let locked = File::options().write(true).open(&out).unwrap();
    locked.try_lock().unwrap();
    let before = fs::read(&out).unwrap();
    for args in [&export[..], &force] {
        one_sentence(&folder.run(args), "another recorder is writing out.jsonl: give another name", "locked");
    }
    assert_eq!(fs::read(&out).unwrap(), before);
}

#[test]
fn an_export_goes_into_no_link_pipe_or_device_whatever_is_forced() {
    let folder = Folder::new("targets");
    folder.put("x.arrows", &whole());
    let precious = folder.put("precious", b"precious");
    symlink(&precious, folder.0.join("link")).unwrap();
    symlink("nowhere", folder.0.join("dangling")).unwrap();
    nix::unistd::mkfifo(&folder.0.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for out in ["link", "dangling", "fifo", "/dev/full", "/dev/null", "."] {
        for force in [&[][..], &["--force"]] {
            let args = [&["export", "x.arrows", "--format", "jsonl", "-o", out], force].concat();
            one_sentence(&folder.run(&args), "is no regular file, and nothing else is written to", out);
        }
    }
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert!(!folder.0.join("nowhere").exists());
    let args = ["export", "x.arrows", "-o", "missing/out.jsonl"];
    one_sentence(&folder.run(&args), "cannot create missing/out.jsonl: No such file or directory", "missing");
}

#[test]
fn a_full_disk_is_one_sentence_and_a_closed_pipe_is_none() {
    let folder = Folder::new("full");
    folder.put("x.arrows", &recorded(&header("db1", 5, 1), 2000, true));
    for format in ["jsonl", "arrows", "parquet"] {
        let args = ["export", "x.arrows", "--format", format, "-o", "-"];
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = folder.run_into(&args, full.into());
        assert_eq!(output.status.code(), Some(1), "{format}");
        let error = stderr(&output);
        assert!(error.contains("No space left on device") && error.lines().count() == 1, "{format}: {error}");
    }
    for args in [
        &["report", "x.arrows", "--histories"][..],
        &["report", "x.arrows", "--json"],
        &["replay", "x.arrows", "--all"],
        &["export", "x.arrows", "--format", "jsonl", "-o", "-"],
        &["export", "x.arrows", "--format", "parquet", "-o", "-"],
        &["export", "x.arrows", "--format", "arrows", "-o", "-"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = folder.run_into(args, writer.into());
        assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn wrong_usage_is_code_2() {
    let folder = Folder::new("usage");
    for args in
        [&["report"][..], &["replay"], &["export", "x.arrows"], &["export", "-o", "out.jsonl"], &["report", "x", "--limit", "-1"]]
    {
        let output = folder.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).starts_with("error: "), "{args:?}: {}", stderr(&output));
    }
    assert!(!Path::new("out.jsonl").exists());
}

#[test]
fn whatever_the_fuzzer_kept_is_told_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/reader");
    let kept: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    kept.iter().for_each(|file| fuzzed::told(&fs::read(file).unwrap()));
    assert!(kept.len() >= 8, "only {} files", kept.len());
}
