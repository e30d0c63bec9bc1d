//! Files that are none, and files that can't be read.
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use keepalive_trace::recording::Format;

use crate::files::*;

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
