//! Who is who: addresses, ports, family and namespace of every kind of connection.
use anyhow::{Context, Result};
use lab::{
    pair::{Connection, Family, Plan},
    peer,
};

use crate::{
    bench::{Bench, tests},
    scene::gists,
};

tests![
    ipv4_is_told_as_it_is,
    ipv6_is_told_as_it_is,
    ipv4_mapped_is_told_as_ipv4_on_an_ipv6_socket,
    every_connection_keeps_its_own_id
];

const STORY: [&str; 3] = ["probe 1/2 sent", "probe 2/2 sent", "reset keepalive-timeout"];

fn ipv4_is_told_as_it_is(bench: &Bench) -> Result<()> {
    is_told(bench, Family::V4, 4, "127.0.0.1")
}

fn ipv6_is_told_as_it_is(bench: &Bench) -> Result<()> {
    is_told(bench, Family::V6, 6, "::1")
}

fn ipv4_mapped_is_told_as_ipv4_on_an_ipv6_socket(bench: &Bench) -> Result<()> {
    is_told(bench, Family::Mapped, 6, "127.0.0.1")
}

fn is_told(bench: &Bench, family: Family, ip: u8, address: &str) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(&Plan::new(family).keepalive(1, 1, 2))?;
    peer::deafen(&pair.server)?;
    let Connection { netns, local, remote, .. } = pair.connection;
    let events = scene.is(&pair.connection, &STORY)?;
    for event in &events {
        let ends = (event.laddr.as_deref(), event.lport, event.raddr.as_deref(), event.rport);
        assert_eq!(ends, (Some(address), Some(local.port()), Some(address), Some(remote.port())), "{event:?}");
        assert_eq!(
            (event.ip, event.netns, event.state.as_deref()),
            (Some(ip), Some(netns.inode), Some("ESTABLISHED")),
            "{event:?}"
        );
    }
    drop(pair);
    scene.hold()
}

fn every_connection_keeps_its_own_id(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let plan = Plan::new(Family::V4).keepalive(1, 1, 2);
    let pairs = [scene.stage.connect(&plan)?, scene.stage.connect(&plan)?];
    pairs.iter().try_for_each(|pair| peer::deafen(&pair.server))?;
    let mut ids = Vec::new();
    for pair in &pairs {
        let events = scene.is(&pair.connection, &STORY)?;
        let id = events[0].conn.clone().context("no conn")?;
        assert!(id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
        assert!(events.iter().all(|event| event.conn.as_ref() == Some(&id)), "{:?}", gists(&events));
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
    drop(pairs);
    scene.hold()
}
