//! peer-close and local-close: an orderly end, by who said FIN first.
use std::{net::Shutdown, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    application::{Ending, Reader, error_of},
    pair::{Connection, Family, Pair, Plan},
    peer,
    wire::Kind,
};

use super::{A_MOMENT, counted, three_probes};
use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
};

tests![
    #[full_stream]
    the_client_closes_first,
    #[full_stream]
    the_server_closes_first,
    half_closed_for_long_and_then_closed,
    #[full_stream]
    both_at_once,
    a_goodbye_that_a_reset_cuts_short,
    a_last_goodbye_that_a_reset_cuts_short,
    data_that_comes_after_the_close,
];

/// Holds that this end closed first, and the other end after it; applications have seen no error.
fn closed_by(scene: &Scene, first: &Connection) -> Result<()> {
    scene.ended(first)?.is("local-close", None).because(&["FIN"]);
    scene.ended(&first.other_end())?.is("peer-close", None).because(&["FIN"]);
    Ok(())
}

fn the_client_closes_first(bench: &Bench) -> Result<()> {
    let mut scene = bench.full_stream()?.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V4))?;
    let reader = Reader::start(&server, LIMIT)?;
    drop(client);
    assert_eq!(reader.wait()?.0, Ending::Eof);
    drop(server);
    closed_by(&scene, &connection)?;
    scene.ended(&connection)?.opened("connect").tells(&["open connect", "end local-close"]);
    scene.ended(&connection.other_end())?.opened("accept").tells(&["open accept", "end peer-close"]);
    for end in [connection, connection.other_end()] {
        assert_eq!(scene.stage.capture.times(&end, Kind::Fin)?.len(), 1);
    }
    assert_eq!(counted(&scene, "OutRsts")?, 0);
    scene.hold()
}

fn the_server_closes_first(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&three_probes(Family::V6))?;
    let reader = Reader::start(&client, LIMIT)?;
    drop(server);
    assert_eq!(reader.wait()?.0, Ending::Eof);
    drop(client);
    closed_by(&scene, &connection.other_end())?;
    scene.hold()
}

/// Two minutes in FIN_WAIT2 and CLOSE_WAIT, probed and answering.
fn half_closed_for_long_and_then_closed(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::Mapped).keepalive(30, 5, 3))?;
    let reader = Reader::start(&client, 3 * LIMIT)?;
    client.shutdown(Shutdown::Write).context("shutdown")?;
    sleep(Duration::from_secs(120));
    let silent = scene.told(&connection.other_end());
    assert!(silent.iter().all(|event| event.kind == "open"), "half-closed is not ended: {silent:?}");
    drop(server);
    assert_eq!(reader.wait()?.0, Ending::Eof);
    drop(client);
    closed_by(&scene, &connection)?;
    let story = scene.ended(&connection)?;
    assert!(story.end().probes_sent >= Some(3) && story.end().unanswered == Some(0), "{:?}", story.end());
    scene.hold()
}

/// Neither hears the other's FIN before it has sent its own.
fn both_at_once(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::V4))?;
    let ends = [&pair.client, &pair.server];
    ends.iter().try_for_each(|end| peer::deafen(end))?;
    ends.iter().try_for_each(|end| end.shutdown(Shutdown::Write).context("shutdown"))?;
    ends.iter().try_for_each(|end| peer::hear(end))?;
    for end in [pair.connection, pair.connection.other_end()] {
        scene.ended(&end)?.is("local-close", None).because(&["FIN"]);
    }
    drop(pair);
    scene.hold()
}

/// This end had closed, and for it nothing is left to lose.
fn a_goodbye_that_a_reset_cuts_short(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V6))?;
    peer::forget(server)?;
    drop(client);
    scene.ended(&connection)?.is("local-close", None).because(&["FIN"]).tells(&["open connect", "end local-close"]);
    scene.hold()
}

/// The peer closed first, and is gone when this end says goodbye as well.
fn a_last_goodbye_that_a_reset_cuts_short(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V4))?;
    server.shutdown(Shutdown::Write).context("shutdown")?;
    sleep(A_MOMENT);
    peer::forget(server)?;
    drop(client);
    scene.ended(&connection)?.is("peer-close", None).because(&["FIN"]).tells(&["open connect", "end peer-close"]);
    scene.hold()
}

/// Nobody is left to read it, so the kernel answers with RST, and ends it as if one had come: the end was in order, by who closed.
fn data_that_comes_after_the_close(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::Mapped).linger2(90))?;
    drop(client);
    sleep(A_MOMENT);
    server.send(b"too late").context("send")?;
    sleep(A_MOMENT);
    assert_eq!(counted(&scene, "TCPAbortOnData")?, 1);
    scene.ended(&connection)?.is("local-close", None).because(&["FIN", "data"]);
    assert_eq!(error_of(&server)?.as_deref(), Some("EPIPE"));
    scene.ended(&connection.other_end())?.is("peer-reset", Some("EPIPE")).because(&["RST"]);
    drop(server);
    scene.hold()
}
