//! Runs of the timer that send a probe or end the connection.
use std::{net::Ipv4Addr, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    application::Reader,
    clock::{self, jiffies_to_time},
    event::Event,
    pair::{Family, Plan},
    peer,
    wire::Kind,
};
use nix::errno::Errno;

use crate::{
    bench::{Bench, LIMIT, kernel_names_reasons, tests},
    scene::same_moment,
};

tests![
    a_deaf_peer_is_probed_three_times_and_then_reset,
    an_answer_begins_a_new_round,
    a_peer_that_hears_again_ends_the_round,
    a_user_timeout_ends_it_before_the_count_does,
    a_peer_that_forgot_the_connection_resets_it,
    probes_without_a_route_are_dropped_locally_and_count,
    probes_into_a_full_queue_are_congested_and_do_not_count,
    probes_stay_counted_while_keepalive_is_off,
    a_half_closed_connection_is_probed_on_either_side,
];

const DEATH_AFTER_THREE: [&str; 4] = ["probe 1/3 sent", "probe 2/3 sent", "probe 3/3 sent", "reset keepalive-timeout"];

fn one_second_three_times() -> Plan {
    Plan::new(Family::V4).keepalive(1, 1, 3)
}

fn a_deaf_peer_is_probed_three_times_and_then_reset(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&one_second_three_times())?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    peer::deafen(&pair.server)?;
    let connection = pair.connection;

    let first = scene.begins(&connection, &DEATH_AFTER_THREE[..1])?;
    let shown = scene.timer_is_as_announced(&connection, &first[0])?;
    assert_eq!(shown.probes_out, 1);

    let (ending, ended) = reader.wait()?;
    assert_eq!(ending.name(), "ETIMEDOUT");
    let events = scene.is(&connection, &DEATH_AFTER_THREE)?;
    settings_and_times_are_right(&events)?;
    is_a_death_by_keepalive(&events[3])?;
    same_moment(events[3].at(), ended, "the death told and the application's error");
    assert_eq!(scene.stage.capture.times(&connection, Kind::Probe)?.len(), 3);
    assert_eq!(scene.stage.capture.answers(&connection)?, []);
    drop(pair);
    scene.hold()
}

/// Idle 1 s, interval 1 s, 3 probes, all set on the socket; each wait ends in its slot of the timer wheel.
fn settings_and_times_are_right(events: &[Event]) -> Result<()> {
    let lateness = clock::wheel_lateness(Duration::from_secs(1), clock::hz()?).as_millis() as i64;
    let mut idle_so_far = 0;
    for event in events {
        let settings = (event.time_s, event.intvl_s, event.probes, event.user_timeout_ms);
        assert_eq!(settings, (Some(1), Some(1), Some(3), Some(0)));
        let origin = event.origin.clone().context("no origin")?;
        assert_eq!([&*origin.time, &*origin.intvl, &*origin.probes], ["socket"; 3]);
        if event.kind == "probe" {
            let late = event.late_ms.context("no late_ms")?;
            assert!((0..=lateness).contains(&late), "{late} ms late, of {lateness} at most: {event:?}");
        }
        let idle = event.idle_ms.context("no idle_ms")? as i64;
        assert!((idle_so_far + 1000..=idle_so_far + 1000 + lateness).contains(&idle), "{idle} after {idle_so_far}: {event:?}");
        idle_so_far = idle;
    }
    Ok(())
}

fn is_a_death_by_keepalive(reset: &Event) -> Result<()> {
    assert_eq!(reset.in_timer, Some(true));
    assert_eq!((reset.task_pid, &reset.task_comm), (None, &None), "a timer's resets have no task");
    let reason = if kernel_names_reasons()? { Some("TCP_KEEPALIVE_TIMEOUT") } else { None };
    assert_eq!(reset.reason.as_deref(), reason);
    Ok(())
}

fn an_answer_begins_a_new_round(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&one_second_three_times())?;
    let events = scene.begins(&pair.connection, &["probe 1/3 sent"; 4])?;
    let shown = scene.timer_is_as_announced(&pair.connection, &events[3])?;
    assert_eq!(shown.probes_out, 0, "the answer sets the kernel's count back");
    assert_eq!(scene.stage.capture.answers(&pair.connection)?, [Kind::Ack; 4]);
    drop(pair);
    scene.hold()
}

fn a_peer_that_hears_again_ends_the_round(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&one_second_three_times())?;
    peer::deafen(&pair.server)?;
    scene.begins(&pair.connection, &["probe 1/3 sent", "probe 2/3 sent"])?;
    peer::hear(&pair.server)?;
    // The third is answered, and the count begins anew.
    let story = ["probe 1/3 sent", "probe 2/3 sent", "probe 3/3 sent", "probe 1/3 sent"];
    scene.begins(&pair.connection, &story)?;
    assert_eq!(scene.stage.capture.answers(&pair.connection)?, [Kind::Ack; 2]);
    drop(pair);
    scene.hold()
}

