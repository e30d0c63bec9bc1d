//! Filters, decided in the kernel: what is asked for is told, and nothing else.
use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use lab::{
    cgroup::Cgroup,
    mounts,
    pair::{Connection, Family, Pair, Plan},
    role::{self, Actor},
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
    processes_by_id_and_by_name,
    a_process_filter_follows_the_owner,
];

/// A client that probes a healthy server every second.
fn plan() -> Plan {
    Plan::new(Family::V4).keepalive(1, 1, 3)
}

fn between(client: &str, server: &str) -> Result<Plan> {
    Ok(plan().from(client.parse()?).to(server.parse()?))
}

/// Holds that with these arguments the tracer tells of the wanted connections' clients and of nobody else, while all of them probe.
fn only(bench: &Bench, arguments: &[&str], stage: &mut Stage, wanted: &[&Pair], unwanted: &[&Pair]) -> Result<()> {
    let ends: Vec<_> = wanted.iter().map(|pair| pair.connection).collect();
    only_ends(bench, arguments, stage, wanted, unwanted, &ends)
}

/// Likewise, where the wanted connections' servers match too.
fn only_whole(bench: &Bench, arguments: &[&str], stage: &mut Stage, wanted: &[&Pair], unwanted: &[&Pair]) -> Result<()> {
    let ends: Vec<_> = wanted.iter().flat_map(|pair| [pair.connection, pair.connection.other_end()]).collect();
    only_ends(bench, arguments, stage, wanted, unwanted, &ends)
}

/// Holds that exactly these ends have a history, and that the wanted connections' clients are told to probe.
fn only_ends(
    bench: &Bench,
    arguments: &[&str],
    stage: &mut Stage,
    wanted: &[&Pair],
    unwanted: &[&Pair],
    ends: &[Connection],
) -> Result<()> {
    let tracer = bench.own_tracer(arguments)?;
    for pair in wanted.iter().chain(unwanted).copied() {
        let so_far = stage.capture.times(&pair.connection, lab::wire::Kind::Probe)?.len();
        // A probe that is on the wire now may have run before the tracer did; the one after it hasn't.
        stage.capture.wait_for_probes(&pair.connection, so_far + 2, LIMIT)?;
    }
    for pair in wanted {
        tracer.wait_for_runs_of(&pair.connection, 2, LIMIT).with_context(|| format!("with {arguments:?}"))?;
    }
    let finished = tracer.stop()?;
    let told: Vec<_> = finished.events.iter().filter(|event| event.lport.is_some()).collect();
    let others: Vec<_> = told.iter().filter(|event| !ends.iter().any(|end| event.is_of(end))).collect();
    assert!(others.is_empty(), "with {arguments:?} it told {others:?}");
    for end in ends {
        let opened = told.iter().filter(|event| event.is_of(end) && event.gist() == "open snapshot").count();
        assert_eq!(opened, 1, "with {arguments:?}, {end:?} of {:?}", gists(&finished.events));
    }
    // An ACK that comes in the jiffy after its probe's puts the next run off by that jiffy.
    let healthy = ["probe 1/3 sent", "timer not-idle"];
    let mut runs = told.iter().filter(|event| event.is_run());
    assert!(runs.all(|event| healthy.contains(&event.gist().as_str())), "{:?}", gists(&finished.events));
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
    let mapped = connect("[::ffff:127.5.0.1]:0")?;
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
    let address = match like {
        _ if like.starts_with("[::ffff:") => "[::ffff:127.0.0.1]:0",
        _ if like.starts_with('[') => "[fd07::1]:0",
        _ => "127.0.0.1:0",
    };
    Ok(address.parse()?)
}

fn families(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let connect = |family| stage.connect(&Plan::new(family).keepalive(1, 1, 3));
    let (v4, v6, mapped) = (connect(Family::V4)?, connect(Family::V6)?, connect(Family::Mapped)?);
    let [v4_ends, v6_ends] = [&v4, &v6].map(|pair| [pair.connection, pair.connection.other_end()]);
    // Whoever connects to an IPv4 listener from an IPv6 socket is IPv4 to the listener.
    let v4_ends = [&v4_ends[..], &[mapped.connection.other_end()]].concat();
    let v6_ends = [&v6_ends[..], &[mapped.connection]].concat();
    // What other tests left behind elsewhere is of a family too.
    let netns = stage.netns.inode().to_string();
    only_ends(bench, &["-4", "--netns", &netns], &mut stage, &[&v4], &[&v6, &mapped], &v4_ends)?;
    only_ends(bench, &["-6", "--netns", &netns], &mut stage, &[&v6, &mapped], &[&v4], &v6_ends)
}

