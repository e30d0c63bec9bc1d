//! Filters, decided in the kernel: what is asked for is told, and nothing else.
use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use lab::{
    cgroup::Cgroup,
    mounts,
    pair::{Family, Pair, Plan},
    stage::Stage,
};

use crate::{
    bench::{Bench, LIMIT, tests},
    scene::gists,
};

tests![
    local_ports_by_list_and_range,
    remote_ports_by_list_and_range,
    local_addresses_and_blocks,
    remote_addresses_and_blocks,
    families,
    namespaces_by_inode_path_and_name,
    cgroups_and_those_below,
    several_filters_must_all_match,
];

/// A client that probes a healthy server every second.
fn plan() -> Plan {
    Plan::new(Family::V4).keepalive(1, 1, 3)
}

fn between(client: &str, server: &str) -> Result<Plan> {
    Ok(plan().from(client.parse()?).to(server.parse()?))
}

/// Holds that with these arguments the tracer tells of the wanted connections and of no others, while all of them probe.
fn only(bench: &Bench, arguments: &[&str], stage: &mut Stage, wanted: &[&Pair], unwanted: &[&Pair]) -> Result<()> {
    let tracer = bench.own_tracer(arguments)?;
    for pair in wanted.iter().chain(unwanted).copied() {
        let so_far = stage.capture.times(&pair.connection, lab::wire::Kind::Probe)?.len();
        // A probe that is on the wire now may have run before the tracer did; the one after it hasn't.
        stage.capture.wait_for_probes(&pair.connection, so_far + 2, LIMIT)?;
    }
    for pair in wanted {
        tracer.wait_for_events_of(&pair.connection, 2, LIMIT).with_context(|| format!("with {arguments:?}"))?;
    }
    let finished = tracer.stop()?;
    let is_wanted = |event: &&lab::event::Event| wanted.iter().any(|pair| event.is_of(&pair.connection));
    let told: Vec<_> = finished.events.iter().filter(|event| event.lport.is_some()).collect();
    let others: Vec<_> = told.iter().filter(|event| !is_wanted(event)).collect();
    assert!(others.is_empty(), "with {arguments:?} it told {others:?}");
    assert!(told.iter().all(|event| event.gist() == "probe 1/3 sent"), "{:?}", gists(&finished.events));
    Ok(())
}

/// Three connections whose ports on one end are 5001, 5003 and 5004, and two with 5002 and 5005.
fn five(stage: &Stage, plan: impl Fn(SocketAddr) -> Plan) -> Result<(Vec<Pair>, Vec<Pair>)> {
    let connect = |port: u16| stage.connect(&plan(SocketAddr::from(([127, 0, 0, 1], port))));
    let all = |ports: &[u16]| ports.iter().copied().map(connect).collect::<Result<Vec<_>>>();
    Ok((all(&[5001, 5003, 5004])?, all(&[5002, 5005])?))
}

fn local_ports_by_list_and_range(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let (wanted, unwanted) = five(&stage, |address| plan().from(address))?;
    only(bench, &["-L", "5001,5003-5004"], &mut stage, &refs(&wanted), &refs(&unwanted))
}

fn remote_ports_by_list_and_range(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let (wanted, unwanted) = five(&stage, |address| plan().to(address))?;
    only(bench, &["-D", "5001,5003-5004"], &mut stage, &refs(&wanted), &refs(&unwanted))
}

fn refs(pairs: &[Pair]) -> Vec<&Pair> {
    pairs.iter().collect()
}

/// Ends in and out of 127.5.0.0/16 and fd05::/32.
const INSIDE: [&str; 2] = ["127.5.0.1:0", "[fd05::1]:0"];
const OUTSIDE: [&str; 2] = ["127.6.0.1:0", "[fd06::1]:0"];

