//! Where exports and reports go, and where they don't.
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use crate::files::*;

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
    assert!(!folder.0.join("out.jsonl").exists());
}
