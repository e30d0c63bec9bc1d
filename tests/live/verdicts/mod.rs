//! What ended each connection: every verdict, provoked in more than one way, and told for both ends.
pub mod abort;
pub mod close;
pub mod keepalive;
pub mod kill;
pub mod memory;
pub mod never;
pub mod orphan;
pub mod peer_reset;
pub mod recovery;
pub mod retransmit;
pub mod user_timeout;
pub mod window;

use std::time::Duration;

use anyhow::{Context, Result};
use lab::pair::{Connection, Family, Plan};
use socket2::Socket;

use crate::{scene::Scene, story::Story};

/// Time for a FIN and its ACK to pass.
const A_MOMENT: Duration = Duration::from_millis(50);

/// Idle for a second, then a probe a second, three of them.
fn three_probes(family: Family) -> Plan {
    Plan::new(family).keepalive(1, 1, 3)
}

/// This end has heard of nothing, as it is deaf or its peer was cut off: it is aborted now, and that is what ends its history.
fn abort(scene: &Scene, end: &Connection, socket: Socket) -> Result<Story> {
    socket.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
    drop(socket);
    Ok(scene.ended(end)?.is("local-abort", None).because(&["linger"]))
}

/// The same of an end that has not read all that came: what makes the kernel reset it is that, before it looks at SO_LINGER.
fn abort_unread(scene: &Scene, end: &Connection, socket: Socket) -> Result<Story> {
    socket.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
    drop(socket);
    Ok(scene.ended(end)?.is("local-abort", None).because(&["unread"]))
}

/// How far one of the kernel's counters has come on this stage.
fn counted(scene: &Scene, name: &str) -> Result<i64> {
    scene.stage.netns.counters()?.get(name)
}
