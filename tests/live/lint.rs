//! `sockets --lint`: each finding is provoked, is not found where it isn't so, and goes away by its own remedy.
use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    application::Reader,
    clock::{between, now},
    finding::Finding,
    listing::{self, Listing},
    pair::{Connection, Family, Pair, Plan},
    peer,
    sockopt::{self, KEEPALIVE, KEEPIDLE, USER_TIMEOUT},
    stage::Stage,
    wire::Kind,
};
use socket2::TcpKeepalive;

use crate::bench::{Bench, LIMIT, tests};

tests![
    an_idle_connection_without_keepalive_is_found,
    a_user_timeout_that_comes_before_the_last_probe_is_found,
    a_probe_that_can_come_after_the_limit_is_found,
    an_interval_longer_than_the_limit_is_found,
    a_timer_that_is_older_than_the_sysctl_is_found,
    a_namespace_that_differs_from_the_host_is_found,
    slow_detection_is_found,
    detection_that_never_comes_or_waits_for_a_user_timeout_is_found,
    sysctls_that_kill_or_disarm_are_found,
    only_what_is_found_is_kept_and_the_exit_code_tells,
];

/// What is asked for, and within which namespace.
struct Lint {
    stage: Stage,
    arguments: Vec<&'static str>,
}

impl Lint {
    fn new(arguments: &[&'static str]) -> Result<Self> {
        Ok(Self { stage: Stage::open()?, arguments: arguments.to_vec() })
    }

    fn run(&self, more: &[&str]) -> Result<Listing> {
        let netns = self.stage.netns.inode().to_string();
        listing::list(&[&["--netns", &netns, "--lint"], &self.arguments[..], more].concat())
    }

    /// The finding of this name about the connection's local end, if there is one.
    fn finds(&self, name: &str, connection: &Connection) -> Result<Option<Finding>> {
        let listing = self.run(&[])?;
        let socket = listing.find(connection)?;
        Ok(socket.filter(|socket| socket.found().contains(&name)).map(|socket| socket.finding(name)).transpose()?.cloned())
    }

    /// Holds that it is there; gives it.
    fn found(&self, name: &str, connection: &Connection) -> Result<Finding> {
        let finding = self.finds(name, connection)?.with_context(|| format!("{name} is not found"))?;
        assert!(!finding.why.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
        Ok(finding)
    }

    /// Holds that it is not there.
    fn not_found(&self, name: &str, connection: &Connection) -> Result<()> {
        assert_eq!(self.finds(name, connection)?, None);
        Ok(())
    }

    /// A connection whose client's keepalive is on, and everything else of it comes from the namespace.
    fn by_sysctl(&self) -> Result<Pair> {
        self.stage.connect(&Plan::new(Family::V4).keepalive_with(TcpKeepalive::new()))
    }

    fn sysctls(&self, values: &[(&str, i64)]) -> Result<()> {
        values.iter().try_for_each(|(name, value)| self.stage.netns.sysctl(name, value))
    }
}

/// Sets what the remedy names on the connection's client.
fn cure(finding: &Finding, pair: &Pair) -> Result<()> {
    let options = finding.options();
    assert!(!options.is_empty(), "no socket option: {finding:?}");
    options.into_iter().try_for_each(|(option, value)| sockopt::set(&pair.client, sockopt::named(option)?, value))
}

fn an_idle_connection_without_keepalive_is_found(_: &Bench) -> Result<()> {
    const NAME: &str = "no-keepalive";
    let (lint, limited) = (Lint::new(&[])?, ["--idle-limit", "350s"]);
    let pair = lint.stage.connect(&Plan::new(Family::V4))?;
    let other = lint.stage.connect(&Plan::new(Family::V6).keepalive(60, 10, 5))?;
    lint.not_found(NAME, &pair.connection)?;
    sleep(Duration::from_secs(400));
    lint.not_found(NAME, &pair.connection)?;
    let found = |listing: &Listing| Ok::<_, anyhow::Error>(listing.of(&pair.connection)?.finding(NAME)?.clone());
    found(&lint.run(&limited)?)?; // a middlebox has forgotten it by now
    sleep(Duration::from_secs(3600));
    let finding = lint.found(NAME, &pair.connection)?;
    assert!(finding.options().contains(&("SO_KEEPALIVE", 1)), "{finding:?}");
    lint.not_found(NAME, &other.connection)?;

    let within = found(&lint.run(&limited)?)?;
    cure(&within, &pair)?;
    assert_eq!(lint.run(&limited)?.find(&pair.connection)?.map(|socket| socket.found().len()), None);
    // Without a limit it may advise another time.
    sockopt::set(&pair.client, KEEPALIVE, 0)?;
    sleep(Duration::from_secs(3600));
    cure(&lint.found(NAME, &pair.connection)?, &pair)?;
    lint.not_found(NAME, &pair.connection)
}

fn a_user_timeout_that_comes_before_the_last_probe_is_found(_: &Bench) -> Result<()> {
    const NAME: &str = "user-timeout-overrides";
    let lint = Lint::new(&[])?;
    let plan = Plan::new(Family::Mapped).user_timeout(Duration::from_secs(20));
    let pair = lint.stage.connect(&plan.clone().keepalive(10, 5, 3))?;
    let without = lint.stage.connect(&plan.clone())?;
    let quick = lint.stage.connect(&plan.keepalive(5, 5, 3))?;
    let finding = lint.found(NAME, &pair.connection)?;
    lint.not_found(NAME, &without.connection)?;
    lint.not_found(NAME, &quick.connection)?;

    cure(&finding, &pair)?;
    lint.not_found(NAME, &pair.connection)?;
    let advised = sockopt::get(&pair.client, USER_TIMEOUT)?;
    sockopt::set(&pair.client, USER_TIMEOUT, advised - 1)?;
    lint.found(NAME, &pair.connection)?;
    sockopt::set(&pair.client, USER_TIMEOUT, 0)?;
    lint.not_found(NAME, &pair.connection)
}

fn a_probe_that_can_come_after_the_limit_is_found(_: &Bench) -> Result<()> {
    const NAME: &str = "late-for-limit";
    const LIMITED: Duration = Duration::from_secs(350);
    let mut lint = Lint::new(&["--idle-limit", "350s"])?;
    let start = now();
    // In time by its setting, but the wheel may be late by up to an eighth.
    let pair = lint.stage.connect(&Plan::new(Family::V4).keepalive(345, 10, 3))?;
    let early = lint.stage.connect(&Plan::new(Family::V6).keepalive(300, 10, 3))?;
    let without = lint.stage.connect(&Plan::new(Family::V4))?;
    let finding = lint.found(NAME, &pair.connection)?;
    lint.not_found(NAME, &early.connection)?;
    lint.not_found(NAME, &without.connection)?;
    assert!(Lint { stage: Stage::open()?, arguments: vec![] }.run(&[])?.sockets.is_empty());

    cure(&finding, &pair)?;
    lint.not_found(NAME, &pair.connection)?;
    lint.stage.capture.wait_for_probes(&pair.connection, 1, 2 * LIMITED)?;
    let probed = lint.stage.capture.times(&pair.connection, Kind::Probe)?[0];
    assert!(between(start, probed) <= LIMITED, "the first probe came after {:?}", between(start, probed));
    lint.not_found(NAME, &pair.connection)?;

    // By sysctl it is cured for those that come after.
    let old = lint.by_sysctl()?;
    let finding = lint.found(NAME, &old.connection)?;
    assert!(!finding.sysctls().is_empty(), "{finding:?}");
    lint.sysctls(&finding.sysctls())?;
    lint.not_found(NAME, &lint.by_sysctl()?.connection)?;
    let finding = lint.found(NAME, &old.connection)?;
    cure(&finding, &old)?;
    lint.not_found(NAME, &old.connection)?;

    // A middlebox by its name is a limit by its number.
    lint.arguments = vec!["--idle-limit", "aws-nlb"];
    sockopt::set(&pair.client, KEEPIDLE, 345)?;
    lint.found(NAME, &pair.connection)?;
    lint.not_found(NAME, &early.connection)
}

fn an_interval_longer_than_the_limit_is_found(_: &Bench) -> Result<()> {
    const NAME: &str = "late-for-limit";
    let lint = Lint::new(&["--idle-limit", "4m"])?;
    let pair = lint.stage.connect(&Plan::new(Family::V4).keepalive(100, 400, 3))?;
    let finding = lint.found(NAME, &pair.connection)?;
    cure(&finding, &pair)?;
    lint.not_found(NAME, &pair.connection)
}

fn a_timer_that_is_older_than_the_sysctl_is_found(_: &Bench) -> Result<()> {
    const NAME: &str = "armed-before-sysctl";
    let lint = Lint::new(&[])?;
    let (old, own) = (lint.by_sysctl()?, lint.stage.connect(&Plan::new(Family::V4).keepalive(7000, 75, 9))?);
    lint.not_found(NAME, &old.connection)?;
    lint.sysctls(&[("tcp_keepalive_time", 600)])?;
    let new = lint.by_sysctl()?;
    let finding = lint.found(NAME, &old.connection)?;
    lint.not_found(NAME, &new.connection)?;
    lint.not_found(NAME, &own.connection)?;

    let another = lint.by_sysctl()?;
    lint.sysctls(&[("tcp_keepalive_time", 900)])?;
    lint.not_found(NAME, &another.connection)?; // raised: it fires too early, and then follows
    lint.sysctls(&[("tcp_keepalive_time", 600)])?;
    cure(&finding, &old)?;
    lint.not_found(NAME, &old.connection)?;
    let netns = lint.stage.netns.inode().to_string();
    let left = listing::list(&["--netns", &netns])?.of(&old.connection)?.timer_left_ms;
    assert!(left.is_some_and(|left| left <= 600_000), "{left:?}");
    Ok(())
}

fn a_namespace_that_differs_from_the_host_is_found(_: &Bench) -> Result<()> {
    const NAME: &str = "netns-differs";
    let lint = Lint::new(&[])?;
    let pair = lint.by_sysctl()?;
    lint.not_found(NAME, &pair.connection)?;
    lint.sysctls(&[("tcp_keepalive_time", 7100), ("tcp_keepalive_probes", 8)])?;
    let own = lint.stage.connect(&Plan::new(Family::V4).keepalive(7200, 75, 9))?;
    let finding = lint.found(NAME, &pair.connection)?;
    assert_eq!(finding.sysctls().len(), 2, "{finding:?}");
    lint.not_found(NAME, &own.connection)?;
    lint.not_found(NAME, &pair.connection.other_end())?; // its keepalive is off
    lint.sysctls(&finding.sysctls())?;
    lint.not_found(NAME, &pair.connection)
}

/// Holds that the pair, whose peer falls silent now, is ended within a minute, and within what is told.
fn dies_within_a_minute(lint: &Lint, pair: Pair) -> Result<()> {
    let netns = lint.stage.netns.inode().to_string();
    let listed = listing::list(&["--netns", &netns])?.of(&pair.connection)?.clone();
    let told = Duration::from_millis(listed.detect_ms.with_context(|| format!("never noticed: {listed:?}"))?);
    let reader = Reader::start(&pair.client, 2 * LIMIT)?;
    peer::deafen(&pair.server)?;
    let start = now();
    let (ending, at) = reader.wait()?;
    assert_eq!(ending.name(), "ETIMEDOUT");
    let took = between(start, at);
    assert!(took <= Duration::from_secs(60) && took <= told, "it took {took:?}, told was {told:?}");
    pair.abort_both()
}

fn slow_detection_is_found(_: &Bench) -> Result<()> {
    const NAME: &str = "slow-detection";
    let lint = Lint::new(&["--detect-within", "60s"])?;
    let slow = lint.stage.connect(&Plan::new(Family::V4).keepalive(30, 15, 2))?; // 60 s, and the wheel's lateness
    let quick = lint.stage.connect(&Plan::new(Family::V6).keepalive(30, 5, 3))?;
    let finding = lint.found(NAME, &slow.connection)?;
    lint.not_found(NAME, &quick.connection)?;
    cure(&finding, &slow)?;
    lint.not_found(NAME, &slow.connection)?;
    dies_within_a_minute(&lint, slow)?;
    dies_within_a_minute(&lint, quick)
}

fn detection_that_never_comes_or_waits_for_a_user_timeout_is_found(_: &Bench) -> Result<()> {
    const NAME: &str = "slow-detection";
    let lint = Lint::new(&["--detect-within", "60s"])?;
    let never = lint.stage.connect(&Plan::new(Family::V4))?;
    let timed = Plan::new(Family::V4).keepalive(10, 10, 3).user_timeout(Duration::from_secs(3600));
    let timed = lint.stage.connect(&timed)?;
    for pair in [never, timed] {
        cure(&lint.found(NAME, &pair.connection)?, &pair)?;
        lint.not_found(NAME, &pair.connection)?;
        dies_within_a_minute(&lint, pair)?;
    }
    Ok(())
}

fn sysctls_that_kill_or_disarm_are_found(_: &Bench) -> Result<()> {
    const NAME: &str = "dangerous-sysctl";
    let [time, intvl, probes] = ["tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_keepalive_probes"];
    let lint = Lint::new(&[])?;
    let (pair, own) = (lint.by_sysctl()?, lint.stage.connect(&Plan::new(Family::V4).keepalive(7200, 75, 9))?);
    lint.not_found(NAME, &pair.connection)?;
    for (name, value) in [(time, 0), (time, -1), (intvl, 0), (intvl, -5), (probes, 0)] {
        lint.sysctls(&[(name, value)])?;
        let listing = lint.run(&[])?;
        let finding = listing.of(&pair.connection)?.finding(NAME)?;
        assert!(finding.why.contains(&format!("{name}={value}")), "{finding:?}");
        // Neither where all is set on the socket, nor where keepalive is off.
        for other in [&own.connection, &pair.connection.other_end()] {
            assert_eq!(listing.find(other)?.map(|socket| socket.found()), None);
        }
        lint.sysctls(&finding.sysctls())?;
        lint.not_found(NAME, &pair.connection)?;
    }
    lint.sysctls(&[(time, 1), (intvl, 1), (probes, 1)])?;
    lint.not_found(NAME, &pair.connection)
}

fn only_what_is_found_is_kept_and_the_exit_code_tells(_: &Bench) -> Result<()> {
    let lint = Lint::new(&["--detect-within", "60s"])?;
    let quick = lint.stage.connect(&Plan::new(Family::V4).keepalive(30, 5, 3))?;
    let server = sockopt::set(&quick.server, KEEPALIVE, 1).and_then(|()| Ok(quick.server.try_clone()?))?;
    server.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(1)))?;
    let clean = lint.run(&["--fail"])?;
    assert_eq!((clean.sockets.len(), clean.code), (0, 0), "{clean:?}");
    assert!(clean.summary.findings.values().all(|&count| count == 0), "{clean:?}");

