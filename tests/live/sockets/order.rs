//! In which order, for whose eyes, and what is refused.
use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    listing::{self, Socket},
    pair::{Family, Plan},
    peer,
    role::{self, Actor},
    stage::Stage,
};

use super::all_of;
use crate::bench::{Bench, LIMIT};

/// What an order goes by. Each socket is read anew for each order, so what goes with the time is told in whole seconds.
type Place = fn(&Socket) -> i128;

pub fn each_order_is_what_its_name_says(_: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let address = |text: &str| Ok::<_, anyhow::Error>(text.parse()?);
    let plan = |from, to| Ok::<_, anyhow::Error>(Plan::new(Family::V4).from(address(from)?).to(address(to)?));
    let never = stage.connect(&plan("127.0.0.2:5003", "127.0.0.9:6001")?)?;
    let slow = stage.connect(&plan("127.0.0.10:5001", "127.0.0.1:6009")?.keepalive(900, 90, 9))?;
    sleep(Duration::from_secs(2));
    let quick = stage.connect(&plan("127.0.0.2:5001", "127.0.0.10:6003")?.keepalive(1, 40, 5))?;
    peer::deafen(&quick.server)?;
    stage.capture.wait_for_probes(&quick.connection, 1, LIMIT)?;
    let (mut client, mut server) = (Actor::enter("client", &stage.netns)?, Actor::enter("server", &stage.netns)?);
    role::connect(&stage.netns, &Plan::new(Family::V6), (&mut client, [300, 10, 3]), (&mut server, [0; 3]))?;

    let sorted = |key: &str| Ok::<_, anyhow::Error>(all_of(&stage, &["--sort", key])?.sockets);
    let orders: [(&str, Place); 5] = [
        ("pid", |socket| socket.pid.map_or(i128::MAX, i128::from)),
        ("idle", |socket| -i128::from(socket.idle_ms.unwrap_or_default() / 1000)),
        ("timer", |socket| socket.fires_latest_ms.map_or(i128::MAX, |_| socket.window().unwrap_or_default().1 / 1_000_000_000)),
        ("detect", |socket| -i128::from(socket.detect_ms.unwrap_or(u64::MAX))),
        ("probes", |socket| -i128::from(socket.probes_out.unwrap_or_default())),
    ];
    for (key, place) in orders {
        let sockets = sorted(key)?;
        assert_eq!(sockets.len(), 8);
        assert!(sockets.is_sorted_by_key(place), "by {key}: {sockets:?}");
        assert!(place(&sockets[0]) != place(&sockets[7]), "nothing to sort by {key}: {sockets:?}");
    }
    let by_local = sorted("local")?;
    let ends = by_local.iter().map(|socket| Ok((socket.local()?, socket.remote()?))).collect::<Result<Vec<_>>>()?;
    assert!(ends.iter().filter(|(local, _)| local.is_ipv4()).is_sorted(), "by local: {ends:?}");
    let by_remote = sorted("remote")?;
    let ends = by_remote.iter().map(|socket| Ok((socket.remote()?, socket.local()?))).collect::<Result<Vec<_>>>()?;
    assert!(ends.iter().filter(|(remote, _)| remote.is_ipv4()).is_sorted(), "by remote: {ends:?}");
    let unsorted = |sockets: &[Socket]| sockets.iter().map(|socket| (socket.lport, socket.rport)).collect::<Vec<_>>();
    assert_eq!(unsorted(&all_of(&stage, &[])?.sockets), unsorted(&by_local), "by local unless told otherwise");
    [never, slow, quick].into_iter().try_for_each(lab::pair::Pair::abort_both)
}

pub fn for_people_there_is_a_line_a_socket_under_a_header(_: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let netns = stage.netns.inode().to_string();
    let (mut client, mut server) = (Actor::enter("psql", &stage.netns)?, Actor::enter("postgres", &stage.netns)?);
    let plan = Plan::new(Family::V4);
    let connection = role::connect(&stage.netns, &plan, (&mut client, [600, 0, 0]), (&mut server, [0; 3]))?;
    client.set("SO_KEEPALIVE", 1)?;
    client.set("TCP_KEEPIDLE", 613)?;

    let (printed, errors, code) = listing::text(&["--netns", &netns])?;
    assert_eq!((errors.as_str(), code), ("", 0), "{printed}");
    assert!(!printed.contains('\x1b'), "a pipe has no colours: {printed}");
    let (header, lines) = printed.split_once('\n').context("no header")?;
    for column in ["PID", "COMM", "LADDR:LPORT", "RADDR:RPORT"] {
        assert!(header.split_whitespace().any(|word| word == column), "no {column}: {printed}");
    }
    let columns = header.split_whitespace().count();
    assert!(columns > 6, "{printed}");
    let pids = [client.pid(), server.pid()].map(|pid| pid.to_string());
    let ends = [connection, connection.other_end()];
    for ((end, pid), comm) in ends.iter().zip(&pids).zip(["psql", "postgres"]) {
        let wanted = [&pid[..], comm, &end.local.to_string(), &end.remote.to_string()];
        let ours = |line: &&str| wanted.iter().all(|word| line.split_whitespace().any(|other| other == *word));
        assert_eq!(lines.lines().filter(ours).count(), 1, "{wanted:?} of {printed}");
    }
    let shown = lines.lines().find(|line| line.contains(&pids[0])).context("not listed")?;
    assert!(shown.contains("613") && shown.contains("75") && shown.contains('9'), "without its settings: {shown}");
    let (wide, _, code) = listing::text(&["--netns", &netns, "--wide"])?;
    assert!(code == 0 && wide.contains(&netns), "{wide}");
    Ok(())
}

pub fn what_cannot_be_meant_is_a_usage_error(_: &Bench) -> Result<()> {
    for arguments in [
        &["--idle-limit", "soon"][..],
        &["--detect-within", "quickly"],
        &["--sort", "beauty"],
        &["--all-netns", "perhaps"],
        &["--fail"],
        &["-4", "-6"],
        &["--netns", "1", "--all-netns", "off"],
        &["-L", "70000"],
    ] {
        let (printed, errors, code) = listing::text(arguments)?;
        assert_eq!((printed.as_str(), code), ("", 2), "{arguments:?}: {errors}");
        let named = arguments.iter().any(|argument| errors.contains(argument));
        assert!(named || errors.contains("--ipv6"), "{arguments:?}: {errors}");
    }
    let (_, errors, code) = listing::text(&["--netns", "no-such-namespace"])?;
    assert!(code != 0 && errors.contains("no-such-namespace"), "{code}: {errors}");
    Ok(())
}
