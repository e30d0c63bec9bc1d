//! How the tracer comes, goes, and gets along with others.
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    clock::{between, hz, wheel_lateness},
    leftovers::Hooks,
    pair::{Family, Plan},
    peer,
    stage::Stage,
    tracer::{Attach, Mode, Tracer, command},
};
use nix::sys::signal::Signal;
use socket2::TcpKeepalive;

use crate::{
    bench::{Bench, LIMIT, tests},
    scene::{gists, same_moment},
};

tests![
    it_hooks_while_it_runs_and_leaves_nothing,
    the_start_line_says_what_it_runs_on,
    it_comes_and_goes_amid_probes_and_loses_none,
    #[full_stream]
    very_verbose_it_logs_from_inside_the_kernel,
];

tests![ONCE:
    two_at_once_attached_either_way_tell_the_same,
    ctrl_c_ends_it_at_any_moment,
    sigterm_ends_it_too,
    a_reader_who_goes_ends_it_quietly,
    it_stops_after_a_duration,
    it_stops_after_a_count,
    the_stop_line_sums_up,
];

/// A healthy connection, probed: both ends open, and an answer is recognised at the timer's next run.
const FOUR_EVENTS: [&str; 6] = ["start", "open connect", "open accept", "probe 1/3 sent", "reply 1 ack", "stop"];

fn it_hooks_while_it_runs_and_leaves_nothing(bench: &Bench) -> Result<()> {
    let before = Hooks::read()?;
    let tracer = bench.own_tracer(&[])?;
    let hooks = Hooks::read()?.beyond(&before);
    assert!(hooks.programs.len() >= 3, "{hooks:?}");
    // The shared tracer may have hooked the same functions before.
    let hooked = if bench.attach.chosen() == Attach::Kprobe { Hooks::read()?.kprobes } else { Hooks::read()?.traced };
    for function in ["tcp_keepalive_timer", "tcp_send_active_reset"] {
        assert!(hooked.contains(function), "{function} is not among {hooked:?}");
    }
    let finished = tracer.stop()?;
    assert!(finished.status.success(), "{finished:?}");
    before.wait_until_nothing_more(LIMIT)
}

fn the_start_line_says_what_it_runs_on(bench: &Bench) -> Result<()> {
    let finished = bench.own_tracer(&[])?.stop()?;
    let start = &finished.events[0];
    assert_eq!((start.kind.as_str(), start.schema), ("start", Some(1)));
    assert_eq!(start.attach.as_deref(), Some(bench.attach.chosen().name()));
    assert_eq!(start.hz, Some(hz()?));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("osrelease")?;
    assert_eq!(start.kernel.as_deref(), Some(release.trim_end()));
    assert_eq!(finished.stop_line()?.events, Some(finished.events.len() as u64 - 2), "all but the first and the last");
    Ok(())
}

fn two_at_once_attached_either_way_tell_the_same(_: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let netns = stage.netns.inode().to_string();
    let tracers = Attach::BOTH.map(|attach| Tracer::start(attach, Mode::Full, &["--netns", &netns]));
    let pairs = [Family::V4, Family::V6, Family::Mapped].map(|family| stage.connect(&Plan::new(family).keepalive(1, 1, 3)));
    for (index, pair) in pairs.into_iter().enumerate() {
        let pair = pair?;
        peer::deafen(&pair.server)?;
        if index == 1 {
            pair.send(b"unanswered")?;
        }
        sleep(Duration::from_secs(6));
        pair.abort()?;
    }
    let mut stories = Vec::new();
    for tracer in tracers {
        let finished = tracer?.stop()?;
        assert_eq!(finished.lost(), 0);
        let told = finished.events.into_iter().filter(|event| event.lport.is_some()).collect::<Vec<_>>();
        stories.push(told);
    }
    assert!(gists(&stories[0]).contains(&"reset keepalive-timeout".to_owned()), "{:?}", gists(&stories[0]));
    assert!(gists(&stories[0]).contains(&"timer data-in-flight".to_owned()), "{:?}", gists(&stories[0]));
    assert_eq!(gists(&stories[0]), gists(&stories[1]));
    for (one, other) in stories[0].iter().zip(&stories[1]) {
        assert_eq!((one.lport, one.rport, one.n, one.next_ms), (other.lport, other.rport, other.n, other.next_ms));
        same_moment(one.at(), other.at(), &one.gist());
    }
    Ok(())
}

/// Its programs come and go one by one, and for some runs of the timer only half of them are there.
fn it_comes_and_goes_amid_probes_and_loses_none(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    // With two of them at 0 a probe goes out at every tick, answered or not.
    for (name, value) in [("time", 0), ("intvl", 0), ("probes", 255)] {
        stage.netns.sysctl(&format!("tcp_keepalive_{name}"), value)?;
    }
    let netns = stage.netns.inode().to_string();
    let plan = Plan::new(Family::V4).keepalive_with(TcpKeepalive::new());
    let pairs = (0..5).map(|_| stage.connect(&plan)).collect::<Result<Vec<_>>>()?;
    let finished = bench.own_tracer(&["--netns", &netns, "--duration", "1"])?.wait()?;
    for pair in &pairs {
        pair.client.set_keepalive(false).context("SO_KEEPALIVE")?;
    }
    let probes = finished.events.iter().filter(|event| event.kind == "probe").count();
    assert!(probes > 100, "only {probes} probes");
    let lost: Vec<_> = finished.events.iter().filter(|event| event.kind == "lost").collect();
    assert!(lost.is_empty(), "{lost:?}");
    Ok(())
}