fn a_user_timeout_ends_it_before_the_count_does(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let timeout = Duration::from_millis(2500);
    let pair = scene.stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 9).user_timeout(timeout))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    peer::deafen(&pair.server)?;

    let (ending, ended) = reader.wait()?;
    assert_eq!(ending.name(), "ETIMEDOUT");
    let events = scene.is(&pair.connection, &["probe 1/9 sent", "probe 2/9 sent", "reset user-timeout"])?;
    assert!(events.iter().all(|event| event.user_timeout_ms == Some(2500)), "{events:?}");
    is_a_death_by_keepalive(&events[2])?; // the kernel's reason is the same
    same_moment(events[2].at(), ended, "the death told and the application's error");
    drop(pair);
    scene.hold()
}

fn a_peer_that_forgot_the_connection_resets_it(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&one_second_three_times())?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    peer::forget(pair.server)?;

    let (ending, ended) = reader.wait()?;
    assert_eq!(ending.name(), "ECONNRESET");
    let events = scene.is(&pair.connection, &["probe 1/3 sent"])?;
    same_moment(events[0].at(), ended, "the probe and the reset that answers it");
    assert_eq!(scene.stage.capture.answers(&pair.connection)?, [Kind::Reset]);
    drop(pair.client);
    scene.hold()
}

fn probes_without_a_route_are_dropped_locally_and_count(bench: &Bench) -> Result<()> {
    const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&one_second_three_times().to((THERE, 0).into()))?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    scene.stage.netns.lose_route(THERE)?;

    assert_eq!(reader.wait()?.0.name(), "ETIMEDOUT");
    let dropped = [1, 2, 3].map(|n| format!("probe {n}/3 dropped-locally"));
    let story = [dropped[0].as_str(), &dropped[1], &dropped[2], "reset keepalive-timeout"];
    let events = scene.is(&pair.connection, &story)?;
    is_a_death_by_keepalive(&events[3])?;
    assert!(scene.stage.capture.times(&pair.connection, Kind::Probe)?.is_empty());
    drop(pair);
    scene.hold()
}

fn probes_into_a_full_queue_are_congested_and_do_not_count(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(&one_second_three_times())?;
    scene.stage.netns.choke()?;
    let events = scene.begins(&pair.connection, &["probe 1/3 congested"; 5])?;
    // Tried again every half second, without end: these would have been more than three.
    let half_a_second = jiffies_to_time(clock::hz()? / 2, clock::hz()?).as_millis() as i64;
    assert!(events.iter().all(|event| event.next_ms == Some(half_a_second)), "{events:?}");
    let shown = scene.timer_is_as_announced(&pair.connection, &events[4])?;
    assert_eq!(shown.probes_out, 0);

    scene.stage.netns.unchoke()?;
    let other = scene.first_other_than(&pair.connection, "probe 1/3 congested")?;
    assert_eq!(other.gist(), "probe 1/3 sent");
    drop(pair);
    scene.hold()
}

fn probes_stay_counted_while_keepalive_is_off(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(&one_second_three_times())?;
    peer::deafen(&pair.server)?;
    scene.begins(&pair.connection, &["probe 1/3 sent"])?;
    pair.client.set_keepalive(false).context("SO_KEEPALIVE off")?;
    sleep(Duration::from_secs(5));
    scene.begins(&pair.connection, &["probe 1/3 sent"])?;
    pair.client.set_keepalive(true).context("SO_KEEPALIVE on")?;
    let events = scene.is(&pair.connection, &DEATH_AFTER_THREE)?;
    assert!(events[1].idle_ms > Some(5000), "idle all the while: {:?}", events[1]);
    drop(pair);
    scene.hold()
}

fn a_half_closed_connection_is_probed_on_either_side(bench: &Bench) -> Result<()> {
    for (who_closes, state) in [("server", "CLOSE_WAIT"), ("client", "FIN_WAIT2")] {
        let scene = bench.scene()?;
        let pair = scene.stage.connect(&one_second_three_times())?;
        let closes = if who_closes == "server" { &pair.server } else { &pair.client };
        closes.shutdown(std::net::Shutdown::Write).context("shutdown")?;
        sleep(Duration::from_millis(100)); // the FIN and its ACK pass
        peer::deafen(&pair.server)?;
        let events = scene.is(&pair.connection, &DEATH_AFTER_THREE)?;
        assert!(events.iter().all(|event| event.state.as_deref() == Some(state)), "{state}: {events:?}");
        assert_eq!(events[3].cause.as_deref(), Some("keepalive-timeout"), "an owner still holds it");
        assert_eq!(pair.client.take_error()?.and_then(|error| error.raw_os_error()), Some(Errno::ETIMEDOUT as i32));
        drop(pair);
        scene.hold()?;
    }
    Ok(())
}
