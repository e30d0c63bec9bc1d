//! never-established: the handshake failed.
use std::{
    net::{Ipv4Addr, SocketAddr},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result};
use lab::{
    application::outcome_of_connect,
    clock::between,
    pair::{Connection, Family, Plan},
    peer,
    wire::Kind,
};
use socket2::Socket;

use super::counted;
use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
    story::Story,
};

tests![
    nobody_listens_there,
    nobody_answers,
    it_is_given_up_by_its_process,
    the_way_is_lost_before_anybody_answers,
    without_a_way_there_is_no_connection_to_speak_of,
];

/// A client in the middle of `connect()`, bound to where it will speak from.
struct Attempt {
    client: Socket,
    connection: Connection,
}

impl Attempt {
    fn begin(scene: &Scene, plan: &Plan, there: SocketAddr) -> Result<Self> {
        let client = scene.stage.netns.enter(|| plan.client_socket())?;
        let local = client.local_addr()?.as_socket().context("no address")?;
        let remote = SocketAddr::new(plan.client_address().ip(), there.port());
        client.set_nonblocking(true).context("O_NONBLOCK")?;
        let under_way = client.connect(&remote.into()).err().context("connected to somebody who does not answer")?;
        assert_eq!(under_way.raw_os_error(), Some(libc::EINPROGRESS));
        Ok(Self { client, connection: Connection::between(scene.stage.netns.id(), local, there_of(remote)) })
    }

    /// What `connect()` comes to in the end.
    fn outcome(&self) -> Result<Option<String>> {
        outcome_of_connect(&self.client, 2 * LIMIT)
    }
}

fn there_of(remote: SocketAddr) -> SocketAddr {
    SocketAddr::new(remote.ip().to_canonical(), remote.port())
}

/// A listener that doesn't hear: nobody answers, and nobody refuses.
fn deaf_listener(scene: &Scene, plan: &Plan) -> Result<(Socket, SocketAddr)> {
    let listener = scene.stage.netns.enter(|| plan.listen())?;
    peer::deafen(&listener)?;
    let there = listener.local_addr()?.as_socket().context("no address")?;
    Ok((listener, there))
}

/// There never were two ends: the only history is the client's.
fn is_alone(scene: &Scene, connection: &Connection) {
    let others = scene.told(&connection.other_end());
    assert!(others.is_empty(), "{others:?}");
}

/// Holds that its age is the time from its first SYN to its end, and that it was never idle: nobody was ever heard.
fn was_tried(scene: &mut Scene, connection: &Connection, story: Story) -> Result<()> {
    let syn = *scene.stage.capture.times(connection, Kind::Syn)?.first().context("no SYN")?;
    let tried = between(syn, story.end().at());
    assert_eq!(story.aged(tried).end().idle_ms, None);
    Ok(())
}

fn nobody_listens_there(bench: &Bench) -> Result<()> {
    for family in [Family::V4, Family::V6, Family::Mapped] {
        let mut scene = bench.scene()?;
        let plan = Plan::new(family);
        // A port where somebody listened a moment ago.
        let (listener, there) = deaf_listener(&scene, &plan)?;
        drop(listener);
        let attempt = Attempt::begin(&scene, &plan, there)?;
        assert_eq!(attempt.outcome()?.as_deref(), Some("ECONNREFUSED"));
        let story = scene.ended(&attempt.connection)?.is("never-established", Some("ECONNREFUSED")).probes(0, 0);
        let story = story.opened("connect").because(&["refused"]).tells(&["open connect", "end never-established"]);
        was_tried(&mut scene, &attempt.connection, story)?;
        is_alone(&scene, &attempt.connection);
        assert_eq!(scene.stage.capture.times(&attempt.connection.other_end(), Kind::Reset)?.len(), 1);
        drop(attempt);
        scene.hold()?;
    }
    Ok(())
}

fn nobody_answers(bench: &Bench) -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let mut scene = bench.scene()?;
        scene.stage.netns.sysctl("tcp_syn_retries", 1)?;
        let plan = Plan::new(family).keepalive(1, 1, 3);
        let (_listener, there) = deaf_listener(&scene, &plan)?;
        let attempt = Attempt::begin(&scene, &plan, there)?;
        assert_eq!(attempt.outcome()?.as_deref(), Some("ETIMEDOUT"));
        let story = scene.ended(&attempt.connection)?.is("never-established", Some("ETIMEDOUT")).probes(0, 0);
        was_tried(&mut scene, &attempt.connection, story.because(&["SYN"]))?;
        is_alone(&scene, &attempt.connection);
        assert!(scene.stage.capture.times(&attempt.connection, Kind::Syn)?.len() >= 2, "sent again");
        assert_eq!(counted(&scene, "TCPAbortOnTimeout")?, 1);
        drop(attempt);
        scene.hold()?;
    }
    Ok(())
}

fn it_is_given_up_by_its_process(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let plan = Plan::new(Family::Mapped);
    let (_listener, there) = deaf_listener(&scene, &plan)?;
    let Attempt { client, connection } = Attempt::begin(&scene, &plan, there)?;
    sleep(Duration::from_millis(500));
    drop(client);
    let story = scene.ended(&connection)?.is("never-established", None).probes(0, 0).because(&["close"]);
    was_tried(&mut scene, &connection, story)?;
    is_alone(&scene, &connection);
    scene.hold()
}

/// An address that the way to can be taken from.
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn the_way_is_lost_before_anybody_answers(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_syn_retries", 1)?;
    let plan = Plan::new(Family::V4).to((THERE, 0).into());
    let (_listener, there) = deaf_listener(&scene, &plan)?;
    let client = scene.stage.netns.enter(|| plan.client_socket())?;
    let local = client.local_addr()?.as_socket().context("no address")?;
    client.set_nonblocking(true).context("O_NONBLOCK")?;
    assert!(client.connect(&there.into()).is_err());
    let connection = Connection::between(scene.stage.netns.id(), local, there);
    scene.stage.netns.lose_route(THERE)?;
    let error = outcome_of_connect(&client, 2 * LIMIT)?;
    assert_eq!(error.as_deref(), Some("EHOSTUNREACH"));
    let story = scene.ended(&connection)?.is("never-established", Some("EHOSTUNREACH")).probes(0, 0).because(&["SYN"]);
    was_tried(&mut scene, &connection, story)?;
    drop(client);
    scene.hold()
}

/// Without a route `connect()` fails before there is anything to follow: no state changes, no SYN leaves.
fn without_a_way_there_is_no_connection_to_speak_of(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    scene.stage.netns.lose_route(THERE)?;
    let client = scene.stage.netns.enter(|| Plan::new(Family::V4).client_socket())?;
    let refused = client.connect(&SocketAddr::from((THERE, 80)).into()).err().context("connected without a route")?;
    assert_eq!(refused.raw_os_error(), Some(libc::EHOSTUNREACH));
    drop(client);
    sleep(Duration::from_secs(1));
    assert!(scene.stage.capture.frames()?.is_empty());
    assert!(scene.everything().is_empty(), "{:?}", scene.everything());
    scene.hold()
}
