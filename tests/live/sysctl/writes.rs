//! Writes as such: by whom, where, what, and what became of them.
use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, bail};
use lab::{event::Event, netns::Netns, pair::Family, role::Actor, stage::Stage, sysctl, tracer::Tracer};

use super::{INTVL, PROBES, SETTLE, TIME, Watch, counts, nobody_waits};
use crate::bench::{Bench, LIMIT};

/// Holds what the write says of itself.
fn is(write: &Event, name: &str, values: (i64, i64), netns: &Netns, writer: (u32, &str)) {
    let name = format!("net.ipv4.{name}");
    assert_eq!((write.name.as_ref(), write.netns), (Some(&name), Some(netns.inode())), "{write:?}");
    assert_eq!((write.old, write.new, &write.errno), (Some(values.0), Some(values.1), &None), "{write:?}");
    assert_eq!((write.task_pid, write.task_comm.as_deref()), (Some(writer.0), Some(writer.1)), "{write:?}");
}

pub fn a_write_is_told_with_who_wrote_what_and_where(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    let admin = (watch.writer.pid(), "admin");
    for (name, old, new) in [(TIME, 7200, 600), (INTVL, 75, 20), (PROBES, 9, 4), (TIME, 600, 601), (PROBES, 4, 255)] {
        let write = watch.write(name, new)?;
        is(&write, name, (old, new), &watch.stage.netns, admin);
        assert_eq!(counts(&write), [Some(0); 4], "nobody is there");
        nobody_waits(&write);
    }
    // Without a newline, by another process; and other sysctls are nobody's business here.
    let so_far = watch.writes().len();
    watch.stage.netns.sysctl("tcp_fin_timeout", 61)?;
    watch.stage.netns.sysctl(TIME, 30)?;
    let comm = std::fs::read_to_string("/proc/self/comm").context("/proc/self/comm")?;
    is(&watch.next_write(so_far)?, TIME, (601, 30), &watch.stage.netns, (std::process::id(), comm.trim_end()));
    watch.end()
}

pub fn a_write_into_another_namespace_names_that_namespace(bench: &Bench) -> Result<()> {
    let watch = Watch::new(bench)?;
    let mut outsider = Actor::stay("outsider")?;
    let writer = (outsider.pid(), "outsider");
    // Going there for the write.
    outsider.sysctl_in(&watch.stage.netns, TIME, 500)?;
    is(&watch.next_write(0)?, TIME, (7200, 500), &watch.stage.netns, writer);
    // Going there to open the file, and writing from outside.
    outsider.open_sysctl_in(&watch.stage.netns, INTVL)?;
    outsider.write_opened(33)?;
    is(&watch.next_write(1)?, INTVL, (75, 33), &watch.stage.netns, writer);
    // Its own namespace is not that which is watched.
    let _host = sysctl::lend(TIME, 7100)?;
    outsider.sysctl(TIME, 7000)?;
    sleep(SETTLE);
    assert_eq!(watch.writes().len(), 2, "{:?}", watch.writes());
    watch.end()
}

/// Of a new namespace that nobody has asked for, and whatever the host has.
pub fn a_namespace_begins_with_the_kernel_s_own_values(bench: &Bench) -> Result<()> {
    let _host = [sysctl::lend(TIME, 7100)?, sysctl::lend(PROBES, 7)?];
    let tracer = Tracer::watch_sysctls(bench.attach, &[])?;
    let is_host = |event: &Event| event.namespace().is_ok_and(|namespace| namespace.host);
    tracer.wait_for("the host's namespace", LIMIT, |events| events.iter().any(is_host))?;
    let hosts = tracer.events().iter().find(|event| is_host(event)).context("no host")?.namespace()?;
    assert_eq!((hosts.time_s, hosts.intvl_s, hosts.probes), (7100, 75, 7), "{hosts:?}");

    let new = Netns::new()?;
    let mut admin = Actor::enter("admin", &new)?;
    for (name, old, value) in [(TIME, 7200, 100), (INTVL, 75, 10), (PROBES, 9, 3)] {
        admin.sysctl(name, value)?;
        let told = |event: &&Event| event.is_in(new.id()) && event.kind == "sysctl" && event.new == Some(value);
        tracer.wait_for("the write", LIMIT, |events| events.iter().any(|event| told(&event)))?;
        let events = tracer.events();
        let write = events.iter().find(told).context("no write")?;
        is(write, name, (old, value), &new, (admin.pid(), "admin"));
    }
    assert_eq!(tracer.stop()?.lost(), 0);

    let named = Stage::open()?;
    let name = format!("lab-sysctl-{}", bench.attach);
    let _named = named.netns.name(&name)?;
    let _own = named.connect(&lab::pair::Plan::new(Family::V4).keepalive(60, 10, 5))?;
    let _all = named.connect(&lab::pair::Plan::new(Family::V6).keepalive_with(socket2::TcpKeepalive::new()))?;
    let once = Tracer::watch_sysctls(bench.attach, &["--once", "--netns", &name])?.wait()?;
    assert!(once.status.success(), "{}", once.errors);
    let kinds: Vec<&str> = once.events.iter().map(|event| event.kind.as_str()).filter(|kind| *kind != "stop").collect();
    assert_eq!(kinds, ["start", "namespace"]);
    let there = once.events[1].namespace()?;
    assert_eq!((there.netns, there.host, there.name.as_deref()), (named.netns.inode(), false, Some(&*name)), "{there:?}");
    assert_eq!((there.time_s, there.intvl_s, there.probes), (7200, 75, 9), "{there:?}");
    assert_eq!((there.sockets, there.keepalive, there.follow), (4, 2, 1), "{there:?}");
    assert_eq!(there.findings, ["netns-differs"], "{there:?}");
    Ok(())
}

