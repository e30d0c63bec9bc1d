//! Files whose end is replaced while they are written, and what is left of them whenever the recorder is killed.
use std::{env, fs, fs::File, os::unix::fs::FileExt as _, process};

use super::*;
use crate::recording::{Output, tail};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("keepalive-trace-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// One event of this number.
fn event(number: usize) -> Event {
    let events = batch((number / 12) as u16);
    events[number % events.len()].clone()
}

fn begin(path: &Path) -> Writer<Output> {
    Writer::begin(Output::File(crate::recording::create(path, true).unwrap()), &header()).unwrap()
}

/// Writes this number of events, each by itself.
fn write(writer: &mut Writer<Output>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert!(writer.add(&event(number)).unwrap());
        writer.write().unwrap();
    }
}

fn read_file(path: &Path) -> (Vec<Event>, Found) {
    told(Reader::open(path).unwrap()).unwrap()
}

#[test]
fn an_event_a_second_takes_little_and_all_come_back() {
    let folder = Folder::new("tail-little");
    let path = folder.0.join("x.arrows");
    let mut writer = begin(&path);
    write(&mut writer, 0..1000);
    let (_, bytes) = writer.close(Some((99, 1000))).unwrap();
    assert_eq!(bytes, fs::metadata(&path).unwrap().len());
    let (told, found) = read_file(&path);
    assert!(told == (0..1000).map(event).collect::<Vec<_>>());
    assert_eq!(found.ending, Ending::Stopped { mono_ns: 99 });
    assert!(bytes < 150_000, "{bytes} bytes");
}

#[test]
fn whenever_it_is_killed_no_event_that_was_written_is_lost() {
    let folder = Folder::new("tail-killed");
    let path = folder.0.join("x.arrows");
    let mut writer = begin(&path);
    write(&mut writer, 0..200);
    let whole = |count: usize, path: &Path, what: &str| {
        let (told, found) = read_file(path);
        assert!(told == (0..count).map(event).collect::<Vec<_>>(), "{what}: {} events", told.len());
        assert!(matches!(found.ending, Ending::Torn { .. }), "{what}: {:?}", found.ending);
    };
    whole(200, &path, "as it is");
    let before = fs::read(&path).unwrap();
    writer.close(None).unwrap();
    let after = fs::read(&path).unwrap();
    let at = before.iter().zip(&after).position(|(before, after)| before != after).unwrap() / 8 * 8;
    // The message in which they begin to differ, and all behind it.
    let mut frames = Frames::new(&*after, true);
    let mut from = 0;
    while frames.at <= at as u64 {
        from = frames.at;
        assert!(matches!(frames.next().unwrap(), frame::Next::Message(_)));
    }
    let bytes = &after[from as usize..after.len() - frame::END.len()];
    let trailer = tail::trailer(from, bytes);
    let (copy, place) = tail::steps(from, before.len() as u64, bytes, &trailer);
    let killed = folder.0.join("killed.arrows");
    fs::write(&killed, &before).unwrap();
    let file = File::options().write(true).open(&killed).unwrap();
    for (number, (offset, bytes)) in copy.iter().chain(&place).enumerate() {
        for cut in (0..=bytes.len()).step_by(bytes.len().div_ceil(9)).chain([bytes.len()]) {
            file.write_all_at(&bytes[..cut], *offset).unwrap();
            whole(200, &killed, &format!("{cut} bytes of write {number}"));
        }
    }
    file.set_len(from + bytes.len() as u64).unwrap();
    whole(200, &killed, "cut off");
}

#[test]
fn no_end_is_replaced_while_somebody_reads() {
    let folder = Folder::new("tail-read");
    let path = folder.0.join("x.arrows");
    let mut writer = begin(&path);
    write(&mut writer, 0..100);
    let reader = Reader::open(&path).unwrap();
    let before = fs::read(&path).unwrap();
    write(&mut writer, 100..300);
    assert!(fs::read(&path).unwrap().starts_with(&before));
    let (told, _) = told(reader).unwrap();
    assert!(told == (0..300).map(event).collect::<Vec<_>>());
    write(&mut writer, 300..301);
    assert!(fs::metadata(&path).unwrap().len() < before.len() as u64, "the reader has gone");
    assert_eq!(read_file(&path).0.len(), 301);
}

#[test]
fn what_goes_into_a_pipe_is_never_replaced() {
    let mut writer = writer(&header());
    for number in 0..300 {
        assert!(writer.add(&event(number)).unwrap());
        let before = writer.get_mut().clone();
        writer.flush().unwrap();
        assert!(writer.get_mut().starts_with(&before));
    }
}

#[test]
fn a_trailer_that_is_none_is_taken_for_none() {
    let folder = Folder::new("tail-none");
    let path = folder.0.join("x.arrows");
    let bytes = Recorded::of(&[batch(0), batch(1)]).bytes;
    for (at, size) in [(0_u64, u64::MAX), (u64::MAX, 0), (3, 40)] {
        let mut trailer = tail::trailer(at, b"");
        trailer[8..16].copy_from_slice(&size.to_le_bytes());
        fs::write(&path, [&*bytes, &trailer].concat()).unwrap();
        assert_eq!(read_file(&path).0.len(), 2 * batch(0).len());
    }
}
