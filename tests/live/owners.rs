//! The owner: the process that holds the socket, whoever is on the CPU.
use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    event::Event,
    netns::Netns,
    pair::{Connection, Family, Plan},
    role::{self, Actor, Keepalive},
};

use crate::{
    bench::{Bench, tests},
    scene::Scene,
};

tests![
    who_connected_and_who_accepted,
    a_child_that_its_parent_left_it_to,
    a_process_that_was_given_it,
    a_child_that_outlives_the_opener,
    a_process_of_several_threads_goes_by_its_leader,
    a_process_in_a_pid_namespace_of_its_own,
    a_process_with_a_thousand_sockets,
    a_busy_bystander_is_never_named,
];

/// Idle for a second, then a probe a second, more of them than any test waits for.
const PROBED: Keepalive = [1, 1, 99];
const SILENT: Keepalive = [0; 3];

/// An owner as events name it.
type Owner<'a> = (u32, &'a str);

fn owner(event: &Event) -> Option<Owner<'_>> {
    Some((event.pid?, event.comm.as_deref()?))
}

/// Waits for what the timer does after now and after the tracer had a second to look around; gives the last of it.
fn next_run(scene: &Scene, connection: &Connection) -> Result<Event> {
    const LOOKS: usize = 3;
    let so_far = scene.wait(connection, 0)?.len();
    let events = scene.wait(connection, so_far + LOOKS)?;
    events.last().cloned().context("no run")
}

/// Holds that from now on the connection's local end is this process's, held by so many.
fn belongs_to(scene: &Scene, connection: &Connection, wanted: Owner, holders: Option<u32>) -> Result<()> {
    let event = next_run(scene, connection)?;
    assert_eq!((owner(&event), event.holders), (Some(wanted), holders), "{event:?}");
    Ok(())
}

/// Holds that nobody but these was ever named as its owner.
fn named_only(scene: &Scene, connection: &Connection, owners: &[Owner]) {
    for event in scene.told(connection) {
        assert!(owner(&event).is_none_or(|owner| owners.contains(&owner)), "{owners:?}: {event:?}");
    }
}

/// A client and a server in processes of their own, connected.
fn two(netns: &Netns, family: Family, client: Keepalive, server: Keepalive) -> Result<(Actor, Actor, Connection)> {
    let (mut opener, mut acceptor) = (Actor::enter("opener", netns)?, Actor::enter("acceptor", netns)?);
    let connection = role::connect(netns, &Plan::new(family), (&mut opener, client), (&mut acceptor, server))?;
    Ok((opener, acceptor, connection))
}

fn who_connected_and_who_accepted(bench: &Bench) -> Result<()> {
    for family in [Family::V4, Family::V6, Family::Mapped] {
        let scene = bench.scene()?;
        let (opener, acceptor, connection) = two(&scene.stage.netns, family, PROBED, PROBED)?;
        let (client, server) = ((opener.pid(), "opener"), (acceptor.pid(), "acceptor"));
        belongs_to(&scene, &connection, client, None)?;
        belongs_to(&scene, &connection.other_end(), server, None)?;
        // It was known from the first: who connects does so itself.
        let opened = scene.told(&connection);
        assert_eq!((opened[0].kind.as_str(), owner(&opened[0])), ("open", Some(client)));
        opener.leave()?;
        acceptor.leave()?;
        for (end, owner) in [(connection, client), (connection.other_end(), server)] {
            let story = scene.ended(&end)?;
            assert_eq!(self::owner(story.end()), Some(owner), "also where its process has ended: {:?}", story.end());
            named_only(&scene, &end, &[owner]);
        }
        scene.hold()?;
    }
    Ok(())
}

/// As a server does that forks for each connection.
fn a_child_that_its_parent_left_it_to(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let (opener, mut acceptor, connection) = two(&scene.stage.netns, Family::V4, SILENT, PROBED)?;
    let server = connection.other_end();
    let child = acceptor.fork("child")?;
    belongs_to(&scene, &server, (acceptor.pid(), "acceptor"), Some(2))?;
    acceptor.close()?;
    belongs_to(&scene, &server, (child.pid, "child"), None)?;
    named_only(&scene, &server, &[(acceptor.pid(), "acceptor"), (child.pid, "child")]);
    drop((opener, acceptor, child));
    scene.hold()
}

fn a_process_that_was_given_it(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let (mut opener, acceptor, connection) = two(&scene.stage.netns, Family::V6, PROBED, SILENT)?;
    let mut heir = Actor::enter("heir", &scene.stage.netns)?;
    opener.pass(&mut heir, &std::env::temp_dir().join(format!("gift-{}", bench.attach)))?;
    belongs_to(&scene, &connection, (opener.pid(), "opener"), Some(2))?;
    opener.close()?;
    belongs_to(&scene, &connection, (heir.pid(), "heir"), None)?;
    named_only(&scene, &connection, &[(opener.pid(), "opener"), (heir.pid(), "heir")]);
    drop((opener, acceptor, heir));
    scene.hold()
}

