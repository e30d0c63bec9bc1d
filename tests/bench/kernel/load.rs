//! What the machine does while the tracers watch: connections that come and go, in the network namespace of the machine itself.
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use socket2::SockRef;

/// Connections of one measurement. Some come before, to warm up.
pub const CHURN: usize = 2000;
pub const RESETS: usize = 1000;
const WARM_UP: usize = 200;

/// Connections that fill a ring of 16 MiB once: six records each, of some 200 bytes.
const FILL: usize = 20_000;

/// TIME_WAIT takes 60 s. The connections of an earlier measurement would lengthen the kernel's lists.
const TIME_WAIT: Duration = Duration::from_secs(65);

/// One listener, and the connections to it: both ends are in this process.
pub struct Load {
    listener: TcpListener,
    address: SocketAddr,
}

impl Load {
    pub fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        let address = listener.local_addr().context("the listener has no address")?;
        Ok(Self { listener, address })
    }

    /// Waits until no connection of an earlier measurement is left, then warms up.
    pub fn settle(&self) -> Result<()> {
        sleep(TIME_WAIT);
        (0..WARM_UP).try_for_each(|_| self.live())
    }

    /// Opens, uses and closes [`CHURN`] connections; gives the time of all.
    pub fn churn(&self) -> Result<Duration> {
        let started = Instant::now();
        (0..CHURN).try_for_each(|_| self.live())?;
        Ok(started.elapsed())
    }

    /// The median time of a `close()` that sends a reset, of [`RESETS`].
    pub fn resets(&self) -> Result<Duration> {
        let mut took = (0..RESETS).map(|_| self.close_by_reset()).collect::<Result<Vec<_>>>()?;
        took.sort_unstable();
        took.get(RESETS / 2).copied().context("nothing was measured")
    }

    /// Makes enough records to fill the ring of a tracer once. The connections are reset: none goes through TIME_WAIT.
    pub fn fill(&self) -> Result<()> {
        (0..FILL).try_for_each(|_| self.close_by_reset().map(drop))
    }

    /// Both ends of a new connection.
    pub fn connect(&self) -> Result<(TcpStream, TcpStream)> {
        let client = TcpStream::connect(self.address).context("cannot connect")?;
        let (server, _) = self.listener.accept().context("cannot accept")?;
        Ok((client, server))
    }

    /// A byte each way, then an orderly close.
    fn live(&self) -> Result<()> {
        let (mut client, mut server) = self.connect()?;
        let mut byte = [0];
        client.write_all(b"?").context("the client cannot write")?;
        server.read_exact(&mut byte).context("the server cannot read")?;
        server.write_all(b"!").context("the server cannot write")?;
        client.read_exact(&mut byte).context("the client cannot read")?;
        drop(client);
        drop(server);
        Ok(())
    }

    fn close_by_reset(&self) -> Result<Duration> {
        let (client, server) = self.connect()?;
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
        let started = Instant::now();
        drop(client);
        let took = started.elapsed();
        drop(server);
        Ok(took)
    }
}
