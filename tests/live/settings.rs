//! The settings in force, and where each comes from.
use anyhow::{Context, Result};
use lab::{
    event::Event,
    pair::{Connection, Family, Plan},
    role::{self, Actor, Keepalive},
};
use socket2::TcpKeepalive;

use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
};

tests![
    each_setting_names_where_it_comes_from,
    a_lowered_sysctl_is_in_force_at_once_but_shortens_no_wait,
    #[full_stream]
    a_raised_sysctl_makes_a_run_come_too_early,
    #[full_stream]
    a_change_is_told_once_with_who_made_it,
    #[full_stream]
    what_changes_nothing_is_not_told,
    #[full_stream]
    a_change_by_another_process_names_that_process,
    #[full_stream]
    what_was_set_before_the_connection_is_no_change,
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
    let scene = bench.full_stream()?.scene()?;
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

/// Longer than the tracer keeps an event to itself.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(500);
/// Far from firing, so that nothing happens but what is set.
const QUIET: Keepalive = [1000, 100, 9];

/// A connection between two processes whose client is called "setter".
fn connected(scene: &Scene, family: Family, keepalive: Keepalive) -> Result<(Actor, Actor, Connection)> {
    let netns = &scene.stage.netns;
    let (mut setter, mut server) = (Actor::enter("setter", netns)?, Actor::enter("server", netns)?);
    let connection = role::connect(netns, &Plan::new(family), (&mut setter, keepalive), (&mut server, [0; 3]))?;
    Ok((setter, server, connection))
}

/// The changes told so far, all that there will be of what was done.
fn changes(scene: &Scene, connection: &Connection) -> Vec<Event> {
    std::thread::sleep(SETTLE);
    scene.told(connection).into_iter().filter(|event| event.kind == "settings").collect()
}

/// Holds that the event has what getsockopt says.
fn is_as_the_kernel_says(event: &Event, setter: &mut Actor) -> Result<()> {
    let mut says = |option| setter.get(option);
    assert_eq!(event.keepalive, Some(says("SO_KEEPALIVE")? != 0), "{event:?}");
    assert_eq!(event.time_s, Some(says("TCP_KEEPIDLE")?.into()), "{event:?}");
    assert_eq!(event.intvl_s, Some(says("TCP_KEEPINTVL")?.into()), "{event:?}");
    assert_eq!(event.probes, Some(says("TCP_KEEPCNT")?.cast_unsigned()), "{event:?}");
    assert_eq!(event.user_timeout_ms, Some(says("TCP_USER_TIMEOUT")?.cast_unsigned().into()), "{event:?}");
    Ok(())
}

fn a_change_is_told_once_with_who_made_it(bench: &Bench) -> Result<()> {
    for family in [Family::V4, Family::V6, Family::Mapped] {
        let scene = bench.full_stream()?.scene()?;
        let (mut setter, server, connection) = connected(&scene, family, [0; 3])?;
        let steps = [
            ("SO_KEEPALIVE", 1, "settings on 7200/75/9", ["sysctl", "sysctl", "sysctl"]),
            ("TCP_KEEPIDLE", 700, "settings on 700/75/9", ["socket", "sysctl", "sysctl"]),
            ("TCP_KEEPINTVL", 70, "settings on 700/70/9", ["socket", "socket", "sysctl"]),
            ("TCP_KEEPCNT", 7, "settings on 700/70/7", ["socket"; 3]),
            ("TCP_USER_TIMEOUT", 7000, "settings on 700/70/7", ["socket"; 3]),
            ("SO_KEEPALIVE", 0, "settings off", ["socket"; 3]),
        ];
        for (index, (option, value, gist, from)) in steps.into_iter().enumerate() {
            setter.set(option, value)?;
            let told = changes(&scene, &connection);
            assert_eq!(told.len(), index + 1, "{option} {value}: {told:?}");
            let change = &told[index];
            assert_eq!((change.gist().as_str(), origins(change)?), (gist, from.map(str::to_owned)), "{option} {value}");
            assert_eq!((change.by_pid, change.by_comm.as_deref()), (Some(setter.pid()), Some("setter")), "{change:?}");
            is_as_the_kernel_says(change, &mut setter)?;
        }
        assert!(changes(&scene, &connection.other_end()).is_empty(), "the other end changed nothing");
        drop((setter, server));
        scene.hold()?;
    }
    Ok(())
}

fn what_changes_nothing_is_not_told(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    let (mut setter, server, connection) = connected(&scene, Family::V4, QUIET)?;
    for (option, value) in [("TCP_KEEPCNT", 0), ("TCP_KEEPCNT", 128), ("TCP_KEEPIDLE", 0), ("TCP_KEEPINTVL", 32768)] {
        assert!(setter.set(option, value).is_err(), "the kernel accepts {option} {value}");
    }
    let as_before =
        [("SO_KEEPALIVE", 1), ("TCP_KEEPIDLE", 1000), ("TCP_KEEPINTVL", 100), ("TCP_KEEPCNT", 9), ("TCP_USER_TIMEOUT", 0)];
    for (option, value) in as_before {
        setter.set(option, value)?;
    }
    let told = changes(&scene, &connection);
    assert!(told.is_empty(), "{told:?}");
    drop((setter, server));
    scene.hold()
}

fn a_change_by_another_process_names_that_process(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    let (mut setter, server, connection) = connected(&scene, Family::V6, QUIET)?;
    let mut meddler = Actor::enter("meddler", &scene.stage.netns)?;
    setter.pass(&mut meddler, &std::env::temp_dir().join(format!("meddling-{}", bench.attach)))?;
    meddler.set("TCP_KEEPINTVL", 5)?;
    let told = changes(&scene, &connection);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].by_pid, told[0].by_comm.as_deref()), (Some(meddler.pid()), Some("meddler")), "{told:?}");
    assert_eq!(told[0].gist(), "settings on 1000/5/9");
    drop((setter, server, meddler));
    scene.hold()
}

/// It opens with them.
fn what_was_set_before_the_connection_is_no_change(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    let plan = Plan::new(Family::Mapped).keepalive(30, 20, 4).user_timeout(std::time::Duration::from_secs(9));
    let pair = scene.stage.connect(&plan)?;
    let opened = |event: &Event| event.kind == "open";
    bench.tracer()?.wait_for_some_of(&pair.connection, "an opening", LIMIT, opened, 1)?;
    let told = scene.told(&pair.connection);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].time_s, told[0].intvl_s, told[0].probes, told[0].user_timeout_ms),
        (Some(30), Some(20), Some(4), Some(9000))
    );
    assert_eq!((told[0].keepalive, origins(&told[0])?), (Some(true), ["socket"; 3].map(str::to_owned)));
    drop(pair);
    scene.hold()
}
