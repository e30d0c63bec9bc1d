//! Answers to probes: recognised at the socket's next occasion, or with `--rtt` as they come.
use std::{collections::BTreeSet, net::Shutdown, sync::Arc, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    clock::between,
    event::Event,
    leftovers::Hooks,
    pair::{Connection, Family, Pair, Plan},
    peer,
    wire::Kind,
};

use crate::{
    bench::{Bench, LIMIT, tests},
    scene::Scene,
};

tests![
    by_default_no_packet_passes_a_hook,
    by_default_an_answer_is_recognised_at_the_next_run,
    an_answer_comes_with_how_many_were_missed,
    with_rtt_the_time_is_the_wire_s,
    with_rtt_an_answer_is_told_as_it_comes_in_every_state,
    with_rtt_no_answer_is_told_where_none_came,
    with_rtt_the_peer_s_own_probes_are_no_answer,
];

/// What every segment that arrives passes.
const PACKET_PATH: [&str; 7] =
    ["tcp_ack", "tcp_rcv_established", "tcp_v4_rcv", "tcp_v6_rcv", "tcp_v4_do_rcv", "tcp_v6_do_rcv", "tcp_data_queue"];

/// The wire is stamped as a packet passes, the tracer's clock is read a little before or after; the machine is emulated.
const BOUND: Duration = Duration::from_millis(1);

fn by_default_no_packet_passes_a_hook(bench: &Bench) -> Result<()> {
    let hooked = |arguments: &[&str]| -> Result<BTreeSet<String>> {
        let tracer = bench.only_tracer(arguments)?;
        let Hooks { kprobes, traced, .. } = Hooks::read()?;
        tracer.stop()?;
        Ok(&kprobes | &traced)
    };
    let (plain, exact) = (hooked(&[])?, hooked(&["--rtt"])?);
    assert!(PACKET_PATH.iter().all(|&function| !plain.contains(function)), "{plain:?}");
    assert!(PACKET_PATH.iter().any(|&function| exact.contains(function)), "nor with --rtt: {exact:?}");
    Ok(())
}

/// A stage with a tracer of its own that looks at every packet.
fn watched(bench: &Bench) -> Result<Scene> {
    Scene::open(Arc::new(bench.own_tracer(&["--rtt"])?))
}

fn by_default_an_answer_is_recognised_at_the_next_run(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 3))?;
    let replies = scene.replies(&pair.connection, 3)?;
    for reply in &replies {
        assert_eq!((reply.gist().as_str(), reply.missed, reply.precision.as_deref()), ("reply 1 ack", Some(0), Some("jiffy")));
        // On loopback it took no time at all, and is known to a jiffy or two.
        assert!(reply.rtt_us.is_none_or(|rtt| rtt <= 20_000), "{reply:?}");
    }
    let probes = scene.stage.capture.times(&pair.connection, Kind::Probe)?;
    assert!(probes.len() > replies.len(), "the last answer is not recognised yet: {probes:?}");
    drop(pair);
    scene.hold()
}

fn an_answer_comes_with_how_many_were_missed(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let pair = scene.stage.connect(&Plan::new(Family::Mapped).keepalive(1, 1, 5))?;
    for misses in [1, 3] {
        scene.stage.capture.next_probe(&pair.connection, LIMIT)?;
        peer::deafen(&pair.server)?;
        for _ in 0..misses {
            scene.stage.capture.next_probe(&pair.connection, LIMIT)?;
        }
        peer::hear(&pair.server)?;
        scene.stage.capture.next_probe(&pair.connection, LIMIT)?;
    }
    let replies = scene.replies(&pair.connection, 4)?;
    let told: Vec<_> = replies.iter().map(|reply| (reply.n, reply.missed)).collect();
    assert_eq!(told[..4], [(Some(1), Some(0)), (Some(2), Some(1)), (Some(1), Some(0)), (Some(4), Some(3))]);
    drop(pair);
    scene.hold()
}

