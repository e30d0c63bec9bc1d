//! fin-wait2-timeout and orphan-timeout: its process had closed it, and what was left to do came to no end.
use std::{net::Shutdown, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    application::error_of,
    pair::{Connection, Family, Pair, Plan},
    peer,
    wire::Kind,
};

use super::{A_MOMENT, abort, counted, three_probes};
use crate::{
    bench::{Bench, tests},
    scene::Scene,
    story::Story,
};

tests![
    a_peer_that_never_closes_and_a_time_wait_socket_takes_over,
    a_peer_that_never_closes_and_the_time_was_cut_short,
    a_fin_that_nobody_acknowledges,
    a_last_fin_that_nobody_acknowledges,
    data_and_a_fin_that_nobody_acknowledges,
];

fn a_peer_that_never_closes_and_a_time_wait_socket_takes_over(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    // What goes beyond a minute is waited for by the keepalive timer, the rest by a time-wait socket.
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V6).linger2(62))?;
    drop(client);
    let story = scene.ended(&connection)?.is("fin-wait2-timeout", None).probes(0, 0).because(&["FIN_WAIT2"]);
    let passed = if bench.shows_timer_lines() { &["timer fin-wait2"][..] } else { &[] };
    story.tells(&[&["open connect"], passed, &["end fin-wait2-timeout"]].concat());
    drop(server);
    scene.ended(&connection.other_end())?.is("peer-close", None).because(&["FIN"]);
    scene.hold()
}

fn a_peer_that_never_closes_and_the_time_was_cut_short(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_fin_timeout", 62)?;
    // Also where keepalive is on: it is the same timer, and yet no keepalive.
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::Mapped).keepalive(60, 1, 3))?;
    drop(client);
    sleep(Duration::from_secs(1));
    scene.stage.netns.sysctl("tcp_fin_timeout", 60)?;
    let story = scene.ended(&connection)?.is("fin-wait2-timeout", None).probes(0, 0).because(&["FIN_WAIT2"]);
    story.tells(&["open connect", "reset fin-wait2-timeout", "end fin-wait2-timeout"]);
    // The peer had the FIN; the reset after it is a broken pipe.
    assert_eq!(error_of(&server)?.as_deref(), Some("EPIPE"));
    scene.ended(&connection.other_end())?.is("peer-reset", Some("EPIPE")).because(&["RST"]);
    drop(server);
    scene.hold()
}

/// Holds that the orphan's FIN was sent again and again to the end, which tells the peer nothing.
fn given_up(scene: &mut Scene, connection: &Connection) -> Result<Story> {
    let story = scene.ended(connection)?.is("orphan-timeout", None).because(&["FIN"]);
    assert!(scene.stage.capture.times(connection, Kind::Reset)?.is_empty());
    assert_eq!(counted(scene, "TCPAbortOnTimeout")?, 1);
    Ok(story)
}

fn a_fin_that_nobody_acknowledges(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_orphan_retries", 2)?;
    let Pair { client, server, connection } = scene.stage.connect(&three_probes(Family::V4))?;
    peer::deafen(&server)?;
    drop(client);
    given_up(&mut scene, &connection)?.probes(0, 0);
    assert!(scene.stage.capture.times(&connection, Kind::Fin)?.len() > 2, "sent again");
    abort(&scene, &connection.other_end(), server)?;
    scene.hold()
}

fn a_last_fin_that_nobody_acknowledges(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_orphan_retries", 2)?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V6))?;
    server.shutdown(Shutdown::Write).context("shutdown")?;
    sleep(A_MOMENT);
    peer::deafen(&server)?;
    drop(client); // LAST_ACK
    given_up(&mut scene, &connection)?.probes(0, 0);
    // The server has closed its half before.
    server.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
    drop(server);
    scene.ended(&connection.other_end())?.is("local-abort", None).because(&["linger"]);
    scene.hold()
}

fn data_and_a_fin_that_nobody_acknowledges(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_orphan_retries", 2)?;
    let Pair { client, server, connection } = scene.stage.connect(&three_probes(Family::Mapped))?;
    peer::deafen(&server)?;
    client.send(b"last words").context("send")?;
    drop(client);
    given_up(&mut scene, &connection)?.probes(0, 0);
    abort(&scene, &connection.other_end(), server)?;
    scene.hold()
}
