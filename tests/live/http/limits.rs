//! Where there is no room: what is lost is counted, and what is no HTTP costs nothing.
use std::{io::Read as _, thread};

use lab::event::Event;
use nix::sys::signal::Signal;

use super::*;

/// Lost at one place, in all.
fn lost(finished: &Finished, place: &str) -> u64 {
    let its = |event: &&Event| event.kind == "lost" && event.place.as_deref() == Some(place);
    finished.events.iter().filter(its).filter_map(|event| event.count).sum()
}

fn messages(finished: &Finished) -> usize {
    finished.events.iter().filter(|event| event.kind == "http").count()
}

/// A tracer's own count of what came out of the rings, which it logs at its end.
fn records(finished: &Finished) -> Result<u64> {
    let line = finished.errors.lines().find_map(|line| line.split_once(" records read")).context("no count of records")?;
    line.0.rsplit(' ').next().context("no number")?.parse().context("no number")
}

pub fn heads_that_find_their_ring_full_are_counted(bench: &Bench) -> Result<()> {
    const EXCHANGES: usize = 20;
    let stage = Stage::open()?;
    let netns = stage.netns.inode().to_string();
    let tracer = bench.own_tracer(&["--http", "--buffer", "4096", "--netns", &netns])?;
    let pair = connect(&stage, Family::V4)?;
    let connection = pair.connection;
    for end in [connection, connection.other_end()] {
        tracer.wait_for_some_of(&end, "the opening", LIMIT, |event| event.kind == "open", 1)?;
    }
    tracer.signal(Signal::SIGSTOP)?;
    (0..EXCHANGES).try_for_each(|_| exchange(&pair))?;
    tracer.signal(Signal::SIGCONT)?;
    sleep(2 * SECOND);
    exchange(&pair)?;
    sleep(SECOND / 10);
    drop(pair);
    tracer.wait_for_some_of(&connection, "the end", LIMIT, |event| event.kind == "end", 1)?;
    let finished = tracer.stop()?;
    let lost = lost(&finished, "ring-buffer");
    assert!(lost > 0, "{finished:?}");
    // Each message passes twice.
    assert_eq!(messages(&finished) as u64 + lost, 4 * (EXCHANGES as u64 + 1), "{finished:?}");
    Ok(())
}

pub fn connections_that_find_their_table_full_are_counted(bench: &Bench) -> Result<()> {
    const ROOM: usize = 4;
    const PAIRS: usize = 6;
    let stage = Stage::open()?;
    let netns = stage.netns.inode().to_string();
    let tracer = bench.own_tracer(&["--http", "--netns", &netns, "--max-connections", &ROOM.to_string()])?;
    let pairs = (0..PAIRS).map(|_| connect(&stage, Family::V4)).collect::<Result<Vec<Pair>>>()?;
    for pair in &pairs {
        for end in [pair.connection, pair.connection.other_end()] {
            tracer.wait_for_some_of(&end, "an opening", LIMIT, |event| event.kind == "open", 1)?;
        }
    }
    pairs.iter().try_for_each(exchange)?;
    let finished = tracer.stop()?;
    // Histories that were forgotten, and each message at an end that is not kept in mind.
    let forgotten = 2 * PAIRS - ROOM;
    assert_eq!(lost(&finished, "connection-table"), (forgotten + 2 * forgotten) as u64, "{finished:?}");
    Ok(())
}

pub fn heads_beyond_what_is_read_are_counted_and_the_next_are_told(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http"])?;
    let pair = connect(&stage, Family::V4)?;
    pair.client.set_tcp_nodelay(true)?;
    let get = |bytes: usize| format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "c".repeat(bytes)).into_bytes();
    let answered = |head: &[u8], piece: usize| -> Result<()> {
        for piece in head.chunks(piece) {
            pair.send(piece)?;
            read(&pair.server, piece.len())?;
        }
        pair.server.send(OK)?;
        read(&pair.client, OK.len())
    };
    answered(&get(12 << 10), 4000)?;
    answered(&get(60 << 10), 1 << 20)?;
    answered(&get(60 << 10), 4000)?;
    answered(&get(70 << 10), 30_000)?;
    answered(GET, GET.len())?;
    let connection = pair.connection;
    close(pair.client, pair.server);
    tracer.wait_for_some_of(&connection, "the end", LIMIT, |event| event.kind == "end", 1)?;
    let finished = tracer.stop()?;
    let told = story(&finished.events, &connection);
    assert_eq!(told[..2], ["request 1 GET", "response 1 200"], "{told:?}");
    assert_eq!(told[2..5], ["response 2 200", "response 3 200", "response 4 200"], "{told:?}");
    assert_eq!(told[5..], ["request 5 GET", "response 5 200", "end local-close"], "{told:?}");
    assert_eq!((lost(&finished, "reader"), finished.lost()), (2 * 3, 2 * 3), "three heads, each seen twice: {finished:?}");
    Ok(())
}

pub fn a_head_in_a_segment_of_many_packets_is_told_and_its_body_is_not_looked_at(bench: &Bench) -> Result<()> {
    const BODY: usize = 200_000;
    let stage = Stage::open()?;
    let tracer = bench.own_tracer(&["--http", "-v"])?;
    let pair = connect(&stage, Family::V6)?;
    let answer = [format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes(), &[b'x'; BODY]].concat();
    for _ in 0..2 {
        pair.send(GET)?;
        read(&pair.server, GET.len())?;
        thread::scope(|scope| -> Result<()> {
            let sender = scope.spawn(|| std::io::Write::write_all(&mut &pair.server, &answer));
            read(&pair.client, answer.len())?;
            Ok(sender.join().ok().context("a panic")??)
        })?;
    }
    let connection = pair.connection;
    close(pair.client, pair.server);
    let finished = stop(tracer, &[connection])?;
    let heads = ["request 1 GET", "response 1 200", "request 2 GET", "response 2 200", "end local-close"];
    assert_eq!(story(&finished.events, &connection), heads);
    let records = records(&finished)?;
    assert!(records < 100, "{records} records for eight heads");
    Ok(())
}

pub fn what_is_no_http_passes_at_full_speed_without_a_record(bench: &Bench) -> Result<()> {
    const BYTES: usize = 8 << 20;
    let stage = Stage::open()?;
    let netns = stage.netns.inode().to_string();
    let tracer = bench.own_tracer(&["--http", "-v", "--netns", &netns])?;
    let pair = connect(&stage, Family::V4)?;
    // Records of TLS, and whatever begins like a message and is none.
    let piece = [b"\x17\x03\x03\x40\x00".as_slice(), &[b'G'; 16_379]].concat();
    thread::scope(|scope| -> Result<()> {
        let sender =
            scope.spawn(|| (0..BYTES / piece.len()).try_for_each(|_| std::io::Write::write_all(&mut &pair.client, &piece)));
        let mut bytes = vec![0; BYTES / piece.len() * piece.len()];
        (&pair.server).read_exact(&mut bytes)?;
        Ok(sender.join().ok().context("a panic")??)
    })?;
    let connection = pair.connection;
    close(pair.client, pair.server);
    let finished = stop(tracer, &[connection, connection.other_end()])?;
    assert_eq!(story(&finished.events, &connection), ["end local-close"]);
    assert_eq!(messages(&finished), 0);
    // Both ends' beginnings and ends.
    let records = records(&finished)?;
    assert!(records <= 8, "{records} records");
    Ok(())
}