pub fn zero_and_negative_values_are_told_as_they_are(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    let mut now = [(TIME, 7200), (INTVL, 75), (PROBES, 9)];
    for (place, value) in [(0, 0), (1, 0), (2, 0), (0, -1), (1, -7), (0, -8_000_000), (0, 8_000_000), (1, 8_000_000), (0, 7200)] {
        let (name, old) = now[place];
        let write = watch.write(name, value)?;
        is(&write, name, (old, value), &watch.stage.netns, (watch.writer.pid(), "admin"));
        now[place].1 = value;
    }
    watch.end()
}

pub fn a_refused_write_is_told_with_its_errno(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    let pair = watch.by_sysctl(Family::V4)?;
    let refused = [(PROBES, 9, "256"), (PROBES, 9, "-1"), (TIME, 7200, "9000000000"), (INTVL, 75, "soon")];
    for (place, (name, old, value)) in refused.into_iter().enumerate() {
        let path = sysctl::path(name);
        let Err(error) = watch.writer.ask(&format!("write {path} {value}")) else { bail!("the kernel takes {name} {value}") };
        assert!(format!("{error:#}").contains("os error 22"), "{error:#}");
        let write = watch.next_write(place)?;
        assert_eq!(
            (write.errno.as_deref(), write.new, write.old),
            (Some("EINVAL"), None, Some(old)),
            "{name} {value}: {write:?}"
        );
        assert_eq!(write.name.as_deref(), Some(&*format!("net.ipv4.{name}")));
        assert_eq!((write.task_pid, write.task_comm.as_deref()), (Some(watch.writer.pid()), Some("admin")), "{write:?}");
        assert_eq!((write.follow_now.unwrap_or(0), write.follow_later.unwrap_or(0)), (0, 0), "{write:?}");
        nobody_waits(&write);
    }
    assert!(watch.picked_up(&pair.connection).is_empty());
    watch.end()
}

/// As in a container.
pub fn what_never_reaches_the_kernel_is_not_told(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    let mut contained = Actor::enter("contained", &watch.stage.netns)?;
    contained.protect_sysctls()?;
    let Err(error) = contained.sysctl(TIME, 60) else { bail!("it is not read-only") };
    assert!(format!("{error:#}").contains("os error 30"), "{error:#}");
    sleep(SETTLE);
    assert!(watch.writes().is_empty(), "{:?}", watch.writes());
    // Reading is no write either.
    let path = sysctl::path(TIME);
    let read = watch.stage.netns.enter(|| std::fs::read_to_string(&path).context("cannot read it"))?;
    assert_eq!(read.trim_end(), "7200");
    let write = watch.write(TIME, 60)?;
    is(&write, TIME, (7200, 60), &watch.stage.netns, (watch.writer.pid(), "admin"));
    watch.end()
}

pub fn the_same_value_again_moves_nobody(bench: &Bench) -> Result<()> {
    let mut watch = Watch::new(bench)?;
    watch.write(TIME, 20)?;
    let pair = watch.by_sysctl(Family::V6)?;
    let write = watch.write(TIME, 20)?;
    is(&write, TIME, (20, 20), &watch.stage.netns, (watch.writer.pid(), "admin"));
    watch.stage.capture.wait_for_probes(&pair.connection, 1, LIMIT)?;
    sleep(Duration::from_secs(1));
    assert!(watch.picked_up(&pair.connection).is_empty(), "{:?}", watch.picked_up(&pair.connection));
    watch.end()
}

