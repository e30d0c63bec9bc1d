//! Servers and clients of HTTP that nobody here wrote, in a namespace of the lab, where the machine has them.
use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    clock::{between, now},
    netns::Netns,
};

/// nginx.
pub const NGINX: &str = "/usr/sbin/nginx";
/// Apache httpd.
pub const APACHE: &str = "/usr/sbin/apache2";
/// Node.js.
pub const NODE: &str = "/usr/bin/node";
/// Python, with urllib3 and requests.
pub const PYTHON: &str = "/usr/bin/python3.11";
/// Caddy: Go's own server.
pub const CADDY: &str = "/usr/bin/caddy";
/// curl.
pub const CURL: &str = "/usr/bin/curl";
/// hey: Go's own client.
pub const HEY: &str = "/usr/bin/hey";

/// Where every server listens, in a namespace of its own.
pub const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8080);

/// How long a server may take to be ready, and to stop: they are large, and the machine is emulated.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Why this machine has none of them, if that is so.
pub fn missing() -> Option<&'static str> {
    let all = [NGINX, APACHE, NODE, PYTHON, CADDY, CURL, HEY];
    all.iter().any(|program| !Path::new(program).exists()).then_some("this machine has no servers and clients of HTTP")
}

/// A running server, with a folder of its own for what it reads and writes.
pub struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    /// Starts it within the namespace, with these files in its folder, and waits until it listens at [`ADDRESS`]. In the files and
    /// the arguments, `{here}` is the folder. What it prints is its file `out`.
    pub fn start(netns: &Netns, files: &[(&str, &str)], program: &str, arguments: &[&str]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = PathBuf::from(format!("/tmp/server-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        users()?;
        let here = folder.display().to_string();
        for (name, text) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap_or(&folder)).with_context(|| format!("cannot make {here}"))?;
            fs::write(file, text.replace("{here}", &here)).with_context(|| format!("cannot write {here}/{name}"))?;
        }
        let out = fs::File::create(folder.join("out")).with_context(|| format!("cannot write {here}/out"))?;
        let mut command = command(program, arguments.iter().map(|argument| argument.replace("{here}", &here)));
        command.current_dir(&folder).stdout(out.try_clone()?).stderr(out);
        let child = netns.enter(|| command.spawn().with_context(|| format!("cannot start {program}")))?;
        let mut server = Self { child, folder };
        server.wait_until_it_listens(netns).with_context(|| format!("{program} said: {}", server.file("out")))?;
        Ok(server)
    }

    /// Looks, instead of knocking: a connection would be seen.
    fn wait_until_it_listens(&mut self, netns: &Netns) -> Result<()> {
        let start = now();
        let listens = |table: &str| {
            let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
            let port = format!(":{:04X}", ADDRESS.1);
            rows.into_iter().any(|row| row.get(1).is_some_and(|local| local.ends_with(&port)) && row.get(3) == Some(&"0A"))
        };
        loop {
            let tables = netns.enter(|| {
                let read = |name| fs::read_to_string(name).with_context(|| format!("cannot read {name}"));
                Ok([read("/proc/thread-self/net/tcp")?, read("/proc/thread-self/net/tcp6")?])
            })?;
            if tables.iter().any(|table| listens(table)) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().context("cannot wait for a server")? {
                bail!("it ended: {status}");
            }
            ensure!(between(start, now()) < PATIENCE, "it does not listen within {PATIENCE:?}");
            sleep(PAUSE);
        }
    }

    /// What one of its files holds by now: nothing, where it isn't there.
    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let start = now();
        while self.child.try_wait().context("cannot wait for a server")?.is_none() {
            ensure!(between(start, now()) < PATIENCE, "a server does not stop within {PATIENCE:?}");
            sleep(PAUSE);
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().try_into()?), signal).with_context(|| format!("cannot send {signal} to a server"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever of it has stopped by itself is gone already.
        if self.stop().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A running client.
pub struct Client(Option<Child>);

impl Client {
    /// Starts it within the namespace.
    pub fn start(netns: &Netns, program: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = command(program, arguments.iter().map(ToString::to_string));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        netns.enter(|| Ok(Self(Some(command.spawn().with_context(|| format!("cannot start {program}"))?))))
    }

    /// Waits for its end, and gives what it printed. Fails where it does.
    pub fn wait(mut self) -> Result<String> {
        let child = self.0.take().context("a client is waited for once")?;
        let output = child.wait_with_output().context("cannot wait for a client")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "a client failed ({}): {errors}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that was waited for is gone.
        let Some(child) = &mut self.0 else { return };
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn command(program: &str, arguments: impl Iterator<Item = String>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin").env("HOME", "/tmp").stdin(Stdio::null());
    command
}

/// Servers ask who they are.
fn users() -> Result<()> {
    for (file, text) in [
        ("/etc/passwd", "root:x:0:0::/:/bin/sh\ndaemon:x:1:1::/:/bin/sh\n"),
        ("/etc/group", "root:x:0:\nnogroup:x:65534:\ndaemon:x:1:\n"),
    ] {
        if !Path::new(file).exists() {
            fs::write(file, text).with_context(|| format!("cannot write {file}"))?;
        }
    }
    Ok(())
}
