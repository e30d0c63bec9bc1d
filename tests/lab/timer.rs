//! A socket's timer as the kernel shows it to anyone: what `ss -o` prints.
//!
//! `ss` asks inet_diag for it, which is a module that a bare kernel lacks; then `ss` reads the file that is read here.
use std::{fs, net::IpAddr, time::Duration};

use anyhow::{Context, Result};

use crate::{netns::Netns, pair::Connection};

/// Which timer a socket shows. Where several are armed, the kernel shows the first of these that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No timer.
    None,
    /// Retransmission, or one of its relatives.
    Retransmit,
    /// Keepalive; also an orphan's in FIN_WAIT2.
    Keepalive,
    /// A time-wait socket's.
    TimeWait,
    /// Probing a closed window.
    ZeroWindow,
}

/// A socket's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Which.
    pub kind: Kind,
    /// Time to its deadline, in whole hundredths of a second, rounded down.
    pub left: Duration,
    /// `icsk_probes_out`.
    pub probes_out: u32,
}

/// The finest that the file shows: USER_HZ is 100.
pub const RESOLUTION: Duration = Duration::from_millis(10);

/// The timer of a connection's local end; `None` when the kernel has no such socket.
pub fn of(netns: &Netns, connection: &Connection) -> Result<Option<Timer>> {
    let file = if connection.ip == 4 { "/proc/thread-self/net/tcp" } else { "/proc/thread-self/net/tcp6" };
    let text = netns.enter(|| fs::read_to_string(file).with_context(|| format!("cannot read {file}")))?;
    let ends = format!("{} {}", end(connection, true), end(connection, false));
    let Some(line) = text.lines().find(|line| line.contains(&ends)) else { return Ok(None) };
    parse(line).with_context(|| format!("{file} has a line that is not understood: {line}")).map(Some)
}

/// One end as the file prints it: each 32-bit word of the address in the machine's order, and the port.
fn end(connection: &Connection, local: bool) -> String {
    let end = if local { connection.local } else { connection.remote };
    let octets = match (end.ip(), connection.ip) {
        (IpAddr::V4(v4), 4) => v4.octets().to_vec(),
        (IpAddr::V4(v4), _) => v4.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(v6), _) => v6.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let address: String = words.map(|word| format!("{word:08X}")).collect();
    format!("{address}:{:04X}", end.port())
}

/// `sl local remote st tx:rx tr:when retransmits uid probes inode ...`
fn parse(line: &str) -> Option<Timer> {
    let mut fields = line.split_whitespace().skip(5);
    let (kind, left) = fields.next()?.split_once(':')?;
    let kind = match kind {
        "00" => Kind::None,
        "01" => Kind::Retransmit,
        "02" => Kind::Keepalive,
        "03" => Kind::TimeWait,
        "04" => Kind::ZeroWindow,
        _ => return None,
    };
    let left = RESOLUTION * u32::from_str_radix(left, 16).ok()?;
    let probes_out = fields.nth(2)?.parse().ok()?;
    Some(Timer { kind, left, probes_out })
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;
    use crate::{
        pair::{Family, Plan},
        peer,
    };

    #[test]
    fn the_countdown_is_the_keepalive_time_and_then_the_interval() {
        if crate::skipped("the countdown is the keepalive time and then the interval") {
            return;
        }
        let netns = Netns::new().unwrap();
        for family in [Family::V4, Family::V6, Family::Mapped] {
            let pair = Plan::new(family).keepalive(1, 40, 3).connect(&netns).unwrap();
            peer::deafen(&pair.server).unwrap();
            let timer = of(&netns, &pair.connection).unwrap().unwrap();
            assert_eq!((timer.kind, timer.probes_out), (Kind::Keepalive, 0), "{family:?}");
            assert!(timer.left <= Duration::from_secs(1) && timer.left > Duration::from_millis(800), "{timer:?}");
            sleep(Duration::from_millis(1200));
            let timer = of(&netns, &pair.connection).unwrap().unwrap();
            assert_eq!((timer.kind, timer.probes_out), (Kind::Keepalive, 1), "{family:?}");
            assert!(timer.left > Duration::from_secs(39), "{timer:?}");
        }
    }

    #[test]
    fn a_socket_that_is_gone_has_no_timer() {
        if crate::skipped("a socket that is gone has no timer") {
            return;
        }
        let netns = Netns::new().unwrap();
        let pair = Plan::new(Family::V4).connect(&netns).unwrap();
        let connection = pair.connection;
        assert_eq!(of(&netns, &connection).unwrap().unwrap().kind, Kind::None);
        pair.abort().unwrap();
        assert_eq!(of(&netns, &connection).unwrap(), None);
    }
}
