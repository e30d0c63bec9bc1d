//! A connected client and server: every scene's cast.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::{
    netns::{Id, Netns},
    sockopt,
};

/// Which sockets, to which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 sockets on 127.0.0.1.
    V4,
    /// IPv6 sockets on ::1.
    V6,
    /// An IPv6 client that speaks IPv4: to ::ffff:127.0.0.1.
    Mapped,
}

/// A connection to be made: its addresses and the client's options. The server keeps the kernel's defaults.
#[derive(Clone, Debug)]
pub struct Plan {
    client: SocketAddr,
    server: SocketAddr,
    keepalive: Option<TcpKeepalive>,
    user_timeout: Option<Duration>,
    linger2: Option<i32>,
    buffers: Option<usize>,
}

impl Plan {
    /// A connection of this family without keepalive.
    pub fn new(family: Family) -> Self {
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            Family::Mapped => IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
        };
        let any_port = SocketAddr::new(address, 0);
        Self { client: any_port, server: any_port, keepalive: None, user_timeout: None, linger2: None, buffers: None }
    }

    /// The client probes after `idle` seconds, every `interval` seconds, `probes` times.
    pub fn keepalive(mut self, idle: u64, interval: u64, probes: u32) -> Self {
        let times = TcpKeepalive::new().with_time(Duration::from_secs(idle)).with_interval(Duration::from_secs(interval));
        self.keepalive = Some(times.with_retries(probes));
        self
    }

    /// The client's SO_KEEPALIVE is on, with these settings only: what isn't among them comes from the namespace's sysctls.
    pub fn keepalive_with(mut self, settings: TcpKeepalive) -> Self {
        self.keepalive = Some(settings);
        self
    }

    /// The client's TCP_USER_TIMEOUT.
    pub fn user_timeout(mut self, timeout: Duration) -> Self {
        self.user_timeout = Some(timeout);
        self
    }

    /// The client's TCP_LINGER2, seconds.
    pub fn linger2(mut self, seconds: i32) -> Self {
        self.linger2 = Some(seconds);
        self
    }

    /// Small buffers on both ends, so that a peer that doesn't read soon closes its window.
    pub fn buffers(mut self, bytes: usize) -> Self {
        self.buffers = Some(bytes);
        self
    }

    /// The client's address and port; port 0 is any.
    pub fn from(mut self, client: SocketAddr) -> Self {
        self.client = client;
        self
    }

    /// The server's address and port; port 0 is any.
    pub fn to(mut self, server: SocketAddr) -> Self {
        self.server = server;
        self
    }

    /// The client's address.
    pub fn client_address(&self) -> SocketAddr {
        self.client
    }

    /// Where its listener is bound.
    pub fn server_address(&self) -> SocketAddr {
        unmapped(self.server)
    }

    /// Makes the connection within a namespace.
    pub fn connect(&self, netns: &Netns) -> Result<Pair> {
        self.connect_from(netns, netns.enter(|| self.client_socket())?)
    }

    /// Makes the connection from this client's socket.
    pub fn connect_from(&self, netns: &Netns, client: Socket) -> Result<Pair> {
        let listener = netns.enter(|| self.listen())?;
        let port = listener.local_addr()?.as_socket().context("the listener has no address")?.port();
        let address = SocketAddr::new(self.server.ip(), port);
        client.connect(&address.into()).with_context(|| format!("cannot connect to {address}"))?;
        let (server, _) = listener.accept().context("cannot accept")?;
        let connection = connection(netns, &client)?;
        Ok(Pair { client, server, connection })
    }

    /// A listener for it, in the calling thread's namespace.
    pub fn listen(&self) -> Result<Socket> {
        let address = self.server_address();
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).context("socket")?;
        listener.set_reuse_address(true).context("SO_REUSEADDR")?;
        if let Some(bytes) = self.buffers {
            listener.set_recv_buffer_size(bytes).context("SO_RCVBUF")?;
        }
        listener.bind(&address.into()).with_context(|| format!("cannot bind {address}"))?;
        listener.listen(64).context("listen")?;
        Ok(listener)
    }

    /// The client's socket, with its options, not yet connected, in the calling thread's namespace.
    pub fn client_socket(&self) -> Result<Socket> {
        let domain = Domain::for_address(self.client);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).context("socket")?;
        if let Some(bytes) = self.buffers {
            socket.set_send_buffer_size(bytes).context("SO_SNDBUF")?;
        }
        if let Some(seconds) = self.linger2 {
            sockopt::set(&socket, sockopt::LINGER2, seconds)?;
        }
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout).context("TCP_USER_TIMEOUT")?;
        }
        if let Some(settings) = &self.keepalive {
            socket.set_tcp_keepalive(settings).context("keepalive")?;
        }
        socket.bind(&self.client.into()).with_context(|| format!("cannot bind {}", self.client))?;
        Ok(socket)
    }
}

