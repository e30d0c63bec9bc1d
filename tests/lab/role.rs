//! Processes of the lab's own, for tests where it matters who holds a socket.
//!
//! The test program starts itself once more in such a role, and tells it line by line what to do; [`crate::puppet`] is what goes on
//! there. A fresh process has one thread, so it may fork as it likes, which a test may not.
use std::{
    fmt::Display,
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    netns::Netns,
    pair::{Connection, Plan, unmapped},
    puppet, sysctl,
};

/// The hidden argument, followed by the name that the process takes.
const ROLE: &str = "--role";

/// Idle, interval and probes of a socket; all 0 for a socket without keepalive.
pub type Keepalive = [u32; 3];

/// For the top of `main`: plays the role that this process was started for, if it was, and says how to end.
pub fn play() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ROLE) {
        return None;
    }
    let played = puppet::play(&arguments.next().unwrap_or_default());
    Some(if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A process that does as it is told. It is gone when this is dropped.
pub struct Actor {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts one with this name, whose sockets will be in this namespace.
    pub fn enter(name: &str, netns: &Netns) -> Result<Self> {
        let mut actor = Self::stay(name)?;
        actor.ask(&format!("netns {}", netns.path()))?;
        Ok(actor)
    }

    /// Starts one with this name, in the namespace of whoever starts it.
    pub fn stay(name: &str) -> Result<Self> {
        let program = std::env::current_exe().context("the test program's own path")?;
        let mut command = Command::new(program);
        command.args([ROLE, name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start a process of the lab's own")?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, orders, answers })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something and waits until that is done; gives its answer.
    pub fn ask(&mut self, order: &str) -> Result<String> {
        let orders = self.orders.as_mut().context("it was sent home")?;
        writeln!(orders, "{order}").with_context(|| format!("cannot ask for `{order}`"))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).with_context(|| format!("no answer to `{order}`"))?;
        match answer.trim_end().split_once(' ').unwrap_or((answer.trim_end(), "")) {
            ("ok", answer) => Ok(answer.to_owned()),
            ("error", error) => bail!("`{order}` failed: {error}"),
            _ => bail!("`{order}` was answered with {answer:?}"),
        }
    }

    /// It listens there; children of the listener inherit these settings. Gives the address.
    pub fn listen(&mut self, at: SocketAddr, keepalive: Keepalive) -> Result<SocketAddr> {
        Ok(self.ask(&format!("listen {at} {}", spelled(keepalive)))?.parse()?)
    }

    /// It accepts a connection, which is its socket from now on.
    pub fn accept(&mut self) -> Result<()> {
        self.ask("accept").map(drop)
    }

    /// It connects to there, with keepalive set before; gives its own end's address.
    pub fn connect(&mut self, to: SocketAddr, keepalive: Keepalive) -> Result<SocketAddr> {
        Ok(self.ask(&format!("connect {to} {}", spelled(keepalive)))?.parse()?)
    }

    /// It connects to there from a thread of this name, which lives on.
    pub fn connect_from_thread(&mut self, thread: &str, to: SocketAddr, keepalive: Keepalive) -> Result<SocketAddr> {
        Ok(self.ask(&format!("connect-from-thread {to} {} {thread}", spelled(keepalive)))?.parse()?)
    }

    /// It opens so many connections to there, and holds all of them.
    pub fn connect_many(&mut self, count: usize, to: SocketAddr, keepalive: Keepalive) -> Result<()> {
        self.ask(&format!("connect-many {to} {} {count}", spelled(keepalive))).map(drop)
    }

    /// It forks: the child has this name, holds what its parent holds, and sleeps.
    pub fn fork(&mut self, name: &str) -> Result<Offspring> {
        Ok(Offspring { pid: self.ask(&format!("fork {name}"))?.parse()? })
    }

    /// As [`Self::fork`], and the child is the first of a pid namespace of its own. This may be asked once.
    pub fn fork_apart(&mut self, name: &str) -> Result<Offspring> {
        Ok(Offspring { pid: self.ask(&format!("fork-apart {name}"))?.parse()? })
    }

    /// It hands its socket to another process, over a Unix socket at this path, and keeps it too.
    pub fn pass(&mut self, to: &mut Self, path: &Path) -> Result<()> {
        let shown = path.display();
        to.ask(&format!("offer {shown}"))?;
        self.ask(&format!("pass {shown}"))?;
        fs::remove_file(path).with_context(|| format!("cannot remove {shown}"))?;
        to.ask("take").map(drop)
    }

    /// It closes all its sockets.
    pub fn close(&mut self) -> Result<()> {
        self.ask("close").map(drop)
    }

    /// It sets an option of its socket, given by its name in C.
    pub fn set(&mut self, option: &str, value: i32) -> Result<()> {
        self.ask(&format!("set {option} {value}")).map(drop)
    }

    /// Likewise of its listener.
    pub fn set_listener(&mut self, option: &str, value: i32) -> Result<()> {
        self.ask(&format!("set-listener {option} {value}")).map(drop)
    }

    /// What its socket says of an option.
    pub fn get(&mut self, option: &str) -> Result<i32> {
        Ok(self.ask(&format!("get {option}"))?.parse()?)
    }

    /// It sends no more on its socket: the peer sees the end of the stream, and can still send.
    pub fn shutdown(&mut self) -> Result<()> {
        self.ask("shutdown").map(drop)
    }

    /// What getsockopt says of each socket that it holds, listeners first.
    pub fn survey(&mut self) -> Result<Vec<Held>> {
        self.ask("survey")?.split_whitespace().map(Held::parse).collect()
    }

    /// It writes one of `net.ipv4`'s sysctls as `echo` does, of the namespace that it is in.
    pub fn sysctl(&mut self, name: &str, value: impl Display) -> Result<()> {
        self.ask(&format!("write {} {value}", sysctl::path(name))).map(drop)
    }

    /// Likewise of another namespace, to which it goes for the write alone.
    pub fn sysctl_in(&mut self, netns: &Netns, name: &str, value: impl Display) -> Result<()> {
        self.ask(&format!("write-in {} {} {value}", netns.path(), sysctl::path(name))).map(drop)
    }

    /// It goes to another namespace to open such a sysctl, and comes back: [`Self::write_opened`] then writes it from here.
    pub fn open_sysctl_in(&mut self, netns: &Netns, name: &str) -> Result<()> {
        self.ask(&format!("open-in {} {}", netns.path(), sysctl::path(name))).map(drop)
    }

    /// It writes what it has opened.
    pub fn write_opened(&mut self, value: impl Display) -> Result<()> {
        self.ask(&format!("write-opened {value}")).map(drop)
    }

    /// To it, /proc/sys is read-only from now on.
    pub fn protect_sysctls(&mut self) -> Result<()> {
        self.ask("read-only /proc/sys").map(drop)
    }

    /// It ends the connection's local end, whoever holds it.
    pub fn destroy(&mut self, connection: &Connection) -> Result<()> {
        self.ask(&format!("destroy {} {}", connection.local, connection.remote)).map(drop)
    }

    /// It stays on one CPU from now on.
    pub fn stay_on(&mut self, cpu: usize) -> Result<()> {
        self.ask(&format!("stay-on {cpu}")).map(drop)
    }

    /// [`worker::die_together`](crate::worker::die_together)
    pub fn die_together(&mut self, count: usize, keepalive: Keepalive) -> Result<usize> {
        Ok(self.ask(&format!("die-together {count} {}", spelled(keepalive)))?.parse()?)
    }

    /// [`worker::abort`](crate::worker::abort)
    pub fn abort_for(&mut self, time: Duration) -> Result<usize> {
        Ok(self.ask(&format!("abort {}", time.as_millis()))?.parse()?)
    }

    /// [`worker::churn`](crate::worker::churn)
    pub fn churn_for(&mut self, time: Duration) -> Result<usize> {
        Ok(self.ask(&format!("churn {}", time.as_millis()))?.parse()?)
    }

    /// It ends of itself, as a process does that has nothing more to do.
    pub fn leave(mut self) -> Result<()> {
        drop(self.orders.take());
        self.child.wait().context("cannot wait for a process of the lab's own")?;
        Ok(())
    }
}

/// A socket that somebody holds, as its own process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its own end, with an IPv4-mapped address as IPv4.
    pub local: SocketAddr,
    /// The peer's; `None` of a listener.
    pub remote: Option<SocketAddr>,
    /// SO_KEEPALIVE
    pub keepalive: bool,
    /// TCP_KEEPIDLE
    pub time_s: i64,
    /// TCP_KEEPINTVL
    pub intvl_s: i64,
    /// TCP_KEEPCNT
    pub probes: u32,
    /// TCP_USER_TIMEOUT
    pub user_timeout_ms: u64,
}

impl Held {
    fn parse(word: &str) -> Result<Self> {
        let fields: Vec<&str> = word.split(',').collect();
        let &[local, remote, keepalive, time_s, intvl_s, probes, user_timeout_ms] = &fields[..] else {
            bail!("not a socket: {word}")
        };
        let address = |text: &str| Ok::<_, anyhow::Error>(unmapped(text.parse().with_context(|| format!("no address: {text}"))?));
        Ok(Self {
            local: address(local)?,
            remote: if remote == "-" { None } else { Some(address(remote)?) },
            keepalive: keepalive != "0",
            time_s: time_s.parse()?,
            intvl_s: intvl_s.parse()?,
            probes: probes.parse()?,
            user_timeout_ms: user_timeout_ms.parse()?,
        })
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // After `leave` it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child of an [`Actor`]. It is gone when this is dropped.
pub struct Offspring {
    /// Its process id, as the test and the tracer see it.
    pub pid: u32,
}

impl Drop for Offspring {
    fn drop(&mut self) {
        // Where it is gone already, nothing is left to be done.
        let _ = kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGKILL);
    }
}

/// A connection between two actors, the first of whom connects; both ends are named as the tracer should name them.
pub fn connect(
    netns: &Netns,
    plan: &Plan,
    client: (&mut Actor, Keepalive),
    server: (&mut Actor, Keepalive),
) -> Result<Connection> {
    let remote = server.0.listen(plan.server_address(), server.1)?;
    let local = client.0.connect(SocketAddr::new(plan.client_address().ip(), remote.port()), client.1)?;
    server.0.accept()?;
    Ok(Connection::between(netns.id(), local, remote))
}

fn spelled([idle, interval, probes]: Keepalive) -> String {
    format!("{idle} {interval} {probes}")
}
