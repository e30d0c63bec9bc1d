//! What is chosen is listed, and nothing else.
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
};

use anyhow::{Context, Result};
use lab::{
    cgroup::Cgroup,
    listing::{self, Listing, Socket},
    mounts,
    netns::Id,
    pair::{Connection, Family, Pair, Plan},
    role::{self, Actor},
    stage::Stage,
};

use super::{all_of, sums_up};
use crate::bench::Bench;

/// Holds that exactly these ends are listed.
fn lists_only(listing: &Listing, ends: &[Connection], what: &str) -> Result<()> {
    for end in ends {
        listing.of(end).with_context(|| what.to_owned())?;
    }
    let others: Vec<&Socket> = listing.sockets.iter().filter(|socket| !ends.iter().any(|end| socket.is_of(end))).collect();
    assert!(others.is_empty(), "with {what} it lists {others:?}");
    sums_up(listing)
}

fn both_ends(pair: &Pair) -> [Connection; 2] {
    [pair.connection, pair.connection.other_end()]
}

pub fn ports_addresses_and_families_are_chosen_from(_: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    stage.netns.add_address("fd05::1".parse()?)?;
    let connect = |from: &str, to: &str| stage.connect(&Plan::new(Family::V4).from(from.parse()?).to(to.parse()?));
    let v4 = connect("127.5.0.1:5001", "127.0.0.1:6001")?;
    let other = connect("127.6.0.1:5002", "127.0.0.1:6002")?;
    let v6 = connect("[fd05::1]:5003", "[::1]:6003")?;
    let mapped = connect("[::ffff:127.5.0.2]:5004", "[::ffff:127.0.0.1]:6004")?;
    let pairs = [v4, other, v6, mapped];
    let [v4, other, v6, mapped] = pairs.each_ref().map(both_ends);

    let cases: [(&[&str], &[Connection]); 8] = [
        (&["-L", "5001,5003-5004"], &[v4[0], v6[0], mapped[0]]),
        (&["-D", "5001,5003-5004"], &[v4[1], v6[1], mapped[1]]),
        (&["-a", "127.5.0.0/16"], &[v4[0], mapped[0]]),
        (&["-A", "127.5.0.0/16"], &[v4[1], mapped[1]]),
        (&["-a", "fd05::/32,127.6.0.1"], &[v6[0], other[0]]),
        // Whoever connects to an IPv4 listener from an IPv6 socket is IPv4 to the listener.
        (&["-4"], &[v4[0], v4[1], other[0], other[1], mapped[1]]),
        (&["-6"], &[v6[0], v6[1], mapped[0]]),
        (&["-4", "-a", "127.5.0.0/16", "-D", "6001"], &[v4[0]]),
    ];
    cases.into_iter().try_for_each(|(arguments, ends)| lists_only(&all_of(&stage, arguments)?, ends, &format!("{arguments:?}")))
}

pub fn processes_and_cgroups_are_chosen_from(_: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let enter = |name| Actor::enter(name, &stage.netns);
    let (mut wanted, mut other, mut server) = (enter("wanted-client")?, enter("other-client")?, enter("server")?);
    let mut connect = |client| role::connect(&stage.netns, &Plan::new(Family::V4), (client, [0; 3]), (&mut server, [0; 3]));
    let (ours, theirs) = (connect(&mut wanted)?, connect(&mut other)?);
    let above = Cgroup::new(Path::new(mounts::CGROUP), "lab-once")?;
    let below = Cgroup::new(above.path(), "below")?;
    let grouped = below.enter(|| stage.connect(&Plan::new(Family::V6)))?;
    let pids = [wanted.pid(), other.pid(), server.pid()].map(|pid| pid.to_string());
    let servers = [ours.other_end(), theirs.other_end()];
    let paths = [above.path(), below.path()].map(|path| path.display().to_string());
    let group = both_ends(&grouped);

    let cases: [(&[&str], &[Connection]); 6] = [
        (&["-p", &format!("{},{}", pids[0], pids[1])], &[ours, theirs]),
        (&["--comm", "server"], &servers),
        (&["--comm", "wanted-client,other-client"], &[ours, theirs]),
        (&["--cgroup", &paths[0]], &group),
        (&["--cgroup", &paths[1]], &group),
        (&["--cgroup", &paths[1], "-p", &pids[0]], &[]),
    ];
    for (arguments, ends) in cases {
        lists_only(&all_of(&stage, arguments)?, ends, &format!("{arguments:?}"))?;
    }
    let listing = all_of(&stage, &["-L", &grouped.connection.local.port().to_string()])?;
    let cgroup = listing.of(&grouped.connection)?.cgroup.as_deref();
    assert_eq!(cgroup, Some("/lab-once/below"));

    // A socket that two processes hold is either's.
    let child = wanted.fork("child")?;
    for pid in [wanted.pid(), child.pid] {
        let listing = all_of(&stage, &["-p", &pid.to_string()])?;
        lists_only(&listing, &[ours], "two holders")?;
        assert_eq!((listing.of(&ours)?.pid, listing.of(&ours)?.holders), (Some(pid), Some(2)));
    }
    Ok(())
}

