//! The settings in force on a few sockets, what is wrong with them, and what a change of a sysctl does to whom.
use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    pair::{Family, Plan},
    stage::Stage,
    tracer,
};
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use socket2::TcpKeepalive;

use crate::paper::{Paper, Tone};

/// As long as it takes until idling is worth a word.
const IDLE: Duration = Duration::from_secs(660);
/// Until every timer has fired that was armed by the kernel's own settings.
const TWO_HOURS: Duration = Duration::from_secs(7400);
/// The tracer takes a moment to be ready.
const READY: Duration = Duration::from_secs(5);

/// Plays it.
pub fn play(paper: Paper) -> Result<()> {
    prctl::set_name(c"app").context("cannot be called app")?;
    let stage = Stage::open()?;
    let plans = [
        Plan::new(Family::V4).to(([127, 0, 0, 1], 5432).into()),
        Plan::new(Family::V4).to(([127, 0, 0, 1], 6379).into()).keepalive_with(TcpKeepalive::new()),
        Plan::new(Family::V4).to(([127, 0, 0, 1], 9092).into()).keepalive(60, 10, 6).user_timeout(Duration::from_secs(20)),
    ];
    let _pairs = plans.iter().map(|plan| stage.connect(plan)).collect::<Result<Vec<_>>>()?;
    sleep(IDLE);
    let netns = stage.netns.inode().to_string();
    paper.title("what is in force on every socket, when its timer will really fire, and what is wrong with it")?;
    paper.note("Behind a load balancer that forgets a connection after 350 s of silence.")?;
    let mut sockets = command(paper, &["sockets", "--netns", &netns, "-D", "5432,6379,9092"]);
    write(paper, &sockets.output().context("cannot list sockets")?.stdout)?;
    paper.note("With the load balancer's limit (--lint --idle-limit aws-nlb): only what is wrong, why, and what cures it.")?;
    let mut lint = command(paper, &["sockets", "--lint", "--idle-limit", "aws-nlb", "--netns", &netns, "-D", "5432,6379,9092"]);
    write(paper, &lint.output().context("cannot list sockets")?.stdout)?;

    paper.title("a sysctl is written: who follows, and when")?;
    let sysctl =
        command(paper, &["sysctl", "--netns", &netns, "-D", "5432,6379,9092"]).spawn().context("cannot watch sysctls")?;
    sleep(READY);
    stage.netns.enter(|| {
        let written = Command::new("sh").args(["-c", "echo 300 > /proc/sys/net/ipv4/tcp_keepalive_time"]).status();
        ensure!(written.context("sh")?.success(), "the kernel refused 300 s");
        Ok(())
    })?;
    sleep(TWO_HOURS);
    kill(Pid::from_raw(sysctl.id().try_into()?), Signal::SIGINT).context("cannot stop the tool")?;
    write(paper, &sysctl.wait_with_output().context("cannot wait for the tool")?.stdout)
}

fn command(paper: Paper, arguments: &[&str]) -> Command {
    let mut command = Command::new(tracer::binary());
    command.args(arguments).args(["--color", paper.color()]).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn write(paper: Paper, output: &[u8]) -> Result<()> {
    String::from_utf8_lossy(output).lines().try_for_each(|line| paper.write(Tone::Plain, line))
}