fn ctrl_c_ends_it_at_any_moment(bench: &Bench) -> Result<()> {
    let before = Hooks::read()?;
    // From before it has read its command line to after it was ready.
    for milliseconds in [0, 1, 5, 20, 100, 400, 2000] {
        let tracer = Tracer::spawn(bench.attach, Mode::Full, &[])?;
        sleep(Duration::from_millis(milliseconds));
        tracer.signal(Signal::SIGINT)?;
        let finished = tracer.wait()?;
        // Either it was too early to be caught, or it ended as it should: with its last line.
        let uncaught = finished.status.signal() == Some(Signal::SIGINT as i32);
        ensure!(uncaught || finished.status.success(), "after {milliseconds} ms: {finished:?}");
        ensure!(!uncaught || finished.events.is_empty(), "after {milliseconds} ms it traced and was killed: {finished:?}");
        if !finished.events.is_empty() {
            finished.stop_line()?;
        }
        before.wait_until_nothing_more(LIMIT).with_context(|| format!("Ctrl-C after {milliseconds} ms"))?;
    }
    let finished = bench.own_tracer(&[])?.stop()?;
    assert!(finished.status.success(), "right after its first line: {finished:?}");
    finished.stop_line()?;
    before.wait_until_nothing_more(LIMIT)
}

fn sigterm_ends_it_too(bench: &Bench) -> Result<()> {
    let before = Hooks::read()?;
    let tracer = bench.own_tracer(&[])?;
    tracer.signal(Signal::SIGTERM)?;
    let finished = tracer.wait()?;
    assert!(finished.status.success(), "{finished:?}");
    finished.stop_line()?;
    before.wait_until_nothing_more(LIMIT)
}

/// `keepalive-trace trace | head -1`, in both formats.
fn a_reader_who_goes_ends_it_quietly(bench: &Bench) -> Result<()> {
    let before = Hooks::read()?;
    for format in [&["--all"][..], &["--json"]] {
        let mut child = command(&[&["trace", "--attach", bench.attach.name()], format].concat()).spawn().context("spawn")?;
        let mut first = String::new();
        let mut reader = BufReader::new(child.stdout.take().context("no stdout")?);
        reader.read_line(&mut first).context("no first line")?;
        assert!(!first.trim().is_empty());
        drop(reader);
        let stage = Stage::open()?;
        let pair = stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 3))?;
        let status = child.wait().context("wait")?;
        drop(pair);
        let mut errors = String::new();
        child.stderr.take().context("no stderr")?.read_to_string(&mut errors)?;
        assert!(status.success() && errors.is_empty(), "{format:?}: {status}: {errors}");
    }
    before.wait_until_nothing_more(LIMIT)
}

fn it_stops_after_a_duration(bench: &Bench) -> Result<()> {
    const DURATION: Duration = Duration::from_secs(3);
    let finished = bench.own_tracer(&["--duration", "3"])?.wait()?;
    assert!(finished.status.success(), "{finished:?}");
    let ran = between(finished.events[0].at(), finished.stop_line()?.at());
    // The kernel lets go of each of the dozen hooks only when no CPU can be in it any more.
    const HOOKS_OUT: Duration = Duration::from_secs(3);
    let latest = DURATION + wheel_lateness(DURATION, hz()?) + HOOKS_OUT;
    assert!((DURATION - Duration::from_millis(1)..=latest).contains(&ran), "it ran {ran:?}");
    Ok(())
}

fn it_stops_after_a_count(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let netns = stage.netns.inode().to_string();
    let tracer = bench.own_tracer(&["--netns", &netns, "--count", "4"])?;
    let pair = stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 3))?;
    let finished = tracer.wait()?;
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(gists(&finished.events), FOUR_EVENTS);
    assert_eq!(finished.stop_line()?.events, Some(4));
    drop(pair);
    Ok(())
}

fn the_stop_line_sums_up(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let netns = stage.netns.inode().to_string();
    let tracer = bench.own_tracer(&["--netns", &netns])?;
    let plain = Plan::new(Family::V4).keepalive(1, 1, 1);
    let hasty = plain.clone().user_timeout(Duration::from_secs(1));
    let pairs = [stage.connect(&plain)?, stage.connect(&plain)?, stage.connect(&hasty)?];
    for pair in &pairs {
        peer::deafen(&pair.server)?;
    }
    for pair in &pairs {
        tracer.wait_for_runs_of(&pair.connection, 2, LIMIT)?;
    }
    let healthy = stage.connect(&plain)?;
    tracer.wait_for_runs_of(&healthy.connection, 2, LIMIT)?;
    let finished = tracer.stop()?;
    let stop = finished.stop_line()?;
    // Both ends of the four are here. Those that are deaf have not heard of their connection's end.
    let lost: Vec<_> = finished.events.iter().filter(|event| event.kind == "lost").collect();
    assert_eq!((stop.lost, stop.connections), (Some(0), Some(8)), "{lost:?}");
    assert_eq!(stop.events, Some(finished.events.len() as u64 - 2), "all but the first and the last");
    let verdicts = [("keepalive-timeout", 2), ("user-timeout", 1)].map(|(verdict, count)| (verdict.to_owned(), count));
    assert_eq!(stop.verdicts, Some(verdicts.into()));
    Ok(())
}

fn very_verbose_it_logs_from_inside_the_kernel(bench: &Bench) -> Result<()> {
    let stage = Stage::open()?;
    let netns = stage.netns.inode().to_string();
    let tracer = bench.full_stream()?.own_tracer(&["--netns", &netns, "-vv", "--count", "4"])?;
    let pair = stage.connect(&Plan::new(Family::V4).keepalive(1, 1, 3))?;
    let finished = tracer.wait()?;
    drop(pair);
    assert_eq!(gists(&finished.events), FOUR_EVENTS);
    let inside = finished.errors.lines().filter(|line| line.contains("tcp_keepalive_timer")).count();
    assert!(inside >= 2, "{}", finished.errors);
    Ok(())
}
