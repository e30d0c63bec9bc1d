//! Recordings to meet, in a folder of their own, and the program that meets them.
use std::{
    fs,
    path::PathBuf,
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
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keepalive-trace-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Output {
        self.run_into(args, Stdio::piped())
    }

    pub fn run_into<S: AsRef<std::ffi::OsStr>>(&self, args: &[S], stdout: Stdio) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keepalive-trace"));
        command.args(args).current_dir(&self.0).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    }

    /// What each command makes of these files.
    pub fn run_each(&self, files: &[&str]) -> Vec<(Output, &'static str)> {
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

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Of a run on this host: two runs that began at different times are different ones.
pub fn header(host: &str, started_ns: u64, part: u32) -> Header {
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

pub fn events(count: u64) -> Vec<Event> {
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
pub fn recorded(header: &Header, count: u64, stops: bool) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), header).unwrap();
    let events = events(count);
    events.iter().for_each(|event| assert!(writer.add(event).unwrap()));
    let stop = stops.then_some((1_000_000 * (count + 2), events.len() as u64));
    writer.finish(stop).unwrap_or_else(|(_, error)| panic!("{error:#}"))
}

pub fn whole() -> Vec<u8> {
    recorded(&header("db1", 5, 1), 3, true)
}

pub fn exported(format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut table = Table::of_events(&mut bytes, format, str::to_owned).unwrap();
    let mut rows = Events::of(&header("db1", 5, 1));
    events(3).iter().for_each(|event| rows.add(event, &mut table).unwrap());
    rows.flush(&mut table).unwrap();
    table.finish().unwrap();
    bytes
}

/// The same recording in the next format: a number in its sealed header.
pub fn of_a_later_format(mut bytes: Vec<u8>) -> Vec<u8> {
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
pub fn one_sentence(output: &Output, says: &str, what: &str) {
    let error = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{what}: {error}");
    assert!(error.starts_with("error: ") && error.contains(says), "{what}: {error}");
    assert_eq!(error.lines().count(), 1, "{what}: {error}");
    assert!(!error.contains("panicked"), "{what}: {error}");
    assert!(output.stdout.is_empty(), "{what}: {}", stdout(output));
}
