//! When the running recording writes, and when it begins another file.
use std::{env, fs, process, thread, time::Duration};

use super::*;
use crate::recording::{Plan, Recorder, Rotation};

#[test]
fn it_says_when_it_has_something_to_do_next_and_then_does_it() {
    const AGE: Duration = Duration::from_millis(1300);
    let folder = env::temp_dir().join(format!("keepalive-trace-recorder-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let rotation = Rotation { bytes: None, age: Some(AGE), keep: 5 };
    let plan = Plan { path: Some(folder.join("x.arrows")), overwrite: false, rotation: Some(rotation) };
    let mut recorder = Recorder::begin(plan, header()).unwrap();
    assert_eq!(recorder.due(), None, "nothing came, and an empty file is none to begin another after");

    let (begun, first) = (recorder.bytes(), recorder.path().cloned());
    batch(0).iter().for_each(|event| recorder.add(event).unwrap());
    let due = recorder.due().unwrap();
    assert!(due <= Duration::from_secs(1), "{due:?}: what came is written within a second");
    recorder.tick().unwrap();
    assert_eq!(recorder.bytes(), begun, "it is not time yet");
    thread::sleep(due);
    recorder.tick().unwrap();
    assert!(recorder.bytes() > begun);
    assert_eq!(recorder.path(), first.as_ref());

    // Nothing more comes, and another file begins all the same.
    let due = recorder.due().unwrap();
    assert!(due <= AGE, "{due:?}");
    thread::sleep(due);
    recorder.tick().unwrap();
    assert_ne!(recorder.path(), first.as_ref());
    assert_eq!(recorder.due(), None);
    drop(recorder);
    fs::remove_dir_all(folder).unwrap();
}
