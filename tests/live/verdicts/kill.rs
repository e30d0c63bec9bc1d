//! admin-kill: somebody had the kernel end it, as `ss -K` does.
use std::{net::Shutdown, thread::sleep};

use anyhow::{Context, Result};
use lab::{
    application::Reader,
    pair::{Connection, Family},
    peer,
    role::Actor,
};

use super::{A_MOMENT, abort, three_probes};
use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
    story::Story,
};

tests![
    an_ipv4_connection,
    an_ipv6_connection,
    a_half_closed_connection_on_either_side,
    a_connection_with_a_probe_unanswered,
    the_accepted_end,
];

/// Has it ended, and holds that its history names who did it.
fn killed(scene: &Scene, connection: &Connection) -> Result<Story> {
    let mut killer = Actor::enter("killer", &scene.stage.netns)?;
    killer.destroy(connection)?;
    let story = scene.ended(connection)?.is("admin-kill", Some("ECONNABORTED"));
    let story = story.because(&["killer", &killer.pid().to_string()]);
    let reset = story.events.iter().find(|event| event.kind == "reset").context("no reset")?;
    assert_eq!((reset.task_pid, reset.task_comm.as_deref()), (Some(killer.pid()), Some("killer")));
    assert_ne!(story.end().pid, Some(killer.pid()), "who ends it does not own it: {:?}", story.end());
    Ok(story)
}

fn a_healthy_one(bench: &Bench, family: Family) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(&three_probes(family))?;
    let [client, server] = [Reader::start(&pair.client, LIMIT)?, Reader::start(&pair.server, LIMIT)?];
    killed(&scene, &pair.connection)?.probes(0, 0).tells(&["open connect", "reset outside the timer", "end admin-kill"]);
    assert_eq!(client.wait()?.0.name(), "ECONNABORTED");
    assert_eq!(server.wait()?.0.name(), "ECONNRESET");
    scene.ended(&pair.connection.other_end())?.is("peer-reset", Some("ECONNRESET")).because(&["RST"]);
    drop(pair);
    scene.hold()
}

fn an_ipv4_connection(bench: &Bench) -> Result<()> {
    a_healthy_one(bench, Family::V4)?;
    a_healthy_one(bench, Family::Mapped)
}

fn an_ipv6_connection(bench: &Bench) -> Result<()> {
    a_healthy_one(bench, Family::V6)
}

fn a_half_closed_connection_on_either_side(bench: &Bench) -> Result<()> {
    for client_closes in [true, false] {
        let scene = bench.scene()?;
        let pair = scene.stage.connect(&three_probes(Family::V6))?;
        let closes = if client_closes { &pair.client } else { &pair.server };
        closes.shutdown(Shutdown::Write).context("shutdown")?;
        sleep(A_MOMENT);
        killed(&scene, &pair.connection)?;
        let error = if client_closes { "EPIPE" } else { "ECONNRESET" };
        scene.ended(&pair.connection.other_end())?.is("peer-reset", Some(error)).because(&["RST"]);
        drop(pair);
        scene.hold()?;
    }
    Ok(())
}

/// The probe has no part in it.
fn a_connection_with_a_probe_unanswered(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&three_probes(Family::V4))?;
    peer::deafen(&pair.server)?;
    scene.stage.capture.wait_for_probes(&pair.connection, 1, LIMIT)?;
    killed(&scene, &pair.connection)?.probes(1, 1);
    abort(&scene, &pair.connection.other_end(), pair.server)?;
    scene.hold()
}

fn the_accepted_end(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(&three_probes(Family::V4))?;
    killed(&scene, &pair.connection.other_end())?;
    scene.ended(&pair.connection)?.is("peer-reset", Some("ECONNRESET")).because(&["RST"]);
    drop(pair);
    scene.hold()
}
