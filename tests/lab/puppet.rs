//! The other side of [`crate::role`]: a process that reads orders from stdin and answers each with one line on stdout.
use std::{
    fs::File,
    io::{IoSlice, IoSliceMut, Read, Write, stdin, stdout},
    net::{Shutdown, SocketAddr},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    cmsg_space,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
    },
    unistd::{ForkResult, fork, pause, pipe},
};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::{kill, sockopt, worker};

/// Obeys until stdin ends.
pub fn play(name: &str) -> Result<()> {
    rename(name)?;
    let mut puppet = Puppet::default();
    for order in stdin().lines() {
        let order = order.context("stdin")?;
        let words: Vec<&str> = order.split_whitespace().collect();
        let answer = match puppet.obey(&words) {
            Ok(answer) => format!("ok {answer}"),
            Err(error) => format!("error {error:#}"),
        };
        let mut out = stdout();
        writeln!(out, "{}", answer.trim_end().replace('\n', " ")).context("stdout")?;
        out.flush().context("stdout")?;
    }
    Ok(())
}

/// The calling thread's name; of the first thread, the process's.
fn rename(name: &str) -> Result<()> {
    prctl::set_name(&std::ffi::CString::new(name)?).with_context(|| format!("cannot be called {name}"))
}

/// What it holds.
#[derive(Default)]
struct Puppet {
    /// The last of them is the one that orders are about.
    listeners: Vec<Socket>,
    /// The last of them is the one that orders are about.
    sockets: Vec<Socket>,
    offered: Option<UnixListener>,
    /// A file that was opened in a namespace in which this process is no longer.
    opened: Option<File>,
}

impl Puppet {
    fn obey(&mut self, words: &[&str]) -> Result<String> {
        match *words {
            ["netns", path] => {
                let netns = File::open(path).with_context(|| format!("cannot open {path}"))?;
                setns(netns, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
            }
            ["listen", at, ref keepalive @ ..] => return self.listen(at.parse()?, keepalive),
            ["accept"] => {
                let (socket, _) = self.listeners.last().context("it does not listen")?.accept().context("accept")?;
                self.sockets.push(socket);
            }
            ["connect", to, idle, interval, probes] => self.sockets.push(connected(to.parse()?, &[idle, interval, probes])?),
            ["connect-from-thread", to, idle, interval, probes, name] => {
                self.sockets.push(connected_by_thread(name, to.parse()?, &[idle, interval, probes])?);
            }
            ["connect-many", to, idle, interval, probes, count] => {
                let count: u64 = count.parse()?;
                allow_files(2 * count)?;
                for _ in 0..count {
                    self.sockets.push(connected(to.parse()?, &[idle, interval, probes])?);
                }
            }
            ["fork", name] => return self.fork(name),
            ["fork-apart", name] => {
                unshare(CloneFlags::CLONE_NEWPID).context("cannot make a pid namespace")?;
                return self.fork(name);
            }
            ["offer", path] => self.offered = Some(UnixListener::bind(path).with_context(|| format!("cannot bind {path}"))?),
            ["pass", path] => return self.pass(path),
            ["take"] => return self.take(),
            ["close"] => {
                self.sockets.clear();
                self.listeners.clear();
            }
            ["shutdown"] => self.socket()?.shutdown(Shutdown::Write).context("shutdown")?,
            ["survey"] => return self.survey(),
            ["write", path, value] => written(path, value)?,
            ["write-in", netns, path, value] => within(netns, || written(path, value))?,
            ["open-in", netns, path] => {
                let open = || File::options().write(true).open(path).with_context(|| format!("cannot open {path}"));
                self.opened = Some(within(netns, open)?);
            }
            ["write-opened", value] => self.opened.as_mut().context("it has opened nothing")?.write_all(value.as_bytes())?,
            ["read-only", path] => read_only(path)?,
            ["set", option, value] => sockopt::set(self.socket()?, sockopt::named(option)?, value.parse()?)?,
            ["set-listener", option, value] => {
                let listener = self.listeners.last().context("it does not listen")?;
                sockopt::set(listener, sockopt::named(option)?, value.parse()?)?;
            }
            ["get", option] => return Ok(sockopt::get(self.socket()?, sockopt::named(option)?)?.to_string()),
            ["destroy", local, remote] => kill::destroy_between(local.parse()?, remote.parse()?)?,
            ["stay-on", cpu] => worker::stay_on(cpu.parse()?)?,
            ["die-together", count, ref keepalive @ ..] => {
                return Ok(worker::die_together(count.parse()?, &settings(keepalive)?)?.to_string());
            }
            ["abort", milliseconds] => return Ok(worker::abort(Duration::from_millis(milliseconds.parse()?))?.to_string()),
            ["churn", milliseconds] => return Ok(worker::churn(Duration::from_millis(milliseconds.parse()?))?.to_string()),
            ["spin", milliseconds] => spin(Duration::from_millis(milliseconds.parse()?)),
            _ => bail!("it does not know how"),
        }
        match words {
            ["connect" | "connect-from-thread", ..] => Ok(address(self.socket()?.local_addr()?)?.to_string()),
            _ => Ok(String::new()),
        }
    }

    fn socket(&self) -> Result<&Socket> {
        self.sockets.last().context("it has no socket")
    }

    fn listen(&mut self, at: SocketAddr, keepalive: &[&str]) -> Result<String> {
        let listener = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP)).context("socket")?;
        set_keepalive(&listener, keepalive)?;
        listener.bind(&at.into()).with_context(|| format!("cannot bind {at}"))?;
        listener.listen(64).context("listen")?;
        let at = address(listener.local_addr()?)?;
        self.listeners.push(listener);
        Ok(at.to_string())
    }

    /// What the kernel says of each socket that this process holds, listeners first: its own end, the peer's, and the five options.
    fn survey(&self) -> Result<String> {
        const OPTIONS: [&str; 5] = ["SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"];
        let described = |socket: &Socket| {
            // A listener has no peer.
            let peer = socket.peer_addr().ok().map(address).transpose()?;
            let peer = peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
            let mut words = vec![address(socket.local_addr()?)?.to_string(), peer];
            for option in OPTIONS {
                words.push(sockopt::get(socket, sockopt::named(option)?)?.to_string());
            }
            Ok::<_, anyhow::Error>(words.join(","))
        };
        let all = self.listeners.iter().chain(&self.sockets).map(described).collect::<Result<Vec<_>>>()?;
        Ok(all.join(" "))
    }

    /// The child holds what this process holds, and sleeps until it is killed. It has its name before its parent answers.
    fn fork(&self, name: &str) -> Result<String> {
        let (ready, tell) = pipe().context("pipe")?;
        // SAFETY: no other thread of this process was at anything: those that it has only sleep or count.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => {
                drop(tell);
                File::from(ready).read_exact(&mut [0]).context("the child did not come up")?;
                Ok(child.to_string())
            }
            ForkResult::Child => {
                let named = rename(name).and_then(|()| Ok(File::from(tell).write_all(b".")?));
                while named.is_ok() {
                    pause();
                }
                std::process::exit(1);
            }
        }
    }

    fn pass(&self, path: &str) -> Result<String> {
        let stream = UnixStream::connect(path).with_context(|| format!("cannot connect to {path}"))?;
        let fds = [self.socket()?.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(b".")], &message, MsgFlags::empty(), None).context("SCM_RIGHTS")?;
        Ok(String::new())
    }

    fn take(&mut self) -> Result<String> {
        let (stream, _) = self.offered.as_ref().context("it has offered nothing")?.accept().context("accept")?;
        let (mut byte, mut control) = ([0], cmsg_space!([i32; 1]));
        let mut parts = [IoSliceMut::new(&mut byte)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).context("recvmsg")?;
        let fd = message.cmsgs().context("control messages")?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        // SAFETY: a descriptor that was just received, and that nobody else knows.
        let fd = unsafe { OwnedFd::from_raw_fd(fd.context("no descriptor came")?) };
        self.sockets.push(Socket::from(fd));
        Ok(String::new())
    }
}

