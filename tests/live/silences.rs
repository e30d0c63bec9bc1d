//! Runs of the timer that send nothing, and what becomes of orphans.
use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    busy::Holder,
    clock::{self, jiffies_to_time, wheel_lateness},
    pair::{Connection, Family, Pair, Plan},
    peer,
    timer::Kind,
    wire,
};

use crate::bench::{Bench, kernel_names_reasons, tests};

tests![
    #[full_stream]
    unacknowledged_data_keeps_it_silent,
    #[full_stream]
    an_unacknowledged_fin_keeps_it_silent,
    #[full_stream]
    unsent_data_keeps_it_silent,
    #[full_stream]
    recent_data_puts_it_off,
    #[full_stream]
    a_held_lock_puts_it_off_for_a_twentieth_of_a_second,
    #[full_stream]
    before_the_connection_stands_it_is_off,
    #[full_stream]
    an_orphan_in_fin_wait2_becomes_a_time_wait_socket,
    an_orphan_in_fin_wait2_is_reset_when_its_time_was_cut_short,
];

const SECOND: Duration = Duration::from_secs(1);

fn unacknowledged_data_keeps_it_silent(bench: &Bench) -> Result<()> {
    let mut scene = bench.full_stream()?.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 3))?;
    peer::deafen(&pair.server)?;
    pair.send(b"?")?;
    let events = scene.begins(&pair.connection, &["timer data-in-flight"; 4])?;
    assert!(
        events.iter().all(|event| event.next_ms == Some(1000)),
        "it comes back after idle, not after the interval: {events:?}"
    );
    assert!(scene.stage.capture.times(&pair.connection, wire::Kind::Probe)?.is_empty());
    // The kernel shows the retransmission's timer now, so there is nothing to compare keepalive's with.
    assert_eq!(scene.stage.timer(&pair.connection)?.context("no socket")?.kind, Kind::Retransmit);
    pair.abort_both()?;
    scene.hold()
}

fn an_unacknowledged_fin_keeps_it_silent(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 3))?;
    peer::deafen(&server)?;
    scene.begins(&connection, &["probe 1/3 sent"])?;
    drop(client); // with a probe unanswered: the kernel's count freezes
    let story = ["probe 1/3 sent", "timer data-in-flight", "timer data-in-flight"];
    let events = scene.begins(&connection, &story)?;
    assert!(events[1..].iter().all(|event| event.state.as_deref() == Some("FIN_WAIT1")), "{events:?}");
    server.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
    drop(server);
    scene.hold()
}

fn unsent_data_keeps_it_silent(bench: &Bench) -> Result<()> {
    let mut scene = bench.full_stream()?.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::V4).keepalive(2, 1, 3).buffers(4096))?;
    pair.fill()?;
    let events = scene.begins(&pair.connection, &["timer unsent-data"; 2])?;
    assert!(events.iter().all(|event| event.next_ms == Some(2000)), "{events:?}");
    // Meanwhile another timer asks whether the window has opened: on the wire that looks the same, and it is not keepalive.
    assert_eq!(scene.stage.timer(&pair.connection)?.context("no socket")?.kind, Kind::ZeroWindow);
    assert!(!scene.stage.capture.times(&pair.connection, wire::Kind::WindowProbe)?.is_empty());
    pair.abort_both()?;
    scene.hold()
}

fn recent_data_puts_it_off(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::V4).keepalive(2, 1, 3))?;
    sleep(SECOND);
    let sent = clock::now();
    pair.send(b"!")?;
    let events = scene.begins(&pair.connection, &["timer not-idle"])?;
    scene.timer_is_as_announced(&pair.connection, &events[0])?;
    let events = scene.begins(&pair.connection, &["timer not-idle", "probe 1/3 sent"])?;
    // Two seconds after the data's acknowledgement, which may be delayed (TCP_DELACK_MAX: HZ/5).
    let waited = clock::between(sent, events[1].at());
    let latest = 2 * SECOND + Duration::from_millis(200) + wheel_lateness(2 * SECOND, clock::hz()?);
    assert!((2 * SECOND..=latest).contains(&waited), "{waited:?}");
    drop(pair);
    scene.hold()
}