/// An IPv4-mapped address as IPv4, which is how it is shown; also, the listener of an IPv4-mapped client is a plain IPv4 one.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What identifies a connection in the tracer's events, the client being the local end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its namespace.
    pub netns: Id,
    /// The address family of the client's socket: 4 or 6.
    pub ip: u8,
    /// The client, with an IPv4-mapped address as IPv4.
    pub local: SocketAddr,
    /// The server, likewise.
    pub remote: SocketAddr,
}

impl Connection {
    /// Between these two ends in a namespace, as `local`'s socket has them.
    pub fn between(netns: Id, local: SocketAddr, remote: SocketAddr) -> Self {
        let ip = if local.is_ipv4() { 4 } else { 6 };
        Self { netns, ip, local: unmapped(local), remote: unmapped(remote) }
    }

    /// The same connection seen from the server, whose socket is a plain IPv4 one where the client's address is IPv4-mapped.
    pub fn other_end(&self) -> Self {
        let ip = if self.remote.is_ipv4() { 4 } else { 6 };
        Self { netns: self.netns, ip, local: self.remote, remote: self.local }
    }
}

/// What identifies the connection of this socket.
pub fn connection(netns: &Netns, client: &Socket) -> Result<Connection> {
    let local = client.local_addr()?.as_socket().context("no local address")?;
    let remote = client.peer_addr()?.as_socket().context("no remote address")?;
    Ok(Connection::between(netns.id(), local, remote))
}

/// A connected client and server.
pub struct Pair {
    /// The end whose keepalive is under test.
    pub client: Socket,
    /// The other end.
    pub server: Socket,
    /// What identifies them.
    pub connection: Connection,
}

impl Pair {
    /// Sends some bytes from the client to the server.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        self.client.send(bytes).context("the client cannot send")?;
        Ok(())
    }

    /// Sends from the client until the server's window and the client's own buffer are full, and the server has acknowledged
    /// all that it has room for.
    pub fn fill(&self) -> Result<()> {
        const CHUNK: [u8; 512] = [b'x'; 512];
        // Not the socket's own flag: somebody else may be about to read from it.
        let refused = loop {
            if let Err(error) = self.client.send_with_flags(&CHUNK, libc::MSG_DONTWAIT) {
                break error;
            }
        };
        anyhow::ensure!(refused.kind() == std::io::ErrorKind::WouldBlock, "the client cannot send: {refused}");
        Ok(())
    }

    /// The client's close is a reset, not a FIN: SO_LINGER with time 0.
    pub fn abort(self) -> Result<()> {
        self.client.set_linger(Some(Duration::ZERO)).context("SO_LINGER")
    }

    /// Both ends are reset: nothing of the connection goes on after it, not even where one end is deaf.
    pub fn abort_both(self) -> Result<()> {
        self.server.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
        self.abort()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_connects_and_is_named_as_the_tracer_should_name_it() {
        if crate::skipped("each family connects and is named as the tracer should name it") {
            return;
        }
        let netns = Netns::new().unwrap();
        for (family, ip, address) in [(Family::V4, 4, "127.0.0.1"), (Family::V6, 6, "::1"), (Family::Mapped, 6, "127.0.0.1")] {
            let pair = Plan::new(family).keepalive(1, 1, 3).connect(&netns).unwrap();
            let Connection { netns: id, ip: found, local, remote } = pair.connection;
            assert_eq!((id, found), (netns.id(), ip), "{family:?}");
            assert_eq!((local.ip(), remote.ip()), (address.parse().unwrap(), address.parse().unwrap()), "{family:?}");
            assert!(pair.client.keepalive().unwrap());
            assert!(!pair.server.keepalive().unwrap());
        }
    }
}