fn addresses(bench: &Bench, option: &str, plan: impl Fn(&str) -> Result<Plan>) -> Result<()> {
    let mut stage = Stage::open()?;
    for address in ["fd05::1", "fd06::1", "fd07::1"] {
        stage.netns.add_address(address.parse()?)?;
    }
    let connect = |address: &str| stage.connect(&plan(address)?);
    let [inside_v4, inside_v6] = [connect(INSIDE[0])?, connect(INSIDE[1])?];
    let [outside_v4, outside_v6] = [connect(OUTSIDE[0])?, connect(OUTSIDE[1])?];
    let mapped = stage.connect(
        &Plan::new(Family::Mapped).keepalive(1, 1, 3).from("[::ffff:127.5.0.1]:0".parse()?).to("[::ffff:127.5.0.1]:0".parse()?),
    )?;
    let unwanted = [&outside_v4, &outside_v6];

    let v6_too = [&outside_v4, &outside_v6, &inside_v6];
    // IPv4 filters also find IPv4 on IPv6 sockets: it is shown as IPv4, so that is how it is asked for.
    only(bench, &[option, "127.5.0.1"], &mut stage, &[&inside_v4, &mapped], &v6_too)?;
    only(bench, &[option, "127.5.0.0/16"], &mut stage, &[&inside_v4, &mapped], &v6_too)?;
    only(bench, &[option, "fd05::/32"], &mut stage, &[&inside_v6], &[&outside_v4, &outside_v6, &inside_v4, &mapped])?;
    only(bench, &[option, "127.5.0.1,fd05::1"], &mut stage, &[&inside_v4, &inside_v6, &mapped], &unwanted)
}

fn local_addresses_and_blocks(bench: &Bench) -> Result<()> {
    addresses(bench, "-a", |address| Ok(plan().from(address.parse()?).to(anywhere(address)?)))
}

fn remote_addresses_and_blocks(bench: &Bench) -> Result<()> {
    addresses(bench, "-A", |address| Ok(plan().from(anywhere(address)?).to(address.parse()?)))
}

/// An address of the same family that no filter here asks for.
fn anywhere(like: &str) -> Result<SocketAddr> {
    Ok(if like.starts_with('[') { "[fd07::1]:0" } else { "127.0.0.1:0" }.parse()?)
}

fn families(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let connect = |family| stage.connect(&Plan::new(family).keepalive(1, 1, 3));
    let (v4, v6, mapped) = (connect(Family::V4)?, connect(Family::V6)?, connect(Family::Mapped)?);
    only(bench, &["-4"], &mut stage, &[&v4], &[&v6, &mapped])?;
    only(bench, &["-6"], &mut stage, &[&v6, &mapped], &[&v4])
}

fn namespaces_by_inode_path_and_name(bench: &Bench) -> Result<()> {
    let (mut here, mut there) = (Stage::open()?, Stage::open()?);
    let (ours, theirs) = (here.connect(&plan())?, there.connect(&plan())?);
    let inode = here.netns.inode().to_string();
    let name = format!("lab-{}", bench.attach);
    let _named = here.netns.name(&name)?;
    for netns in [&inode, &here.netns.path(), &name] {
        only(bench, &["--netns", netns], &mut here, &[&ours], &[])?;
        // The other one probed all the while.
        let probes = there.capture.times(&theirs.connection, lab::wire::Kind::Probe)?.len();
        there.capture.wait_for_probes(&theirs.connection, probes + 1, LIMIT)?;
    }
    Ok(())
}

fn cgroups_and_those_below(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let above = Cgroup::new(Path::new(mounts::CGROUP), &format!("lab-{}", bench.attach))?;
    let below = Cgroup::new(above.path(), "below")?;
    let (in_above, in_below) = (above.enter(|| stage.connect(&plan()))?, below.enter(|| stage.connect(&plan()))?);
    let outside = stage.connect(&plan())?;
    let [all, part] = [above.path(), below.path()].map(|path| path.display().to_string());
    only(bench, &["--cgroup", &all], &mut stage, &[&in_above, &in_below], &[&outside])?;
    only(bench, &["--cgroup", &part], &mut stage, &[&in_below], &[&in_above, &outside])
}

fn several_filters_must_all_match(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let both = stage.connect(&between("127.0.0.1:5001", "127.5.0.1:6001")?)?;
    let port_only = stage.connect(&between("127.0.0.2:5001", "127.6.0.1:6001")?)?;
    let address_only = stage.connect(&between("127.0.0.1:5002", "127.5.0.1:6002")?)?;
    let arguments = ["-L", "5001", "-D", "6000-6999", "-A", "127.5.0.0/16", "-4"];
    only(bench, &arguments, &mut stage, &[&both], &[&port_only, &address_only])
}