fn a_held_lock_puts_it_off_for_a_twentieth_of_a_second(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 3))?;
    sleep(SECOND / 2);
    let holder = Holder::take(&pair.client)?;
    let events = scene.begins(&pair.connection, &["timer socket-busy"; 5])?;
    let hz = clock::hz()?;
    let twentieth = jiffies_to_time(hz / 20, hz).as_millis() as i64;
    for event in &events {
        let next = event.next_ms.context("no next_ms")?;
        assert!((twentieth..=twentieth + 1000 / hz as i64).contains(&next), "{event:?}");
    }
    holder.release()?;
    // The byte that was held back has just been sent and acknowledged.
    let other = scene.first_other_than(&pair.connection, "timer socket-busy")?;
    assert_eq!(other.gist(), "timer not-idle");
    drop(pair);
    scene.hold()
}

fn before_the_connection_stands_it_is_off(bench: &Bench) -> Result<()> {
    let mut scene = bench.full_stream()?.scene()?;
    let plan = Plan::new(Family::V4).keepalive(1, 1, 3);
    let (listener, client) = scene.stage.netns.enter(|| Ok((plan.listen()?, plan.client_socket()?)))?;
    peer::deafen(&listener)?;
    client.set_keepalive(false).context("SO_KEEPALIVE off")?;
    client.set_nonblocking(true).context("O_NONBLOCK")?;
    let there = listener.local_addr()?;
    let under_way = client.connect(&there).err().context("connected to a deaf listener")?;
    assert_eq!(under_way.raw_os_error(), Some(libc::EINPROGRESS));
    // Armed where it is turned on in SYN_SENT, but only an established connection is probed. (Setting TCP_KEEPIDLE there would
    // have the timer run at once, in the middle of that very call: nothing was ever received.)
    client.set_keepalive(true).context("SO_KEEPALIVE on")?;

    let socket_address = |address: socket2::SockAddr| address.as_socket().context("no address");
    let (local, remote) = (socket_address(client.local_addr()?)?, socket_address(there)?);
    let connection = Connection { netns: scene.stage.netns.id(), ip: 4, local, remote };
    let events = scene.is(&connection, &["timer keepalive-off"])?;
    assert_eq!((events[0].state.as_deref(), events[0].next_ms), (Some("SYN_SENT"), None));
    assert!(scene.stage.capture.times(&connection, wire::Kind::Probe)?.is_empty());
    drop(client);
    scene.hold()
}

fn an_orphan_in_fin_wait2_becomes_a_time_wait_socket(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    // What goes beyond a minute is waited for by the keepalive timer, the rest by a time-wait socket.
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V4).linger2(62))?;
    drop(client);
    let events = scene.begins(&connection, &["timer fin-wait2"])?;
    assert_eq!((events[0].state.as_deref(), events[0].next_ms), (Some("FIN_WAIT2"), None));
    assert_eq!(scene.stage.timer(&connection)?.context("no socket")?.kind, Kind::TimeWait);
    scene.is(&connection, &["timer fin-wait2"])?;
    drop(server);
    scene.hold()
}

fn an_orphan_in_fin_wait2_is_reset_when_its_time_was_cut_short(bench: &Bench) -> Result<()> {
    let scene = bench.scene()?;
    scene.stage.netns.sysctl("tcp_fin_timeout", 62)?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V4))?;
    drop(client);
    sleep(SECOND);
    scene.stage.netns.sysctl("tcp_fin_timeout", 60)?;
    let events = scene.is(&connection, &["reset fin-wait2-timeout"])?;
    let reset = &events[0];
    assert_eq!((reset.state.as_deref(), reset.in_timer), (Some("FIN_WAIT2"), Some(true)));
    let reason = if kernel_names_reasons()? { Some("TCP_STATE") } else { None };
    assert_eq!(reset.reason.as_deref(), reason);
    // The peer had the FIN; the reset after it is a broken pipe.
    let error = server.take_error()?.and_then(|error| error.raw_os_error());
    assert_eq!(error, Some(libc::EPIPE));
    drop(server);
    scene.hold()
}
