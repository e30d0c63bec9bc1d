//! Heads of HTTP messages that the fuzzer found worth keeping, and what it begins with.

#[path = "fuzz/targets/passing.rs"]
mod fuzzed;

use std::{
    fs,
    path::{Path, PathBuf},
};

use fuzzed::{IS_FIRST, IS_OVER, segment};
use keepalive_trace_ebpf::mark::{CHILD, CUT, EGRESS, FIN, LISTENER, RST, START, TLS};
use proptest::{collection::vec, prelude::*, sample::Index};

const GET: &[u8] = b"GET /bjqwyz?q=zero HTTP/1.1\r\nHost: b.jy\r\nCookie: wq=zyb\r\nConnection: keep-alive, bjqwyz\r\n\r\n";
const OK: &[u8] =
    b"HTTP/1.1 200 Why\r\nContent-Length: 3\r\nConnection: close\r\nKeep-Alive: timeout=5, max=100\r\nServer: jbq\r\n\r\nbjw";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/heads")
}

#[test]
fn whatever_the_fuzzer_kept_is_read_and_nothing_of_it_comes_out() {
    let kept = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert!(kept.len() >= seeds().len(), "{} has {} files", folder().display(), kept.len());
    kept.iter().for_each(|file| fuzzed::pass(&fs::read(file).unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nor_does_anything_of_what_is_like_it(
        chosen in vec(any::<Index>(), 1..5), changes in vec((any::<Index>(), any::<u8>()), 0..8), gaps in vec((any::<Index>(), 0..60_usize), 0..3),
    ) {
        let seeds = seeds();
        let mut bytes: Vec<u8> = chosen.iter().flat_map(|one| one.get(&seeds).1.clone()).collect();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (at, gap) in gaps {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + gap).min(bytes.len() - 1).max(at));
        }
        fuzzed::pass(&bytes);
    }
}

/// Small ones, of every shape.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let first = IS_FIRST | 1;
    let post = b"POST /b HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET ";
    let chunks = b"HTTP/1.0 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbjq\r\n0\r\n\r\n";
    let pieces = || {
        GET.chunks(30).enumerate().map(|(index, piece)| segment(1, if index == 0 { START } else { 0 }, 30 * index as u16, piece))
    };
    let backwards = [segment(1, START, 0, &GET[..30])].into_iter().chain(pieces().skip(1).collect::<Vec<_>>().into_iter().rev());
    vec![
        ("exchange", [segment(first, START | EGRESS, 0, GET), segment(1, START, 0, OK), segment(1, FIN, 120, b"")].concat()),
        ("heap", segment(first, START, 0, &[GET, post, GET].concat())),
        ("answers", segment(first, START | EGRESS, 0, &[b"HTTP/1.1 100 Continue\r\n\r\n", OK, chunks].concat())),
        ("pieces", pieces().flatten().collect()),
        ("disorder", backwards.flatten().collect()),
        ("cut", [segment(2, START | CUT, 0, &GET[..50]), segment(2, START, 500, GET)].concat()),
        ("again", [segment(2, START, 0, GET), segment(2, START, 0, GET), segment(2 | IS_OVER, START, 0, GET)].concat()),
        ("child", [segment(3, START | LISTENER, 0, &GET[..40]), segment(3, CHILD, 40, &GET[40..])].concat()),
        ("upgrade", [segment(4, START | EGRESS, 0, GET), segment(4, START, 0, b"HTTP/1.1 101 Up\r\n\r\nbjq")].concat()),
        ("preface", segment(5, START, 0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        (
            "race",
            [
                segment(6, START, 0, GET),
                segment(6, START | EGRESS, 0, OK),
                segment(6, FIN | EGRESS, 90, b""),
                segment(6, START, 95, GET),
                segment(6, RST, 0, b""),
            ]
            .concat(),
        ),
        ("tls", segment(first, TLS | EGRESS, 0, b"")),
    ]
}

/// `cargo test -p keepalive-trace --test heads -- --ignored` writes them.
#[test]
#[ignore = "writes the fuzzer's seeds"]
fn the_seeds_are_written() {
    fs::create_dir_all(folder()).unwrap();
    seeds().iter().for_each(|(name, bytes)| fs::write(folder().join(name), bytes).unwrap());
}
