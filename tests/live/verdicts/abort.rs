//! local-abort: this host reset the connection, as a process wanted it or left the kernel no choice.
use std::{net::Shutdown, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    application::{Reader, error_of},
    pair::{self, Family, Pair, Plan},
    sockopt,
    wire::Kind,
};

use super::{A_MOMENT, three_probes};
use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
    story::Story,
};

tests![
    a_close_with_linger_zero,
    a_close_with_unread_data,
    a_close_in_fin_wait2_without_patience,
    a_disconnect,
    a_disconnect_with_its_fin_still_unsent,
    a_listener_that_closes_before_it_has_accepted,
    a_close_in_the_middle_of_unacknowledged_data_with_linger_zero,
];

const ABORTED: [&str; 3] = ["open connect", "reset outside the timer", "end local-abort"];

/// Holds that the client's history ended so, and that the server had this error, from a reset on the wire.
fn aborted(scene: &mut Scene, connection: &pair::Connection, fact: &str, error: &str) -> Result<Story> {
    let story = scene.ended(connection)?.because(&[fact]).tells(&ABORTED);
    scene.ended(&connection.other_end())?.is("peer-reset", Some(error)).probes(0, 0).because(&["RST"]);
    assert_eq!(scene.stage.capture.times(connection, Kind::Reset)?.len(), 1);
    Ok(story)
}

fn a_close_with_linger_zero(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&three_probes(Family::V4))?;
    let reader = Reader::start(&server, LIMIT)?;
    client.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
    drop(client);
    assert_eq!(reader.wait()?.0.name(), "ECONNRESET");
    aborted(&mut scene, &connection, "linger", "ECONNRESET")?.is("local-abort", None);
    drop(server);
    scene.hold()
}

fn a_close_with_unread_data(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V6))?;
    let reader = Reader::start(&server, LIMIT)?;
    server.send(b"unread").context("send")?;
    sleep(A_MOMENT);
    drop(client);
    assert_eq!(reader.wait()?.0.name(), "ECONNRESET");
    aborted(&mut scene, &connection, "unread", "ECONNRESET")?.is("local-abort", None);
    drop(server);
    scene.hold()
}

fn a_close_in_fin_wait2_without_patience(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::Mapped).linger2(-1))?;
    client.shutdown(Shutdown::Write).context("shutdown")?;
    sleep(A_MOMENT);
    drop(client);
    // The peer had the FIN; the reset after it is a broken pipe.
    assert_eq!(error_of(&server)?.as_deref(), Some("EPIPE"));
    aborted(&mut scene, &connection, "TCP_LINGER2", "EPIPE")?.is("local-abort", None);
    drop(server);
    scene.hold()
}

fn a_disconnect(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&three_probes(Family::V4))?;
    let reader = Reader::start(&server, LIMIT)?;
    sockopt::disconnect(&client)?;
    assert_eq!(reader.wait()?.0.name(), "ECONNRESET");
    // Whoever disconnects is told nothing that he doesn't know.
    aborted(&mut scene, &connection, "disconnect", "ECONNRESET")?.is("local-abort", None);
    drop((client, server));
    scene.hold()
}

/// In LAST_ACK, with data that the peer had no room for: this end's FIN waits behind it.
fn a_disconnect_with_its_fin_still_unsent(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::V6).buffers(4096))?;
    pair.fill()?;
    pair.server.shutdown(Shutdown::Write).context("shutdown")?;
    sleep(A_MOMENT);
    pair.client.shutdown(Shutdown::Write).context("shutdown")?;
    sockopt::disconnect(&pair.client)?;
    aborted(&mut scene, &pair.connection, "unsent", "ECONNRESET")?.is("local-abort", None);
    drop(pair);
    scene.hold()
}

/// A connection that nobody ever had: it stood, and waited in the backlog.
fn a_listener_that_closes_before_it_has_accepted(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let plan = Plan::new(Family::V6);
    let (listener, client) = scene.stage.netns.enter(|| Ok((plan.listen()?, plan.client_socket()?)))?;
    client.connect(&listener.local_addr()?).context("connect")?;
    let connection = pair::connection(&scene.stage.netns, &client)?;
    let reader = Reader::start(&client, LIMIT)?;
    drop(listener);
    assert_eq!(reader.wait()?.0.name(), "ECONNRESET");
    // It had no owner whose it could have been told to be, so its end is the first that is told of it.
    let story =
        scene.ended(&connection.other_end())?.opened("first-event").is("local-abort", None).because(&["accept", "listener"]);
    assert_eq!((story.open().pid, story.end().pid), (None, None), "who closed the listener never had it: {story:?}");
    scene.ended(&connection)?.is("peer-reset", Some("ECONNRESET")).because(&["RST"]);
    drop(client);
    scene.hold()
}

fn a_close_in_the_middle_of_unacknowledged_data_with_linger_zero(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V6).buffers(4096))?;
    let pair = Pair { client, server, connection };
    pair.fill()?;
    let Pair { client, server, connection } = pair;
    client.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
    drop(client);
    // What had arrived is read first.
    assert_eq!(Reader::start(&server, LIMIT)?.wait()?.0.name(), "ECONNRESET");
    aborted(&mut scene, &connection, "linger", "ECONNRESET")?.is("local-abort", None);
    drop(server);
    scene.hold()
}
