//! The kernel's own settings and a dead peer: two hours, and then another eleven minutes and a quarter.
use std::{net::Ipv4Addr, time::Duration};

use anyhow::Result;
use lab::{
    application::Reader,
    clock::{self, Moment, between, wheel_lateness},
    pair::{Family, Plan},
    peer,
    stage::Stage,
};
use socket2::TcpKeepalive;

use crate::{
    audience::Audience,
    paper::Paper,
    summary::{self, Played},
};

const TIME: Duration = Duration::from_secs(7200);
const INTERVAL: Duration = Duration::from_secs(75);
const PROBES: usize = 9;

/// Plays it, and sums up.
pub fn play(paper: Paper) -> Result<()> {
    let mut stage = Stage::open()?;
    let audience = Audience::seat(paper, &stage.netns)?;
    paper.title("the kernel's own settings, 7200 / 75 / 9: how long a dead peer stays unnoticed  (port 5432)")?;
    paper.note("SO_KEEPALIVE and nothing else: tcp_keepalive_time 7200 s, tcp_keepalive_intvl 75 s, tcp_keepalive_probes 9.")?;
    let plan = Plan::new(Family::V4).keepalive_with(TcpKeepalive::new()).to((Ipv4Addr::LOCALHOST, 5432).into());
    let pair = stage.connect(&plan)?;
    peer::deafen(&pair.server)?;
    let start = clock::now();
    let reader = Reader::start(&pair.client, 2 * TIME)?;

    paper.note("The peer has just died. For two hours the kernel does nothing at all ...")?;
    let first = audience.wait(&pair.connection, 1, 2 * TIME)?;
    let late = between(start + TIME.as_nanos() as Moment, first[0].at());
    let slot = wheel_lateness(TIME, clock::hz()?);
    let verdict = if late <= slot { "in order" } else { "too late" };
    paper.note(&format!(
        "... {}: the first probe, {} s after its time. The timer wheel may take {} s: {verdict}.",
        clock_face(between(start, first[0].at())),
        late.as_secs(),
        slot.as_secs()
    ))?;
    paper.note(&format!("Now one every {} s, {PROBES} in all.", INTERVAL.as_secs()))?;

    let (ending, ended) = reader.wait()?;
    audience.wait(&pair.connection, PROBES + 1, INTERVAL)?;
    paper.note(&format!(
        "{} after the peer's death the application learns of it: {}.",
        clock_face(between(start, ended)),
        ending.name()
    ))?;
    let played = Played { name: "the kernel's defaults", connection: pair.connection, application: ending.name() };
    summary::write(paper, vec![played], &mut stage.capture, |connection| audience.told(connection))?;
    paper.title("Ctrl-C")?;
    audience.leave()
}

/// `2 h 12 min 05 s`
fn clock_face(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{} h {:02} min {:02} s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
