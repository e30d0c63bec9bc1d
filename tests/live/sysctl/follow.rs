//! Who follows a write, and when: counted at the write.
use std::sync::Arc;

use anyhow::{Context, Result};
use lab::{
    pair::{Family, Plan},
    peer,
    role::{self, Actor},
    sockopt::{self, KEEPCNT, KEEPINTVL},
    stage::Stage,
};

use super::{INTVL, PROBES, TIME, Watch, counts, nobody_waits};
use crate::bench::{Bench, LIMIT};

pub fn who_follows_when_is_counted_for_each_of_the_three(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    let (ours, own) = (watch.some_by_sysctl(4)?, watch.stage.connect(&Plan::new(Family::V4).keepalive(5000, 50, 5))?);
    // One of them has an interval of its own, one a number of probes.
    sockopt::set(&ours[0].client, KEEPINTVL, 70)?;
    sockopt::set(&ours[1].client, KEEPCNT, 7)?;
    // One is at probing, under the namespace's interval.
    let probing =
        Plan::new(Family::Mapped).keepalive_with(socket2::TcpKeepalive::new().with_time(std::time::Duration::from_secs(1)));
    let probing = watch.stage.connect(&probing)?;
    peer::deafen(&probing.server)?;
    watch.stage.capture.wait_for_probes(&probing.connection, 1, LIMIT)?;
    // One is not connected yet.
    let plan = Plan::new(Family::V4).keepalive_with(socket2::TcpKeepalive::new());
    let (listener, client) = watch.stage.netns.enter(|| Ok((plan.listen()?, plan.client_socket()?)))?;
    peer::deafen(&listener)?;
    client.set_nonblocking(true).context("O_NONBLOCK")?;
    let there = listener.local_addr().context("no address")?;
    assert!(client.connect(&there).is_err(), "the listener hears nothing");

    // The servers of four, of one, of one: keepalive off.
    const OFF: u64 = 6;
    let time = watch.write(TIME, 7000)?;
    assert_eq!(counts(&time), [1, 4, 2, OFF].map(Some), "{time:?}");
    let intvl = watch.write(INTVL, 60)?;
    assert_eq!(counts(&intvl), [4, 1, 2, OFF].map(Some), "{intvl:?}");
    let probes = watch.write(PROBES, 8)?;
    assert_eq!(counts(&probes), [5, 0, 2, OFF].map(Some), "{probes:?}");
    nobody_waits(&probes);
    let [nearest, last] = [&intvl.nearest_at, &intvl.last_at].map(|named| intvl.moment(named));
    assert_eq!(nearest?, last?, "only one of them waits");
    probing.abort_both()?;
    drop((ours, own, client));
    watch.end()
}

pub fn only_those_that_are_chosen_are_counted(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let keepalive = || socket2::TcpKeepalive::new();
    let connect = |from: &str, to: &str| {
        stage.connect(&Plan::new(Family::V4).keepalive_with(keepalive()).from(from.parse()?).to(to.parse()?))
    };
    let pairs = [
        connect("127.0.0.1:5001", "127.0.0.1:6001")?,
        connect("127.0.0.1:5002", "127.0.0.1:6001")?,
        connect("127.0.0.1:5003", "127.0.0.1:6002")?,
    ];
    let (mut client, mut server) = (Actor::enter("chosen", &stage.netns)?, Actor::enter("server", &stage.netns)?);
    role::connect(&stage.netns, &Plan::new(Family::V6), (&mut client, [0; 3]), (&mut server, [0; 3]))?;
    client.set("SO_KEEPALIVE", 1)?;
    let pid = client.pid().to_string();

    let mut stage = Some(stage);
    let cases: [(&[&str], [u64; 4]); 3] =
        [(&["-L", "5001-5002"], [0, 2, 0, 0]), (&["-D", "5003"], [0, 0, 0, 1]), (&["-p", &pid], [0, 1, 0, 0])];
    for (value, (filters, wanted)) in (6000..).zip(cases) {
        let mut watch = Watch::of(bench, stage.take().context("no stage")?, filters)?;
        let write = watch.write(TIME, value)?;
        assert_eq!(counts(&write), wanted.map(Some), "{filters:?}: {write:?}");
        let Watch { stage: again, tracer, writer: _ } = watch;
        assert_eq!(Arc::into_inner(tracer).context("it is shared")?.stop()?.lost(), 0);
        stage = Some(again);
    }
    drop((pairs, client, server));
    Ok(())
}