    let slow = lint.stage.connect(&Plan::new(Family::V4).keepalive(300, 5, 3).user_timeout(Duration::from_secs(7)))?;
    let found = lint.run(&["--fail"])?;
    assert_eq!(found.code, 1);
    assert_eq!(lint.run(&[])?.code, 0, "a listing is no failure");
    let ends = [slow.connection, slow.connection.other_end()];
    assert_eq!(found.sockets.len(), ends.len(), "{found:?}");
    let [client, server] = [found.of(&ends[0])?, found.of(&ends[1])?];
    assert_eq!((client.found(), server.found()), (vec!["user-timeout-overrides", "slow-detection"], vec!["slow-detection"]));
    let counts = [("slow-detection", 2), ("user-timeout-overrides", 1)].map(|(name, count)| (name.to_owned(), count));
    let mut summed = found.summary.findings.clone();
    summed.retain(|_, count| *count > 0);
    assert_eq!(summed, counts.into());

    let netns = lint.stage.netns.inode().to_string();
    let all = listing::list(&["--netns", &netns, "--detect-within", "60s"])?;
    assert_eq!(all.sockets.len(), 4, "without --lint all are listed");
    assert_eq!(all.of(&ends[0])?.found(), client.found(), "and what is found is told all the same");
    let (printed, errors, code) = listing::text(&["--netns", &netns, "--detect-within", "60s", "--lint", "--fail"])?;
    assert_eq!((errors.as_str(), code), ("", 1), "{printed}");
    for words in ["slow-detection", "user-timeout-overrides", "TCP_KEEPIDLE"] {
        assert!(printed.contains(words), "no {words}: {printed}");
    }
    Ok(())
}