/// As `echo VALUE > PATH` does.
fn written(path: &str, value: &str) -> Result<()> {
    std::fs::write(path, format!("{value}\n")).with_context(|| format!("cannot write {value} to {path}"))
}

/// Goes to another network namespace for this alone.
fn within<T>(netns: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let open = |path: &str| File::open(path).with_context(|| format!("cannot open {path}"));
    let (home, there) = (open("/proc/thread-self/ns/net")?, open(netns)?);
    setns(there, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
    let outcome = work();
    setns(home, CloneFlags::CLONE_NEWNET).context("cannot come back from a network namespace")?;
    outcome
}

/// From now on nobody in this process can write there: as a container has it.
fn read_only(path: &str) -> Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("cannot make mounts private")?;
    mount(Some(path), path, none, MsFlags::MS_BIND, none).with_context(|| format!("cannot bind {path}"))?;
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, path, none, again, none).with_context(|| format!("cannot make {path} read-only"))
}

fn connected(to: SocketAddr, keepalive: &[&str]) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).context("socket")?;
    set_keepalive(&socket, keepalive)?;
    socket.connect(&to.into()).with_context(|| format!("cannot connect to {to}"))?;
    Ok(socket)
}

/// The thread that connects takes its name first, and stays.
fn connected_by_thread(name: &str, to: SocketAddr, keepalive: &[&str]) -> Result<Socket> {
    let (tell, told) = std::sync::mpsc::channel();
    let keepalive: Vec<String> = keepalive.iter().map(ToString::to_string).collect();
    let name = name.to_owned();
    thread::spawn(move || {
        let keepalive: Vec<&str> = keepalive.iter().map(String::as_str).collect();
        let socket = rename(&name).and_then(|()| connected(to, &keepalive));
        let _ = tell.send(socket); // whoever asked waits for it
        loop {
            thread::park();
        }
    });
    told.recv().context("the connecting thread is gone")?
}

/// Idle, interval and probes; 0 for no keepalive.
fn set_keepalive(socket: &Socket, words: &[&str]) -> Result<()> {
    if words.last() == Some(&"0") {
        return Ok(());
    }
    socket.set_tcp_keepalive(&settings(words)?).context("keepalive")
}

fn settings(words: &[&str]) -> Result<TcpKeepalive> {
    let &[idle, interval, probes] = words else { bail!("keepalive is three numbers, not {words:?}") };
    let seconds = |word: &str| Ok::<_, anyhow::Error>(Duration::from_secs(word.parse()?));
    let times = TcpKeepalive::new().with_time(seconds(idle)?).with_interval(seconds(interval)?);
    Ok(times.with_retries(probes.parse()?))
}

fn address(address: socket2::SockAddr) -> Result<SocketAddr> {
    address.as_socket().context("no address")
}

fn allow_files(wanted: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("RLIMIT_NOFILE")?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted), hard.max(wanted)).context("RLIMIT_NOFILE")
}

/// A thread that is on the CPU all that time.
fn spin(time: Duration) {
    let start = Instant::now();
    thread::spawn(move || {
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    });
}