fn a_child_that_outlives_the_opener(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let (mut opener, acceptor, connection) = two(&scene.stage.netns, Family::Mapped, PROBED, SILENT)?;
    let child = opener.fork("survivor")?;
    let (parent, survivor) = ((opener.pid(), "opener"), (child.pid, "survivor"));
    opener.leave()?;
    belongs_to(&scene, &connection, survivor, None)?;
    named_only(&scene, &connection, &[parent, survivor]);
    drop((acceptor, child));
    scene.hold()
}

/// The thread that connects has a name of its own, and is not its process's first.
fn a_process_of_several_threads_goes_by_its_leader(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let netns = &scene.stage.netns;
    let (mut leader, mut acceptor) = (Actor::enter("leader", netns)?, Actor::enter("acceptor", netns)?);
    let there = acceptor.listen("[::1]:0".parse()?, SILENT)?;
    let local = leader.connect_from_thread("worker-thread", there, PROBED)?;
    acceptor.accept()?;
    let connection = Connection::between(netns.id(), local, there);
    belongs_to(&scene, &connection, (leader.pid(), "leader"), None)?;
    named_only(&scene, &connection, &[(leader.pid(), "leader")]);
    drop((leader, acceptor));
    scene.hold()
}

/// Whatever it calls itself in there, here it has the number that a signal from here reaches.
fn a_process_in_a_pid_namespace_of_its_own(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let (mut opener, acceptor, connection) = two(&scene.stage.netns, Family::V4, PROBED, SILENT)?;
    let child = opener.fork_apart("contained")?;
    opener.close()?;
    belongs_to(&scene, &connection, (child.pid, "contained"), None)?;
    drop((opener, acceptor, child));
    scene.hold()
}

fn a_process_with_a_thousand_sockets(bench: &Bench) -> Result<()> {
    const SOCKETS: usize = 1000;
    let netns = Netns::new()?;
    let listener = netns.enter(|| {
        std::fs::write("/proc/sys/net/core/somaxconn", (2 * SOCKETS).to_string()).context("somaxconn")?;
        let listener = Plan::new(Family::V4).listen()?;
        listener.listen(2 * SOCKETS as i32).context("listen")?;
        Ok(listener)
    })?;
    let there = listener.local_addr()?.as_socket().context("no address")?;
    let tracer = bench.only_tracer(&["--netns", &netns.inode().to_string()])?;
    let mut collector = Actor::enter("collector", &netns)?;
    collector.connect_many(SOCKETS, there, [2, 2, 99])?;
    sleep(Duration::from_secs(5));
    let told = tracer.events();
    let probed = told.iter().filter(|event| event.rport == Some(there.port()) && event.kind == "probe").count();
    assert!(probed >= SOCKETS, "{probed} probes");
    let pid = collector.pid();
    collector.leave()?;
    drop(listener);
    sleep(Duration::from_secs(2));

    let finished = tracer.stop()?;
    let of_collector = |event: &&Event| event.rport == Some(there.port());
    let strangers: Vec<_> =
        finished.events.iter().filter(of_collector).filter(|event| owner(event) != Some((pid, "collector"))).collect();
    assert!(strangers.is_empty(), "{} events: {:?}", strangers.len(), strangers.first());
    // A thousand connections are closed from either side at once, and somebody may be taken off the CPU in the middle of our
    // program: until he is back the kernel skips it for all others, and counts that.
    let ended = finished.events.iter().filter(|event| event.kind == "end").count();
    let lost: Vec<_> = finished.events.iter().filter(|event| event.kind == "lost").collect();
    assert!(lost.iter().all(|event| event.place.as_deref() == Some("skipped-run")), "{lost:?}");
    let unseen = 2 * SOCKETS - ended;
    assert!(unseen as u64 <= finished.lost(), "{unseen} ends were neither told nor counted as lost: {lost:?}");
    Ok(())
}

fn a_busy_bystander_is_never_named(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let (opener, acceptor, connection) = two(&scene.stage.netns, Family::V6, PROBED, PROBED)?;
    let mut bystander = Actor::enter("bystander", &scene.stage.netns)?;
    // Two runs of the timer on either end, each most likely in the middle of its work.
    bystander.ask("spin 2200")?;
    sleep(Duration::from_millis(2500));
    for end in [connection, connection.other_end()] {
        scene.wait(&end, 2)?;
    }
    for event in scene.everything() {
        let named = [&event.comm, &event.task_comm, &event.by_comm, &event.why].into_iter().flatten();
        assert!(named.clone().all(|name| !name.contains("bystander")), "{event:?}");
        assert!([event.pid, event.task_pid, event.by_pid].iter().all(|&pid| pid != Some(bystander.pid())), "{event:?}");
    }
    named_only(&scene, &connection, &[(opener.pid(), "opener")]);
    named_only(&scene, &connection.other_end(), &[(acceptor.pid(), "acceptor")]);
    drop((opener, acceptor, bystander));
    scene.hold()
}