/// Holds each reply's time against the capture's, from the probe to the segment that answers it.
fn is_as_on_the_wire(scene: &mut Scene, connection: &Connection, replies: &[Event]) -> Result<()> {
    let mut last_probe = None;
    let mut answers = Vec::new();
    for frame in scene.stage.capture.frames()? {
        if frame.kind == Kind::Probe && frame.went(connection.local, connection.remote) {
            last_probe = Some(frame.segment.at);
        } else if frame.went(connection.remote, connection.local)
            && frame.kind != Kind::Probe
            && let Some(probe) = last_probe.take()
        {
            answers.push((frame.segment.at, between(probe, frame.segment.at)));
        }
    }
    assert!(answers.len() >= replies.len(), "{} replies, {answers:?}", replies.len());
    for (reply, (at, took)) in replies.iter().zip(answers) {
        assert_eq!(reply.precision.as_deref(), Some("exact"), "{reply:?}");
        let rtt = Duration::from_micros(reply.rtt_us.with_context(|| format!("no rtt_us: {reply:?}"))?);
        assert!(rtt.abs_diff(took) <= BOUND, "{rtt:?}, on the wire {took:?}: {reply:?}");
        assert!(reply.at().abs_diff(at) <= BOUND.as_nanos() as u64, "at {}, on the wire at {at}", reply.at());
    }
    Ok(())
}

/// An answer that is 50 ms on its way, given by a middlebox for a peer that is deaf.
fn with_rtt_the_time_is_the_wire_s(bench: &Bench) -> Result<()> {
    const FAR: Duration = Duration::from_millis(50);
    for family in [Family::V4, Family::V6, Family::Mapped] {
        let mut scene = watched(bench)?;
        let pair = scene.stage.connect(&Plan::new(family).keepalive(1, 1, 3))?;
        peer::deafen(&pair.server)?;
        for _ in 0..3 {
            scene.stage.acknowledge_in_answer(&pair.connection, FAR, LIMIT)?;
        }
        let replies = scene.replies(&pair.connection, 3)?;
        assert!(replies.iter().all(|reply| reply.rtt_us >= Some(FAR.as_micros() as u64)), "{replies:?}");
        is_as_on_the_wire(&mut scene, &pair.connection, &replies)?;
        pair.abort_both()?;
        scene.hold()?;
    }
    Ok(())
}

fn with_rtt_an_answer_is_told_as_it_comes_in_every_state(bench: &Bench) -> Result<()> {
    for state in ["ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT2"] {
        let mut scene = watched(bench)?;
        let pair = scene.stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 3))?;
        match state {
            "CLOSE_WAIT" => pair.server.shutdown(Shutdown::Write).context("shutdown")?,
            "FIN_WAIT2" => pair.client.shutdown(Shutdown::Write).context("shutdown")?,
            _ => {}
        }
        scene.stage.capture.wait_for_probes(&pair.connection, 2, LIMIT)?;
        // Long before the timer runs again.
        sleep(Duration::from_millis(300));
        let replies = scene.replies(&pair.connection, 2)?;
        assert_eq!(replies.len(), 2, "{replies:?}");
        assert!(replies.iter().all(|reply| reply.state.as_deref() == Some(state)), "{state}: {replies:?}");
        is_as_on_the_wire(&mut scene, &pair.connection, &replies)?;
        drop(pair);
        scene.hold()?;
    }
    Ok(())
}

fn no_replies(scene: &Scene, connection: &Connection) {
    let told = scene.told(connection);
    assert!(told.iter().all(|event| event.kind != "reply"), "{told:?}");
}

fn with_rtt_no_answer_is_told_where_none_came(bench: &Bench) -> Result<()> {
    let scene = watched(bench)?;
    let pair = scene.stage.connect(&Plan::new(Family::V6).keepalive(1, 1, 3))?;
    peer::deafen(&pair.server)?;
    scene.ended(&pair.connection)?.is("keepalive-timeout", Some("ETIMEDOUT")).probes(3, 3);
    no_replies(&scene, &pair.connection);
    drop(pair);
    scene.hold()
}

/// The server is deaf and probes as well: what comes from it is never an answer, though it comes while one is waited for.
fn with_rtt_the_peer_s_own_probes_are_no_answer(bench: &Bench) -> Result<()> {
    let mut scene = watched(bench)?;
    let Pair { client, server, connection } = scene.stage.connect(&Plan::new(Family::V4).keepalive(1, 2, 3))?;
    peer::deafen(&server)?;
    let every_second = socket2::TcpKeepalive::new().with_time(Duration::from_secs(1)).with_interval(Duration::from_secs(1));
    server.set_tcp_keepalive(&every_second.with_retries(20)).context("keepalive")?;
    scene.ended(&connection)?.is("keepalive-timeout", Some("ETIMEDOUT")).probes(3, 3);
    assert!(scene.stage.capture.times(&connection.other_end(), Kind::Probe)?.len() >= 3);
    for end in [connection, connection.other_end()] {
        no_replies(&scene, &end);
    }
    // The books are not held: on the wire the server's probes are answered, which it doesn't hear.
    drop((client, server));
    Ok(())
}
