use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::*;
use crate::model::{
    event::{Body, Event},
    samples,
};

/// What a file tells.
fn read(path: &Path) -> Result<(Vec<Event>, Found)> {
    let mut events = Vec::new();
    let found = Reader::open(path)?.read(
        Wanted::Everything,
        |event| {
            events.push(event.clone());
            Ok(())
        },
        |_| {},
    )?;
    Ok((events, found))
}

fn header() -> Header {
    let Event { mono_ns, body: Body::Start(start) } = samples::start() else { panic!("no start") };
    Header::of(start, mono_ns, 1)
}

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keepalive-trace-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn every_event_comes_back_as_it_was() {
    let folder = Folder::new("roundtrip");
    let path = folder.0.join("x.arrows");
    let mut writer = Writer::begin(fs::File::create(&path).unwrap(), &header()).unwrap();
    let mut wanted = Vec::new();
    for round in 0..3 {
        for event in samples::all() {
            if writer.add(&event).unwrap() {
                wanted.push(event);
            }
        }
        if round < 2 {
            writer.flush().unwrap();
        }
    }
    assert!(writer.finish(Some((99, wanted.len() as u64))).is_ok());
    let (events, found) = read(&path).unwrap();
    assert_eq!(events, wanted);
    assert_eq!(found, Found { ending: Ending::Stopped { mono_ns: 99 }, events: wanted.len() as u64, strange: 0 });
    assert_eq!(Reader::open(&path).unwrap().header, header());
}
