//! Connections that are older than the tracer, and those that come and go as it comes: each is told of once.
use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    net::SocketAddr,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use lab::{
    application::Reader,
    clock::{Moment, now},
    event::Event,
    netns::Netns,
    pair::{self, Connection, Family, Pair, Plan},
    peer,
    role::Actor,
    stage::Stage,
};
use socket2::TcpKeepalive;

use crate::{
    bench::{Bench, LIMIT, tests},
    scene::{Scene, gists},
};

tests![
    an_hour_later_it_is_known_at_once_and_its_death_explained,
    the_owner_is_found_in_another_pid_namespace,
    a_connection_that_waits_to_be_accepted_has_no_owner,
    an_orphan_has_no_owner_and_its_end_is_told,
    what_comes_and_goes_meanwhile_is_told_once,
    the_same_ends_in_two_namespaces_are_two,
    ports_used_again_at_once_are_another_connection,
    ports_used_again_right_after_a_death_by_keepalive_are_another_connection,
];

const HOUR: Duration = Duration::from_secs(3600);

/// The stage has been set up, and only now somebody comes to watch.
fn watched_from_now(bench: &Bench, stage: Stage) -> Result<Scene> {
    let netns = stage.netns.inode().to_string();
    let tracer = bench.own_tracer(&["--netns", &netns])?;
    Ok(Scene::of(stage, Arc::new(tracer)))
}

/// What is told of this end first: that it was there.
fn found(scene: &Scene, connection: &Connection) -> Result<Event> {
    let event = scene.first(connection)?;
    assert_eq!(event.gist(), "open snapshot", "{event:?}");
    Ok(event)
}

/// No process is in its namespace: the sockets alone keep it.
fn an_hour_later_it_is_known_at_once_and_its_death_explained(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    stage.netns.sysctl("tcp_keepalive_intvl", 1)?;
    let settings = TcpKeepalive::new().with_time(Duration::from_secs(20)).with_retries(3);
    let connect = |family| stage.connect(&Plan::new(family).keepalive_with(settings.clone()));
    let pairs = [Family::V4, Family::V6, Family::Mapped].map(connect).into_iter().collect::<Result<Vec<Pair>>>()?;
    sleep(HOUR);

    let scene = watched_from_now(bench, stage)?;
    let name = fs::read_to_string("/proc/self/comm").context("/proc/self/comm")?;
    for pair in &pairs {
        for end in [pair.connection, pair.connection.other_end()] {
            let open = found(&scene, &end)?;
            assert_eq!((open.pid, open.comm.as_deref()), (Some(process::id()), Some(name.trim_end())), "{open:?}");
            assert_eq!((open.ip, open.state.as_deref()), (Some(end.ip), Some("ESTABLISHED")));
        }
        let open = found(&scene, &pair.connection)?;
        let in_force = (open.keepalive, open.time_s, open.intvl_s, open.probes, open.user_timeout_ms);
        assert_eq!(in_force, (Some(true), Some(20), Some(1), Some(3), Some(0)));
        let origin = open.origin.context("no origin")?;
        assert_eq!([&*origin.time, &*origin.intvl, &*origin.probes], ["socket", "sysctl", "socket"]);
        assert_eq!(found(&scene, &pair.connection.other_end())?.keepalive, Some(false));
    }
    for pair in pairs {
        let reader = Reader::start(&pair.client, LIMIT)?;
        peer::deafen(&pair.server)?;
        assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
        let story = scene.ended(&pair.connection)?.opened("snapshot").is("keepalive-timeout", Some("ETIMEDOUT"));
        let story = story.because(&["3", "probe"]);
        assert_eq!(story.end().unanswered, Some(3));
        pair.abort_both()?;
    }
    Ok(())
}

fn the_owner_is_found_in_another_pid_namespace(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let listener = stage.netns.enter(|| Plan::new(Family::V6).listen())?;
    let there = listener.local_addr()?.as_socket().context("no address")?;
    let mut opener = Actor::enter("opener", &stage.netns)?;
    let local = opener.connect(there, [20, 1, 3])?;
    let (server, _) = listener.accept().context("accept")?;
    let connection = Connection::between(stage.netns.id(), local, there);
    let child = opener.fork_apart("contained")?;
    opener.leave()?;

    let scene = watched_from_now(bench, stage)?;
    let open = found(&scene, &connection)?;
    assert_eq!((open.pid, open.comm.as_deref(), open.holders), (Some(child.pid), Some("contained"), None), "{open:?}");
    peer::deafen(&server)?;
    let story = scene.ended(&connection)?.is("keepalive-timeout", Some("ETIMEDOUT")).probes(3, 3);
    assert_eq!(story.end().pid, Some(child.pid), "{:?}", story.end());
    drop(child);
    Ok(())
}