pub fn trace_tells_of_writes_and_of_who_follows(bench: &Bench) -> Result<()> {
    let scene = bench.full_stream()?.scene()?;
    let mut admin = Actor::enter("admin", &scene.stage.netns)?;
    admin.sysctl(TIME, 4)?;
    let plan = lab::pair::Plan::new(Family::Mapped).keepalive_with(socket2::TcpKeepalive::new());
    let pair = scene.stage.connect(&plan)?;
    let deaf = scene.stage.connect(&plan)?;
    admin.sysctl(TIME, 1)?;
    admin.sysctl(PROBES, 5)?;
    let tracer = bench.tracer()?;
    let written = |event: &&Event| event.is_in(scene.stage.netns.id()) && event.kind == "sysctl";
    tracer.wait_for("the writes", LIMIT, |events| events.iter().filter(written).count() >= 3)?;
    let events = scene.everything();
    let writes: Vec<&Event> = events.iter().filter(written).collect();
    for (write, (name, old, new)) in writes.iter().zip([(TIME, 7200, 4), (TIME, 4, 1), (PROBES, 9, 5)]) {
        is(write, name, (old, new), &scene.stage.netns, (admin.pid(), "admin"));
    }
    assert_eq!(counts(writes[1]), [Some(0), Some(2), Some(0), Some(2)], "{:?}", writes[1]);
    assert_eq!(counts(writes[2]), [Some(2), Some(0), Some(0), Some(2)], "{:?}", writes[2]);

    // A change by setsockopt is told by that name.
    let own = socket2::TcpKeepalive::new().with_retries(7);
    deaf.client.set_tcp_keepalive(&own).context("TCP_KEEPCNT")?;
    let via = |event: &Event| event.kind == "settings" && event.via.as_deref() == Some("setsockopt");
    tracer.wait_for_some_of(&deaf.connection, "the change", LIMIT, via, 1)?;
    let via = |event: &Event| event.kind == "settings" && event.via.as_deref() == Some("sysctl") && event.time_s == Some(1);
    tracer.wait_for_some_of(&pair.connection, "the pick-up", LIMIT, via, 1)?;
    let told = scene.told(&pair.connection);
    let pick_up = told.iter().rfind(|event| via(event)).context("no pick-up")?;
    assert_eq!((pick_up.by_pid, pick_up.by_comm.as_deref()), (Some(admin.pid()), Some("admin")), "{pick_up:?}");
    drop((pair, deaf));
    scene.hold()
}

/// In either mode: something has happened on it, so what follows is told.
pub fn what_was_told_of_before_tells_each_change(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let mut admin = Actor::enter("admin", &scene.stage.netns)?;
    admin.sysctl(TIME, 1)?;
    admin.sysctl(INTVL, 1)?;
    let plan = lab::pair::Plan::new(Family::V6).keepalive_with(socket2::TcpKeepalive::new());
    let pair = scene.stage.connect(&plan)?;
    scene.begins(&pair.connection, &["probe 1/9 sent"])?;
    admin.sysctl(TIME, 3)?;
    let tracer = bench.tracer()?;
    let written = |event: &&Event| event.is_in(scene.stage.netns.id()) && event.kind == "sysctl";
    tracer.wait_for("the writes", LIMIT, |events| events.iter().filter(written).count() >= 3)?;
    let events = scene.everything();
    let writes: Vec<&Event> = events.iter().filter(written).collect();
    is(writes[2], TIME, (1, 3), &scene.stage.netns, (admin.pid(), "admin"));
    assert_eq!(counts(writes[2]), [Some(0), Some(1), Some(0), Some(1)], "{:?}", writes[2]);

    lab::sockopt::set(&pair.client, lab::sockopt::KEEPCNT, 7)?;
    let settings = |event: &Event| event.kind == "settings";
    tracer.wait_for_some_of(&pair.connection, "the change and the pick-up", LIMIT, settings, 2)?;
    let told: Vec<Event> = scene.told(&pair.connection).into_iter().filter(settings).collect();
    let vias: Vec<_> = told.iter().map(|event| (event.gist(), event.via.clone().unwrap_or_default(), event.by_pid)).collect();
    let by = |gist: &str, via: &str, pid| (gist.to_owned(), via.to_owned(), Some(pid));
    let ours = std::process::id();
    assert_eq!(vias, [by("settings on 3/1/7", "setsockopt", ours), by("settings on 3/1/7", "sysctl", admin.pid())], "{told:?}");
    scene.stage.capture.wait_for_probes(&pair.connection, 2, LIMIT)?;
    drop(pair);
    scene.hold()
}
