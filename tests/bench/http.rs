//! What `--http` costs: requests a second through nginx without the tracer, with it, with `--http`, and with tcpdump on the same
//! port; and how fast bytes that are no HTTP go.
//!
//! One boot holds everything, and the first measurement is repeated at the end: where the two differ by more than two percent, the run
//! is void.
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    netns::Netns,
    pair::{Family, Pair, Plan},
    server::{self, Client, HEY, NGINX, Server},
    tracer,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Of one measurement, over connections that are kept.
const REQUESTS: &str = "4000";
const AT_A_TIME: &str = "4";
/// Of a stream that is no HTTP, bytes.
const STREAM: usize = 256 << 20;
const PIECE: usize = 64 << 10;

/// Two runs without the tracer may differ by so much: Go's scheduler and collector come in between.
const DRIFT: f64 = 0.02;

/// Room for a whole measurement.
const RING: &str = "16777216";
const PRINTED: &str = "/tmp/printed";

const CONFIG: &str = "user root; daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;
events {}
http { client_body_temp_path {here}/1; proxy_temp_path {here}/2; fastcgi_temp_path {here}/3; uwsgi_temp_path {here}/4; scgi_temp_path {here}/5;
  access_log off; keepalive_requests 100000; server { listen 127.0.0.1:8080; location / { return 200 'ok'; } } }
";

/// Requests a second, and megabytes a second of the other stream.
#[derive(Clone, Copy)]
struct Speed {
    requests: f64,
    stream: f64,
}

pub fn run() -> Result<()> {
    ensure!(server::missing().is_none(), "this machine has no nginx and no hey");
    let netns = &Netns::new()?;
    let arguments = ["-c", "{here}/nginx.conf", "-e", "{here}/error.log"];
    let mut nginx = Server::start(netns, &[("nginx.conf", CONFIG)], NGINX, &arguments)?;
    // The first ones warm the machine up; and the first time anybody hooks a function, the kernel changes for good.
    measure(netns)?;
    Beside::tracer(&["--http"])?.stop()?;
    let without = measure(netns)?;
    println!("{:<22} {:>12} {:>7} {:>12} {:>7}", "", "requests/s", "ratio", "other MB/s", "ratio");
    report("without", without, without, "");
    for (name, arguments) in [("trace", &[][..]), ("trace --http", &["--http"])] {
        let tool = Beside::tracer(arguments)?;
        let with = measure(netns)?;
        report(name, with, without, &tool.stop()?);
    }
    let capture = Beside::tcpdump(netns)?;
    let with = measure(netns)?;
    report("tcpdump", with, without, &capture.stop()?);
    let again = measure(netns)?;
    report("without", again, without, "");
    nginx.stop()?;
    let drift = (again.requests / without.requests - 1.0).abs();
    ensure!(drift <= DRIFT, "void: the runs without the tracer differ by {:.2} %", drift * 100.0);
    println!("seconds of a machine that counts instructions as nanoseconds, with nginx, hey and whoever looks on its one CPU;");
    println!("every request has two messages, which are two events at the server's end, printed as JSON lines into memory");
    Ok(())
}

fn report(name: &str, speed: Speed, base: Speed, more: &str) {
    let Speed { requests, stream } = speed;
    let [requests_ratio, stream_ratio] = [requests / base.requests, stream / base.stream];
    println!("{name:<22} {requests:>12.0} {requests_ratio:>7.3} {stream:>12.0} {stream_ratio:>7.3}  {more}");
}

fn measure(netns: &Netns) -> Result<Speed> {
    // What was closed before is gone by then.
    sleep(Duration::from_secs(65));
    let url = "http://127.0.0.1:8080/";
    let said = Client::start(netns, HEY, &["-n", REQUESTS, "-c", AT_A_TIME, url])?.wait()?;
    let rate = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok());
    ensure!(said.contains(&format!("[200]\t{REQUESTS} responses")), "not every request was answered: {said}");
    Ok(Speed { requests: rate.with_context(|| format!("hey says no rate: {said}"))?, stream: stream(netns)? })
}

/// Megabytes a second through one connection, none of which begin like a message.
fn stream(netns: &Netns) -> Result<f64> {
    let Pair { mut client, mut server, .. } = Plan::new(Family::V4).connect(netns)?;
    let started = Instant::now();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut bytes = vec![0; PIECE];
            let mut left = STREAM;
            while left > 0 {
                left -= server.read(&mut bytes).context("cannot read")?.min(left);
            }
            anyhow::Ok(())
        });
        let bytes = vec![0x17; PIECE];
        (0..STREAM / PIECE).try_for_each(|_| client.write_all(&bytes)).context("cannot write")?;
        reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    })?;
    Ok(STREAM as f64 / 1e6 / started.elapsed().as_secs_f64())
}

/// Whoever looks on meanwhile.
struct Beside {
    child: Child,
    /// What it says in the end is in its last lines.
    said: &'static str,
}

impl Beside {
    fn tracer(more: &[&str]) -> Result<Self> {
        let mut command = tracer::command(&["trace", "--buffer", RING, "-v", "--json", "-L", "8080"]);
        let printed = File::create(PRINTED).with_context(|| format!("cannot write {PRINTED}"))?;
        let mut child = command.args(more).stdout(printed).spawn().context("cannot start the tracer")?;
        let mut log = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            ensure!(log.read_line(&mut line).context("stderr")? > 0, "the tracer ended before it was attached");
        }
        Ok(Self { child, said: PRINTED })
    }

    fn tcpdump(netns: &Netns) -> Result<Self> {
        let arguments = ["-i", "lo", "-w", "/tmp/capture", "-Z", "root", "tcp port 8080"];
        let errors = File::create(PRINTED).with_context(|| format!("cannot write {PRINTED}"))?;
        let child = netns.enter(|| {
            let mut command = std::process::Command::new("/bin/tcpdump");
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
            command.spawn().context("cannot start tcpdump")
        })?;
        // It listens by then, or says that it can't.
        sleep(Duration::from_secs(5));
        Ok(Self { child, said: PRINTED })
    }

    /// Ends it, and gives what it said of itself.
    fn stop(mut self) -> Result<String> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGINT).context("cannot end it")?;
        let status = self.child.wait().context("wait")?;
        let said = fs::read_to_string(self.said).with_context(|| format!("cannot read {}", self.said))?;
        ensure!(status.success(), "it ended with {status}: {said}");
        let http = said.lines().filter(|line| line.contains("\"event\":\"http\"")).count();
        Ok(match said.lines().last().filter(|line| line.contains("\"event\":\"stop\"")) {
            Some(stop) => format!("{http} http events, {}", lost(stop)),
            None => said.lines().filter(|line| line.contains("packets")).collect::<Vec<_>>().join(", "),
        })
    }
}

/// `N lost`, of the tracer's last line.
fn lost(stop: &str) -> String {
    let number = stop.split("\"lost\":").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    format!("{} lost", number.unwrap_or_else(|| "?".to_owned()))
}
