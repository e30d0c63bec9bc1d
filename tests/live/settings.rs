//! The settings in force, and where each comes from.
use anyhow::{Context, Result};
use lab::{
    event::Event,
    pair::{Family, Plan},
};
use socket2::TcpKeepalive;

use crate::bench::{Bench, tests};

tests![
    each_setting_names_where_it_comes_from,
    a_lowered_sysctl_is_in_force_at_once_but_shortens_no_wait,
    a_raised_sysctl_makes_a_run_come_too_early,
];

/// SO_KEEPALIVE and nothing else: everything comes from the namespace's sysctls.
fn by_sysctl() -> Plan {
    Plan::new(Family::V4).keepalive_with(TcpKeepalive::new())
}

fn origins(event: &Event) -> Result<[String; 3]> {
    let origin = event.origin.clone().with_context(|| format!("no origin: {event:?}"))?;
    Ok([origin.time, origin.intvl, origin.probes])
}

fn each_setting_names_where_it_comes_from(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    for (name, value) in [("tcp_keepalive_time", 1), ("tcp_keepalive_intvl", 2), ("tcp_keepalive_probes", 7)] {
        scene.stage.netns.sysctl(name, value)?;
    }
    let pair = scene.stage.connect(&by_sysctl())?;
    let first = scene.begins(&pair.connection, &["probe 1/7 sent"])?;
    assert_eq!((first[0].time_s, first[0].intvl_s, first[0].probes), (Some(1), Some(2), Some(7)));
    assert_eq!(origins(&first[0])?, ["sysctl"; 3]);
    scene.timer_is_as_announced(&pair.connection, &first[0])?;

    pair.client.set_tcp_keepalive(&TcpKeepalive::new().with_retries(5)).context("TCP_KEEPCNT")?;
    let second = scene.begins(&pair.connection, &["probe 1/7 sent", "probe 1/5 sent"])?;
    assert_eq!(origins(&second[1])?, ["sysctl", "sysctl", "socket"]);

    pair.client.set_tcp_keepalive(&TcpKeepalive::new().with_time(std::time::Duration::from_secs(3))).context("TCP_KEEPIDLE")?;
    let third = scene.begins(&pair.connection, &["probe 1/7 sent", "probe 1/5 sent", "probe 1/5 sent"])?;
    assert_eq!((third[2].time_s, origins(&third[2])?), (Some(3), ["socket", "sysctl", "socket"].map(str::to_owned)));
    drop(pair);
    scene.hold()
}

fn a_lowered_sysctl_is_in_force_at_once_but_shortens_no_wait(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_keepalive_time", 3)?;
    let pair = scene.stage.connect(&by_sysctl())?;
    scene.stage.netns.sysctl("tcp_keepalive_time", 1)?;
    let events = scene.begins(&pair.connection, &["probe 1/9 sent"])?;
    assert_eq!(events[0].time_s, Some(1), "in force at once");
    assert!(events[0].idle_ms >= Some(3000), "armed before the change: {:?}", events[0]);
    drop(pair);
    scene.hold()
}

fn a_raised_sysctl_makes_a_run_come_too_early(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_keepalive_time", 1)?;
    let pair = scene.stage.connect(&by_sysctl())?;
    scene.stage.netns.sysctl("tcp_keepalive_time", 3)?;
    let events = scene.begins(&pair.connection, &["timer not-idle"])?;
    scene.timer_is_as_announced(&pair.connection, &events[0])?;
    let idle = events[0].idle_ms.context("no idle_ms")?;
    let next = u64::try_from(events[0].next_ms.context("no next_ms")?)?;
    assert_eq!(idle + next, 3000, "armed again for the rest: {:?}", events[0]);
    scene.begins(&pair.connection, &["timer not-idle", "probe 1/9 sent"])?;
    drop(pair);
    scene.hold()
}
