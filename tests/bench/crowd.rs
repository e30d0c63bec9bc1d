//! Many established connections, held by a handful of processes: what a listing has to list.
use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _, stdin, stdout},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};

/// The word that makes this program one of the holders.
pub const PART: &str = "hold";
/// So many processes hold all of it between them.
pub const HOLDERS: u8 = 10;
/// Connections of one holder, both ends of which it holds: less than there are ephemeral ports to one address.
const PAIRS: u32 = 5_000;
/// What a holder needs beside its sockets.
const OTHER_FILES: u64 = 64;
const READY: &str = "ready";

/// Sockets of the whole crowd.
pub const SOCKETS: usize = HOLDERS as usize * PAIRS as usize * 2;

/// Of one client in four each: no keepalive, the namespace's settings, its own times, its own times and count. The other ends have
/// none. All are far longer than the bench, in which no timer is to run.
const IDLE: Duration = Duration::from_secs(7200);
const INTERVAL: Duration = Duration::from_secs(75);
const PROBES: u32 = 4;

/// The holders. They are gone when this is dropped.
pub struct Crowd(Vec<Child>);

impl Crowd {
    /// One after the other, so that each is whole before the next begins.
    pub fn gather() -> Result<Self> {
        let program = env::current_exe().context("the bench's own path")?;
        let mut crowd = Self(Vec::new());
        for place in 1..=HOLDERS {
            let mut command = Command::new(&program);
            command.args([PART, &place.to_string(), &PAIRS.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().context("cannot start a holder of sockets")?;
            let said = child.stdout.take().context("no stdout")?;
            crowd.0.push(child);
            let mut line = String::new();
            BufReader::new(said).read_line(&mut line).context("a holder's stdout")?;
            ensure!(line.trim_end() == READY, "a holder of sockets failed: {}", line.trim_end());
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Both fail only where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The part of a holder: opens its connections, says so, and holds them until nobody is there any more.
pub fn hold(place: u8, pairs: u32) -> Result<()> {
    let files = 2 * u64::from(pairs) + OTHER_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("RLIMIT_NOFILE")?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(files), hard.max(files)).context("RLIMIT_NOFILE")?;
    // An address of its own: the same ephemeral ports serve for each.
    let listener = TcpListener::bind((Ipv4Addr::new(127, 1, place, 1), 0)).context("cannot listen")?;
    let address = listener.local_addr().context("the listener has no address")?;
    let mut held = Vec::with_capacity(2 * pairs as usize);
    for number in 0..pairs {
        let client = TcpStream::connect(address).with_context(|| format!("connection {number} to {address}"))?;
        let (server, _) = listener.accept().with_context(|| format!("connection {number} to {address}"))?;
        settle(&client, number).context("keepalive")?;
        held.extend([client, server]);
    }
    drop(listener);
    let mut out = stdout();
    writeln!(out, "{READY}").and_then(|()| out.flush()).context("stdout")?;
    stdin().read_to_end(&mut Vec::new()).context("stdin")?;
    Ok(())
}

fn settle(client: &TcpStream, number: u32) -> std::io::Result<()> {
    let client = SockRef::from(client);
    match number % 4 {
        0 => Ok(()),
        1 => client.set_keepalive(true),
        2 => client.set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL)),
        _ => client.set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL).with_retries(PROBES)),
    }
}
