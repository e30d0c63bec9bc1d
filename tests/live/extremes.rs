//! What is rare, dangerous or much.
use std::{net::SocketAddr, path::Path, thread::sleep, time::Duration};

use anyhow::Result;
use lab::{
    application::Reader,
    cgroup::Cgroup,
    clock::{between, hz, jiffies_to_time},
    firewall::Firewall,
    mounts,
    pair::{Family, Pair, Plan},
    peer,
};
use socket2::TcpKeepalive;

use crate::{
    bench::{Bench, LIMIT, tests},
    scene::gists,
};

tests![
    a_firewall_on_this_host_drops_probes_locally,
    with_no_probes_allowed_it_dies_unprobed,
    with_no_interval_it_dies_within_a_few_ticks,
    two_hundred_at_once_are_told_apart,
    the_same_ports_again_are_another_connection,
];

fn a_firewall_on_this_host_drops_probes_locally(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let cgroup = Cgroup::new(Path::new(mounts::CGROUP), "behind-the-firewall")?;
    let plan = Plan::new(Family::V4).keepalive(1, 1, 2);
    let client = cgroup.enter(|| scene.stage.netns.enter(|| plan.client_socket()))?;
    let pair = plan.connect_from(&scene.stage.netns, client)?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    let firewall = Firewall::before(cgroup.path())?;
    let story = ["probe 1/2 dropped-locally", "probe 2/2 dropped-locally", "reset keepalive-timeout"];
    scene.is(&pair.connection, &story)?;
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    drop((firewall, pair));
    scene.hold()
}

fn by_sysctl() -> Plan {
    Plan::new(Family::V4).keepalive_with(TcpKeepalive::new())
}

/// The kernel accepts it: the first idle run finds that nothing more is to be tried.
fn with_no_probes_allowed_it_dies_unprobed(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_keepalive_time", 1)?;
    scene.stage.netns.sysctl("tcp_keepalive_probes", 0)?;
    let pair = scene.stage.connect(&by_sysctl())?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    let events = scene.is(&pair.connection, &["reset keepalive-timeout"])?;
    assert_eq!((events[0].probes, events[0].unanswered), (Some(0), Some(0)));
    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    drop(pair);
    scene.hold()
}

/// The kernel accepts that too: one probe a tick.
fn with_no_interval_it_dies_within_a_few_ticks(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_keepalive_time", 1)?;
    scene.stage.netns.sysctl("tcp_keepalive_intvl", 0)?;
    let pair = scene.stage.connect(&by_sysctl())?;
    peer::deafen(&pair.server)?;
    let probes = (1..=9).map(|n| format!("probe {n}/9 sent"));
    let story: Vec<String> = probes.chain(["reset keepalive-timeout".to_owned()]).collect();
    let events = scene.is(&pair.connection, &story.iter().map(String::as_str).collect::<Vec<_>>())?;
    let took = between(events[0].at(), events[9].at());
    // Each wait is one tick, or two where the wheel has turned already.
    assert!(took <= jiffies_to_time(2 * 9, hz()?), "{took:?}");
    drop(pair);
    scene.hold()
}

fn two_hundred_at_once_are_told_apart(bench: &Bench) -> Result<()> {
    const MANY: usize = 200;
    let scene = bench.scene()?;
    let plan = Plan::new(Family::V6).keepalive(1, 1, 2);
    let pairs = (0..MANY).map(|_| scene.stage.connect(&plan)).collect::<Result<Vec<Pair>>>()?;
    for (index, pair) in pairs.iter().enumerate() {
        if index % 2 == 0 {
            peer::deafen(&pair.server)?;
        }
    }
    sleep(Duration::from_secs(5));
    let deaths = ["probe 1/2 sent", "probe 2/2 sent", "reset keepalive-timeout"];
    for (index, pair) in pairs.iter().enumerate() {
        // Some were probed once more before they went deaf.
        let events = scene.begins(&pair.connection, &["probe 1/2 sent"])?;
        let dead = gists(&events).ends_with(&deaths.map(str::to_owned));
        assert_eq!(dead, index % 2 == 0, "{:?}", gists(&events));
    }
    drop(pairs);
    scene.hold()
}

fn the_same_ports_again_are_another_connection(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let end = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let plan = Plan::new(Family::V4).keepalive(1, 1, 1).from(end(5001)).to(end(6001));
    let story = ["probe 1/1 sent", "reset keepalive-timeout"];
    let mut ids = Vec::new();
    for lives in [story.to_vec(), story.repeat(2)] {
        let pair = scene.stage.connect(&plan)?;
        peer::deafen(&pair.server)?;
        let events = scene.is(&pair.connection, &lives)?;
        ids.extend(events.last().and_then(|event| event.conn.clone()));
        pair.abort_both()?;
    }
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    scene.hold()
}
