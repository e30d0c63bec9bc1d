//! Six short stories: idle 1 s, a probe a second, three of them.
use std::{net::Ipv4Addr, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    application::Reader,
    pair::{Family, Pair, Plan},
    peer,
    stage::Stage,
};

use crate::{
    audience::Audience,
    paper::Paper,
    summary::{self, Played},
};

/// Longer than any of the scenes.
const LIMIT: Duration = Duration::from_secs(30);
/// The first scene's server; the others' follow.
const FIRST_PORT: u16 = 7001;

struct Scene {
    name: &'static str,
    title: &'static str,
    note: &'static str,
    plan: fn(Plan) -> Plan,
    /// Plays it to its end, and says what the application saw.
    play: fn(Pair, &Audience) -> Result<String>,
}

const SCENES: [Scene; 6] = [
    Scene {
        name: "healthy peer",
        title: "a healthy peer: every probe is answered",
        note: "Idle for 1 s, then a probe a second. An answer sets the count back, so each is \"1 of 3\".",
        plan: three_probes,
        play: healthy,
    },
    Scene {
        name: "deaf peer",
        title: "the peer goes deaf: no ACK, no FIN, no RST",
        note: "A pulled cable. Three probes stay unanswered, and a second after the last the kernel gives up.",
        plan: three_probes,
        play: deaf,
    },
    Scene {
        name: "user timeout of 2.5 s",
        title: "the same with TCP_USER_TIMEOUT 2.5 s: it overrules the count, which is 9",
        note: "With a user timeout the kernel counts no probes: whenever the timer fires, it looks at the clock.",
        plan: |plan| plan.keepalive(1, 1, 9).user_timeout(Duration::from_millis(2500)),
        play: deaf,
    },
    Scene {
        name: "forgetful peer",
        title: "the peer has forgotten the connection: it answers the first probe with RST",
        note: "It rebooted, or a middlebox dropped the flow. Nobody timed out: keepalive found out.",
        plan: three_probes,
        play: forgetful,
    },
    Scene {
        name: "unacknowledged data",
        title: "unacknowledged data: retransmission takes over, and keepalive stays silent",
        note: "The timer runs every second and sends nothing. In the end the peer hears again, and the data arrives.",
        plan: three_probes,
        play: in_flight,
    },
    Scene {
        name: "orderly close",
        title: "an orderly close: one probe, and then the peer says goodbye",
        note: "A FIN from either side, and nothing is left for keepalive to do.",
        plan: three_probes,
        play: orderly,
    },
];

/// Plays all of them, and sums up.
pub fn play(paper: Paper) -> Result<()> {
    let mut stage = Stage::open()?;
    let audience = Audience::seat(paper, &stage.netns)?;
    let mut played = Vec::new();
    for (index, scene) in SCENES.iter().enumerate() {
        let server = (Ipv4Addr::LOCALHOST, FIRST_PORT + index as u16);
        paper.title(&format!("{}/{}  {}  (port {})", index + 1, SCENES.len(), scene.title, server.1))?;
        paper.note(scene.note)?;
        let pair = stage.connect(&(scene.plan)(Plan::new(Family::V4).to(server.into())))?;
        let connection = pair.connection;
        let application = (scene.play)(pair, &audience).with_context(|| format!("the scene \"{}\"", scene.name))?;
        audience.settle();
        played.push(Played { name: scene.name, connection, application });
    }
    summary::write(paper, played, &mut stage.capture, |connection| audience.told(connection))?;
    paper.title("Ctrl-C")?;
    audience.leave()
}

fn three_probes(plan: Plan) -> Plan {
    plan.keepalive(1, 1, 3)
}

fn healthy(pair: Pair, audience: &Audience) -> Result<String> {
    audience.wait(&pair.connection, 3, LIMIT)?;
    // It would go on like this for ever.
    pair.client.set_keepalive(false).context("SO_KEEPALIVE off")?;
    Ok("nothing: it lives".to_owned())
}

fn deaf(pair: Pair, _: &Audience) -> Result<String> {
    peer::deafen(&pair.server)?;
    Ok(Reader::start(&pair.client, LIMIT)?.wait()?.0.name())
}

fn forgetful(pair: Pair, _: &Audience) -> Result<String> {
    peer::forget(pair.server)?;
    Ok(Reader::start(&pair.client, LIMIT)?.wait()?.0.name())
}

fn in_flight(pair: Pair, audience: &Audience) -> Result<String> {
    peer::deafen(&pair.server)?;
    pair.send(b"anybody there?")?;
    audience.wait(&pair.connection, 3, LIMIT)?;
    peer::hear(&pair.server)?;
    pair.server.set_read_timeout(Some(LIMIT)).context("SO_RCVTIMEO")?;
    let mut heard = [std::mem::MaybeUninit::uninit(); 64];
    let length = pair.server.recv(&mut heard).context("the data never arrived")?;
    pair.client.set_keepalive(false).context("SO_KEEPALIVE off")?;
    Ok(format!("{length} bytes, late"))
}

fn orderly(pair: Pair, audience: &Audience) -> Result<String> {
    audience.wait(&pair.connection, 1, LIMIT)?;
    let reader = Reader::start(&pair.client, LIMIT)?;
    drop(pair.server);
    let ending = reader.wait()?.0.name();
    sleep(Duration::from_millis(10)); // the application takes a moment to close its own side
    drop(pair.client);
    Ok(ending)
}
