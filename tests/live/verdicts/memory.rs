//! out-of-memory: the kernel has more orphans than it is allowed, and drops them.
use std::{
    hint,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lab::{
    application::{Ending, Reader, error_of},
    pair::{Connection, Family, Pair, Plan},
    peer, sysctl,
    wire::Kind,
};
use socket2::Socket;

use super::{abort, counted};
use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
};

tests![
    beyond_the_limit_a_close_is_a_reset,
    beyond_the_limit_the_write_timer_gives_up,
    beyond_the_limit_a_closed_window_is_given_up
];

/// Enough for the kernel to see them: it looks at a sum that each CPU brings up to date only now and then.
const ORPHANS: usize = 100;

/// Connections that were closed, each with a FIN that its deaf peer never acknowledges.
fn orphans(scene: &Scene, family: Family) -> Result<Vec<(Connection, Socket)>> {
    let plan = Plan::new(family);
    let orphan = || {
        let Pair { client, server, connection } = scene.stage.connect(&plan)?;
        peer::deafen(&server)?;
        drop(client);
        Ok((connection, server))
    };
    (0..ORPHANS).map(|_| orphan()).collect()
}

/// Newer kernels count them ten times a second, by a timer that wakes no CPU: on one that sleeps it doesn't run.
fn until_counted() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        hint::spin_loop();
    }
}

/// Holds that each was dropped with a reset at its next retransmission.
fn were_dropped(scene: &mut Scene, orphans: Vec<(Connection, Socket)>) -> Result<()> {
    for (connection, server) in orphans {
        let story = scene.ended(&connection)?.is("out-of-memory", None).because(&["orphan"]);
        story.tells(&["open connect", "reset outside the timer", "end out-of-memory"]);
        assert_eq!(scene.stage.capture.times(&connection, Kind::Reset)?.len(), 1);
        abort(scene, &connection.other_end(), server)?;
    }
    Ok(())
}

fn beyond_the_limit_a_close_is_a_reset(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V6))?;
    let reader = Reader::start(&server, LIMIT)?;
    let orphans = orphans(&scene, Family::V4)?;
    until_counted();
    let limit = sysctl::lend("tcp_max_orphans", 0)?;
    drop(client);
    // The kernel says FIN before it looks at the limit: to the peer, the reset after it is a broken pipe.
    assert_eq!((reader.wait()?.0, error_of(&server)?.as_deref()), (Ending::Eof, Some("EPIPE")));
    let story = scene.ended(&connection)?.is("out-of-memory", None).because(&["orphan"]);
    story.tells(&["open connect", "reset outside the timer", "end out-of-memory"]);
    scene.ended(&connection.other_end())?.is("peer-reset", Some("EPIPE")).because(&["RST"]);
    were_dropped(&mut scene, orphans)?;
    drop((limit, server));
    scene.hold()
}

fn beyond_the_limit_the_write_timer_gives_up(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let orphans = orphans(&scene, Family::V6)?;
    until_counted();
    let limit = sysctl::lend("tcp_max_orphans", 0)?;
    were_dropped(&mut scene, orphans)?;
    assert_eq!(counted(&scene, "TCPAbortOnMemory")?, ORPHANS as i64);
    assert_eq!(counted(&scene, "TCPAbortOnTimeout")?, 0);
    drop(limit);
    scene.hold()
}

/// The timer that asks about the window looks at the limit as well.
fn beyond_the_limit_a_closed_window_is_given_up(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::Mapped).buffers(4096))?;
    pair.fill()?;
    let Pair { client, server, connection } = pair;
    drop(client); // the FIN waits behind what is unsent
    let orphans = orphans(&scene, Family::V4)?;
    until_counted();
    let limit = sysctl::lend("tcp_max_orphans", 0)?;
    scene.ended(&connection)?.is("out-of-memory", None).because(&["orphan"]);
    were_dropped(&mut scene, orphans)?;
    drop(limit);
    let error = Reader::start(&server, LIMIT)?.wait()?.0.name();
    assert_eq!(error, "ECONNRESET");
    scene.ended(&connection.other_end())?.is("peer-reset", Some("ECONNRESET")).because(&["RST"]);
    drop(server);
    scene.hold().context("the books")
}