fn namespaces_by_inode_path_and_name(bench: &Bench) -> Result<()> {
    let (mut here, mut there) = (Stage::open()?, Stage::open()?);
    let (ours, theirs) = (here.connect(&plan())?, there.connect(&plan())?);
    let inode = here.netns.inode().to_string();
    let name = format!("lab-{}", bench.attach);
    let _named = here.netns.name(&name)?;
    for netns in [&inode, &here.netns.path(), &name] {
        only_whole(bench, &["--netns", netns], &mut here, &[&ours], &[])?;
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
    only_whole(bench, &["--cgroup", &all], &mut stage, &[&in_above, &in_below], &[&outside])?;
    only_whole(bench, &["--cgroup", &part], &mut stage, &[&in_below], &[&in_above, &outside])
}

fn several_filters_must_all_match(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let both = stage.connect(&between("127.0.0.1:5001", "127.5.0.1:6001")?)?;
    let port_only = stage.connect(&between("127.0.0.2:5001", "127.6.0.1:6001")?)?;
    let address_only = stage.connect(&between("127.0.0.1:5002", "127.5.0.1:6002")?)?;
    let arguments = ["-L", "5001", "-D", "6000-6999", "-A", "127.5.0.0/16", "-4"];
    only(bench, &arguments, &mut stage, &[&both], &[&port_only, &address_only])
}

/// A second idle, a probe a second, more of them than any test waits for.
const PROBED: [u32; 3] = [1, 1, 99];

fn processes_by_id_and_by_name(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let plan = Plan::new(Family::V4);
    let enter = |name| Actor::enter(name, &stage.netns);
    let (mut wanted, mut unwanted, mut server) = (enter("wanted-client")?, enter("other-client")?, enter("server")?);
    let ours = role::connect(&stage.netns, &plan, (&mut wanted, PROBED), (&mut server, PROBED))?;
    let theirs = role::connect(&stage.netns, &plan, (&mut unwanted, PROBED), (&mut server, PROBED))?;
    let pids = (wanted.pid().to_string(), server.pid().to_string());
    tells_only(bench, &["-p", &pids.0], &[ours])?;
    tells_only(bench, &["--comm", "wanted-client"], &[ours])?;
    // The server's are both of its own ends, and only those.
    tells_only(bench, &["--pid", &pids.1], &[ours.other_end(), theirs.other_end()])?;
    tells_only(bench, &["--comm", "server"], &[ours.other_end(), theirs.other_end()])
}

/// Every one of these ends is probed while the tracer runs, and no other end is told of.
fn tells_only(bench: &Bench, arguments: &[&str], ends: &[Connection]) -> Result<()> {
    let netns = ends[0].netns.inode.to_string();
    let tracer = bench.own_tracer(&[&["--netns", &netns], arguments].concat())?;
    for end in ends {
        tracer.wait_for_runs_of(end, 2, LIMIT).with_context(|| format!("with {arguments:?}"))?;
    }
    let finished = tracer.stop()?;
    let told = finished.events.iter().filter(|event| event.lport.is_some());
    let others: Vec<_> = told.filter(|event| !ends.iter().any(|end| event.is_of(end))).collect();
    assert!(others.is_empty(), "with {arguments:?} it told {others:?}");
    Ok(())
}

/// It is not who opened the connection that counts, and not who had it when the tracer came: it is who has it.
fn a_process_filter_follows_the_owner(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let plan = Plan::new(Family::V6);
    let enter = |name| Actor::enter(name, &stage.netns);
    let (mut opener, mut heir, mut server) = (enter("opener")?, enter("heir")?, enter("server")?);
    let connection = role::connect(&stage.netns, &plan, (&mut opener, PROBED), (&mut server, [0; 3]))?;
    let netns = stage.netns.inode().to_string();
    let tracer = bench.own_tracer(&["--netns", &netns, "--comm", "heir"])?;
    stage.capture.wait_for_probes(&connection, 3, LIMIT)?;
    assert!(tracer.events_of(&connection).is_empty(), "the heir has not inherited yet");
    opener.pass(&mut heir, &std::env::temp_dir().join(format!("inheritance-{}", bench.attach)))?;
    opener.close()?;
    let told = tracer.wait_for_runs_of(&connection, 2, LIMIT)?;
    assert!(told.iter().all(|event| event.pid == Some(heir.pid())), "{told:?}");
    drop((heir, opener, server));
    Ok(())
}
