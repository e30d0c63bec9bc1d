//! What the fuzzer found worth keeping, and what it begins with.
use std::fs;

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/reader")
}

#[test]
fn whatever_the_fuzzer_kept_is_read_or_refused() {
    let mut files = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        files += 1;
        drop(read(&bytes));
        drop(unsealed(&bytes).map(told));
        drop(unsealed(&bytes).map(reported));
        let file = BufReader::with_capacity(7, &*bytes);
        drop(Reader::of(&path, bytes.len() as u64, file).map(told));
    }
    assert!(files >= 8, "{} has {files} files", folder().display());
}

/// Small ones, of every shape: `cargo test -p keepalive-trace seeds -- --ignored` writes them.
#[test]
#[ignore = "writes the fuzzer's seeds"]
fn seeds() {
    let put = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(folder()).unwrap();
        fs::write(folder().join(name), bytes).unwrap();
    };
    put("nothing", &end(writer(&header()), Some((5, 0))));
    for (number, event) in batch(0).into_iter().enumerate().filter(|(number, _)| [0, 2, 7, 11].contains(number)) {
        put(&format!("one-{number}"), &Recorded::of(&[vec![event]]).bytes);
    }
    put("renewed", &Recorded::of(&[batch(0)[..3].to_vec(), batch(1)[..3].to_vec()]).bytes);
    put("all", &Recorded::of(&[batch(0), batch(1)]).bytes);
    let mut whole = writer(&header());
    batch(0).iter().for_each(|event| assert!(whole.add(event).unwrap()));
    put("stopped", &end(whole, Some((9, 12))));
    let mut exported = Vec::new();
    let mut table = Table::of_events(&mut exported, Format::Arrows, str::to_owned).unwrap();
    let mut events = Events::of(&header());
    batch(0).iter().for_each(|event| events.add(event, &mut table).unwrap());
    events.flush(&mut table).unwrap();
    table.finish().unwrap();
    put("exported", &exported);
}