fn a_connection_that_waits_to_be_accepted_has_no_owner(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let plan = Plan::new(Family::V4);
    let (listener, client) = stage.netns.enter(|| Ok((plan.listen()?, plan.client_socket()?)))?;
    client.connect(&listener.local_addr()?).context("connect")?;
    let connection = pair::connection(&stage.netns, &client)?;

    let scene = watched_from_now(bench, stage)?;
    let waiting = found(&scene, &connection.other_end())?;
    assert_eq!((waiting.pid, &waiting.comm), (None, &None), "{waiting:?}");
    assert_eq!(found(&scene, &connection)?.pid, Some(process::id()));
    drop(listener);
    scene.ended(&connection.other_end())?.is("local-abort", None).because(&["accept"]);
    scene.ended(&connection)?.is("peer-reset", Some("ECONNRESET"));
    Ok(())
}

fn an_orphan_has_no_owner_and_its_end_is_told(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    stage.netns.sysctl("tcp_orphan_retries", 7)?; // some 50 s
    let Pair { client, server, connection } = stage.connect(&Plan::new(Family::Mapped))?;
    peer::deafen(&server)?;
    drop(client);

    let scene = watched_from_now(bench, stage)?;
    let open = found(&scene, &connection)?;
    assert_eq!((open.pid, &open.comm, open.state.as_deref()), (None, &None, Some("FIN_WAIT1")), "{open:?}");
    scene.ended(&connection)?.is("orphan-timeout", None).because(&["FIN"]).tells(&["open snapshot", "end orphan-timeout"]);
    drop(server);
    Ok(())
}

/// A connection that came and went.
struct Life {
    connection: Connection,
    /// Right before it was closed, the client first.
    closed: Moment,
}

/// Opens and closes connections as fast as this machine likes, a few at a time, until told to stop.
fn come_and_go(netns: &Netns, stop: &AtomicBool) -> Result<Vec<Life>> {
    const AT_A_TIME: usize = 3;
    let plan = Plan::new(Family::V4);
    let listener = netns.enter(|| plan.listen())?;
    let (mut open, mut lives) = (VecDeque::new(), Vec::new());
    let mut close = |pair: Pair| {
        let Pair { client, server, connection } = pair;
        lives.push(Life { connection, closed: now() });
        drop(client);
        drop(server);
    };
    netns.enter(|| {
        while !stop.load(Ordering::Relaxed) {
            let client = plan.client_socket()?;
            client.connect(&listener.local_addr()?).context("connect")?;
            let (server, _) = listener.accept().context("accept")?;
            let connection = pair::connection(netns, &client)?;
            open.push_back(Pair { client, server, connection });
            if open.len() > AT_A_TIME {
                open.pop_front().into_iter().for_each(&mut close);
            }
            sleep(Duration::from_millis(2));
        }
        open.into_iter().for_each(&mut close);
        Ok(())
    })?;
    Ok(lives)
}

fn what_comes_and_goes_meanwhile_is_told_once(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let netns = stage.netns.inode().to_string();
    let stop = AtomicBool::new(false);
    let (tracer, lives) = thread::scope(|scope| {
        let hammer = scope.spawn(|| come_and_go(&stage.netns, &stop));
        sleep(Duration::from_millis(200));
        let tracer = bench.own_tracer(&["--netns", &netns]);
        sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        (tracer, hammer.join())
    });
    let (tracer, lives) = (tracer?, lives.map_err(|_| anyhow!("the hammering thread panicked"))??);
    sleep(Duration::from_secs(1));
    let finished = tracer.stop()?;
    let lost: Vec<&Event> = finished.events.iter().filter(|event| event.kind == "lost").collect();
    assert!(lost.is_empty(), "{lost:?}");

    let started = finished.events[0].at();
    let mut histories: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in &finished.events {
        event.conn.iter().for_each(|id| histories.entry(id).or_default().push(event));
    }
    for history in histories.values() {
        let count = |kind| history.iter().filter(|event| event.kind == kind).count();
        assert_eq!((count("open"), count("end")), (1, 1), "{history:?}");
        assert_eq!(history[0].kind, "open", "{history:?}");
    }
    let told = |end: &Connection| histories.values().filter(|history| history[0].is_of(end)).count();
    let mut watched = 0;
    for Life { connection, closed } in &lives {
        let counts = [connection, &connection.other_end()].map(told);
        let at_least = usize::from(*closed > started);
        watched += at_least;
        assert!(counts.iter().all(|count| (at_least..=1).contains(count)), "{counts:?} histories of {connection:?}");
    }
    assert!(watched > 50 && lives.len() > watched, "{watched} of {} were open when it came, or later", lives.len());
    Ok(())
}

