//! A table without room for all: what is forgotten for it is counted, and comes to be known again.
use std::{collections::BTreeSet, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    application::Reader,
    event::Event,
    pair::{Family, Pair, Plan},
    peer,
    stage::Stage,
    tracer::{Finished, Tracer},
};

use crate::bench::{Bench, LIMIT, tests};

tests![each_history_that_is_forgotten_counts_as_lost, a_connection_that_was_forgotten_still_has_its_death_explained];

const ROOM: usize = 4;
const PAIRS: usize = 6;

/// Holds that each history beyond those that there was room for has cost another its place, and that this was counted.
fn each_beyond_the_room_was_counted(finished: &Finished) -> Result<()> {
    let opened = finished.events.iter().filter(|event| event.kind == "open").count();
    let lost: Vec<&Event> = finished.events.iter().filter(|event| event.kind == "lost").collect();
    assert!(lost.iter().all(|event| event.place.as_deref() == Some("connection-table")), "{lost:?}");
    assert_eq!(finished.lost(), (opened - ROOM) as u64, "{opened} histories, and room for {ROOM}");
    assert_eq!(finished.stop_line()?.lost, Some(finished.lost()));
    Ok(())
}

/// A tracer with little room, once it has looked around.
fn cramped(bench: &Bench, stage: &Stage) -> Result<Tracer> {
    let netns = stage.netns.inode().to_string();
    let tracer = bench.own_tracer(&["--netns", &netns, "--max-connections", &ROOM.to_string()])?;
    sleep(Duration::from_secs(1));
    Ok(tracer)
}

fn each_history_that_is_forgotten_counts_as_lost(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = cramped(bench, &stage)?;
    let pairs = (0..PAIRS).map(|_| stage.connect(&Plan::new(Family::V6))).collect::<Result<Vec<Pair>>>()?;
    for pair in &pairs {
        for end in [pair.connection, pair.connection.other_end()] {
            tracer.wait_for_some_of(&end, "an opening", LIMIT, |event| event.kind == "open", 1)?;
        }
    }
    let finished = tracer.stop()?;
    each_beyond_the_room_was_counted(&finished)?;
    assert_eq!(finished.lost(), (2 * PAIRS - ROOM) as u64, "nothing else happened to them");
    Ok(())
}

fn a_connection_that_was_forgotten_still_has_its_death_explained(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let tracer = cramped(bench, &stage)?;
    let plan = Plan::new(Family::V4).keepalive(2, 1, 2);
    let pairs = (0..PAIRS).map(|_| stage.connect(&plan)).collect::<Result<Vec<Pair>>>()?;
    let readers = pairs.iter().map(|pair| Reader::start(&pair.client, LIMIT)).collect::<Result<Vec<Reader>>>()?;
    pairs.iter().try_for_each(|pair| peer::deafen(&pair.server))?;
    for reader in readers {
        assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    }
    for pair in &pairs {
        tracer.wait_for_some_of(&pair.connection, "the end", LIMIT, |event| event.kind == "end", 1)?;
    }
    let finished = tracer.stop()?;
    each_beyond_the_room_was_counted(&finished)?;
    let mut ids = BTreeSet::new();
    for pair in &pairs {
        let told: Vec<&Event> = finished.events.iter().filter(|event| event.is_of(&pair.connection)).collect();
        let ends: Vec<&&Event> = told.iter().filter(|event| event.kind == "end").collect();
        assert_eq!(ends.len(), 1, "{told:?}");
        let (verdict, errno) = (ends[0].verdict.as_deref(), ends[0].errno.as_deref());
        assert_eq!((verdict, errno), (Some("keepalive-timeout"), Some("ETIMEDOUT")));
        // Whoever had been forgotten right before has an owner that nobody has looked for yet, and never a wrong one.
        assert!(ends[0].pid.is_none_or(|pid| pid == std::process::id()), "{:?}", ends[0]);
        assert_eq!(told.iter().filter(|event| event.kind == "probe").count(), 2, "{told:?}");
        for opened in told.iter().filter(|event| event.kind == "open") {
            assert_eq!((opened.time_s, opened.intvl_s, opened.probes), (Some(2), Some(1), Some(2)), "{opened:?}");
            assert!(ids.insert(opened.conn.clone().context("no conn")?), "an id of its own: {opened:?}");
        }
    }
    assert!(ids.len() > PAIRS, "none of them was forgotten and came to be known again: {ids:?}");
    Ok(())
}