pub fn namespaces_are_chosen_from(_: &Bench) -> Result<()> {
    let (here, there) = (Stage::open()?, Stage::open()?);
    let connect = |stage: &Stage| stage.connect(&Plan::new(Family::V4));
    let (ours, theirs) = (connect(&here)?, connect(&there)?);
    let [ours, theirs] = [&ours, &theirs].map(both_ends);
    let (inode, other) = (here.netns.inode().to_string(), there.netns.inode().to_string());
    let _named = here.netns.name("lab-once")?;
    for netns in [&inode, &here.netns.path(), "lab-once"] {
        lists_only(&listing::list(&["--netns", netns])?, &ours, netns)?;
    }
    let both = listing::list(&["--netns", &inode, "--netns", &other])?;
    lists_only(&both, &[ours, theirs].concat(), "both")?;

    // Without a choice it is all of them; or only the one in which it runs.
    let listener = TcpListener::bind("127.0.0.1:0").context("bind")?;
    let client = TcpStream::connect(listener.local_addr()?).context("connect")?;
    let (server, _) = listener.accept().context("accept")?;
    let inode = std::fs::metadata("/proc/self/ns/net").context("/proc/self/ns/net")?;
    let host = Id { inode: std::os::unix::fs::MetadataExt::ino(&inode), since: 0 };
    let home = Connection::between(host, client.local_addr()?, client.peer_addr()?);
    let all = listing::list(&[])?;
    for end in [&[home, home.other_end()][..], &ours, &theirs].concat() {
        all.of(&end)?;
    }
    assert_eq!(all.sockets.len(), listing::list(&["--all-netns", "on"])?.sockets.len());
    lists_only(&listing::list(&["--all-netns", "off"])?, &[home, home.other_end()], "--all-netns off")?;
    let within = here.netns.enter(|| listing::list(&["--all-netns", "off"]))?;
    lists_only(&within, &ours, "--all-netns off in another namespace")?;
    drop(server);
    Ok(())
}

pub fn listeners_are_listed_when_asked_for(_: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let (mut client, mut server) = (Actor::enter("client", &stage.netns)?, Actor::enter("server", &stage.netns)?);
    let plan = Plan::new(Family::V4);
    let connection = role::connect(&stage.netns, &plan, (&mut client, [0; 3]), (&mut server, [60, 6, 5]))?;
    let nobody: SocketAddr = "0.0.0.0:0".parse()?;
    let listener = Connection::between(stage.netns.id(), connection.remote, nobody);
    let ends = [connection, connection.other_end()];
    lists_only(&all_of(&stage, &[])?, &ends, "no listeners")?;
    let listing = all_of(&stage, &["--listen"])?;
    lists_only(&listing, &[&ends[..], &[listener]].concat(), "listeners")?;
    assert_eq!((listing.summary.listeners, listing.of(&listener)?.state.as_str()), (1, "LISTEN"));
    for end in [listener, connection.other_end()] {
        let socket = listing.of(&end)?;
        assert_eq!((socket.keepalive, socket.time_s, socket.intvl_s, socket.probes), (true, 60, 6, 5), "{socket:?}");
        assert_eq!((socket.pid, socket.origin.time.as_str()), (Some(server.pid()), "socket"), "{socket:?}");
    }
    assert_eq!(listing.of(&listener)?.timer_left_ms, None, "a listener has no timer");
    Ok(())
}