fn end(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn the_same_ends_in_two_namespaces_are_two(bench: &Bench) -> Result<()> {
    let scenes = [bench.scene()?, bench.scene()?];
    let plan = Plan::new(Family::V4).keepalive(1, 1, 3).from(end(5001)).to(end(6001));
    let mut pairs = scenes.iter().map(|scene| scene.stage.connect(&plan)).collect::<Result<Vec<_>>>()?;
    let (second, first) = (pairs.pop().context("no second")?, pairs.pop().context("no first")?);
    let opened = [scenes[0].first(&first.connection)?, scenes[1].first(&second.connection)?];
    assert_ne!(opened[0].conn, opened[1].conn);
    assert_ne!(opened[0].netns, opened[1].netns);

    // What becomes of one doesn't touch the other.
    let connection = first.connection;
    first.abort_both()?;
    scenes[0].ended(&connection)?.is("local-abort", None);
    scenes[1].begins(&second.connection, &["probe 1/3 sent"; 3])?;
    assert!(scenes[1].told(&second.connection).iter().all(|event| event.conn == opened[1].conn));
    drop(second);
    scenes.into_iter().try_for_each(Scene::hold)
}

fn ports_used_again_at_once_are_another_connection(bench: &Bench) -> Result<()> {
    const LIVES: usize = 5;
    let scene = bench.scene()?;
    let plan = Plan::new(Family::V4).from(end(5001)).to(end(6001));
    let mut connection = None;
    for _ in 0..LIVES {
        let pair = scene.stage.connect(&plan)?;
        connection = Some(pair.connection);
        pair.abort_both()?;
    }
    let connection = connection.context("no connection")?;
    sleep(Duration::from_secs(1));
    for end in [connection, connection.other_end()] {
        let told = scene.told(&end);
        let ids: Vec<_> = told.iter().filter(|event| event.kind == "open").map(|event| &event.conn).collect();
        let ended: Vec<_> = told.iter().filter(|event| event.kind == "end").map(|event| &event.conn).collect();
        assert_eq!((ids.len(), &ids), (LIVES, &ended), "{told:?}");
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    }
    scene.hold()
}

/// What the first one was probed, missed and died of is not carried over: mostly it is the very same socket in memory.
fn ports_used_again_right_after_a_death_by_keepalive_are_another_connection(bench: &Bench) -> Result<()> {
    const LIVES: usize = 3;
    let scene = bench.scene()?;
    let plan = Plan::new(Family::V6).keepalive(1, 1, 1);
    let plan = plan.from("[::1]:5001".parse()?).to("[::1]:6001".parse()?);
    let mut connection = None;
    for _ in 0..LIVES {
        let Pair { client, server, connection: this } = scene.stage.connect(&plan)?;
        let reader = Reader::start(&client, LIMIT)?;
        peer::deafen(&server)?;
        assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
        Pair { client, server, connection: this }.abort_both()?;
        connection = Some(this);
    }
    let connection = connection.context("no connection")?;
    bench.tracer()?.wait_for_some_of(&connection, "all its ends", LIMIT, |event| event.kind == "end", LIVES)?;
    let told = scene.told(&connection);
    let life = ["open connect", "probe 1/1 sent", "reset keepalive-timeout", "end keepalive-timeout"];
    assert_eq!(gists(&told), life.repeat(LIVES));
    let lives: Vec<&[Event]> = told.chunks(life.len()).collect();
    for life in &lives {
        assert!(life.iter().all(|event| event.conn == life[0].conn), "{life:?}");
        assert_eq!((life[3].probes_sent, life[3].unanswered), (Some(1), Some(1)), "{life:?}");
    }
    assert!(lives.windows(2).all(|pair| pair[0][0].conn != pair[1][0].conn), "{told:?}");
    scene.hold()
}
