//! What a process of the lab's own does on one CPU, while others do likewise on theirs: connections that die together, that are
//! reset, and that come and go. Both ends are its own, and it counts what it did.
use std::{
    io::{ErrorKind, Read as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::peer;

/// Far beyond what a connection of these takes, on an emulated machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);

/// Keeps this process on one CPU.
pub fn stay_on(cpu: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu).context("a CPU's number")?;
    sched_setaffinity(Pid::from_raw(0), &one).with_context(|| format!("cannot stay on CPU {cpu}"))
}

/// A client and a server, connected, whose reads wait for [`LIMIT`] at most.
fn pair(listener: &Socket) -> Result<(Socket, Socket)> {
    let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).context("socket")?;
    client.connect(&listener.local_addr()?).context("connect")?;
    let (server, _) = listener.accept().context("accept")?;
    for end in [&client, &server] {
        end.set_read_timeout(Some(LIMIT)).context("SO_RCVTIMEO")?;
    }
    Ok((client, server))
}

fn listener() -> Result<Socket> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).context("socket")?;
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).context("bind")?;
    listener.listen(64).context("listen")?;
    Ok(listener)
}

/// Holds that a read ends with this error.
fn breaks(mut socket: &Socket, wanted: Errno) -> Result<()> {
    match socket.read(&mut [0]) {
        Err(error) if error.raw_os_error() == Some(wanted as i32) => Ok(()),
        other => bail!("a read gave {other:?}, and not {wanted}"),
    }
}

/// Opens so many connections, deafens their servers, and arms the timers of all at once; each must end in ETIMEDOUT. The servers
/// are aborted then.
pub fn die_together(count: usize, keepalive: &TcpKeepalive) -> Result<usize> {
    let listener = listener()?;
    let pairs = (0..count).map(|_| pair(&listener)).collect::<Result<Vec<_>>>()?;
    pairs.iter().try_for_each(|(_, server)| peer::deafen(server))?;
    pairs.iter().try_for_each(|(client, _)| client.set_tcp_keepalive(keepalive).context("keepalive"))?;
    for (client, server) in &pairs {
        breaks(client, Errno::ETIMEDOUT)?;
        server.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
    }
    Ok(count)
}

/// Repeats it for that long; gives how often.
fn repeat(time: Duration, mut once: impl FnMut(&Socket) -> Result<()>) -> Result<usize> {
    let (listener, start) = (listener()?, Instant::now());
    let mut count = 0;
    while start.elapsed() < time {
        once(&listener)?;
        count += 1;
    }
    Ok(count)
}

/// Connections that the client aborts, one after the other; the server hears of it before it closes.
pub fn abort(time: Duration) -> Result<usize> {
    repeat(time, |listener| {
        let (client, server) = pair(listener)?;
        client.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
        drop(client);
        breaks(&server, Errno::ECONNRESET)
    })
}

/// Connections over which one byte passes, and which the client closes first; the server hears of it before it closes.
pub fn churn(time: Duration) -> Result<usize> {
    repeat(time, |listener| {
        let (mut client, mut server) = pair(listener)?;
        client.write_all(b"?").context("write")?;
        server.read_exact(&mut [0]).context("read")?;
        drop(client);
        loop {
            match server.read(&mut [0]) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => bail!("a read gave {other:?}, and not the end"),
            }
        }
    })
}
