//! Runs that the kernel itself skips: it runs no kprobe program while BPF is busy on that CPU.
use std::{fs::File, io::Write as _, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    clock,
    detour::Detour,
    event::Event,
    hammer::Hammer,
    netns::Netns,
    pair::{Family, Pair, Plan},
    sysctl,
    tracer::Attach,
};
use socket2::TcpKeepalive;

use crate::bench::{Bench, LIMIT, tests};

tests![what_the_kernel_skips_is_counted, the_last_probes_on_a_cpu_are_counted_when_they_are_missed];

/// Connections that probe at every tick of the clock while the map is being changed.
const CONNECTIONS: usize = 20;
const STRIKES: u32 = 50_000;

fn what_the_kernel_skips_is_counted(bench: &Bench) -> Result<()> {
    let netns = Netns::new()?;
    let plan = Plan::new(Family::V4).keepalive_with(TcpKeepalive::new());
    // SO_KEEPALIVE is set before anything ticks: a tick in the middle of a process's kprobe is missed by all others, and
    // nobody counts it.
    let clients = netns.enter(|| (0..CONNECTIONS).map(|_| plan.client_socket()).collect::<Result<Vec<_>>>())?;
    let inode = netns.inode().to_string();
    let tracer = bench.only_tracer(&["--netns", &inode])?;
    let hammer = Hammer::new()?;
    let before = netns.counters()?;
    // With two of them at 0 a probe goes out at every tick, answered or not; the peer answers only twice a second, so the third
    // must not be small.
    for (name, value) in [("time", "0"), ("intvl", "0"), ("probes", "255")] {
        netns.sysctl(&format!("tcp_keepalive_{name}"), value)?;
    }
    let pairs = clients.into_iter().map(|client| plan.connect_from(&netns, client)).collect::<Result<Vec<Pair>>>()?;
    hammer.strike(STRIKES)?;
    netns.sysctl("tcp_keepalive_time", "7200")?;
    sleep(Duration::from_secs(1));
    let probes = u64::try_from(netns.counters()?.since(&before, "TCPKeepAlive")?)?;
    let finished = tracer.stop()?;
    drop(pairs);

    let seen = finished.events.iter().filter(|event| event.kind == "probe").count() as u64;
    let lost = finished.lost();
    assert!(probes > 1000, "only {probes} probes were provoked");
    match bench.attach.chosen() {
        // Trampolines do not care how busy BPF is.
        Attach::Fentry => assert_eq!((seen, lost), (probes, 0)),
        Attach::Kprobe | Attach::Auto => {
            // Newer kernels count programs, on the whole machine: a run with a probe has four, and one without a probe has two.
            let unseen = probes.checked_sub(seen).context("more probes seen than sent")?;
            let by_programs =
                lost.checked_sub(4 * unseen).is_some_and(|others| others.is_multiple_of(2) && others <= CONNECTIONS as u64);
            assert!(lost == unseen || by_programs, "{probes} probes, {seen} seen, {lost} counted as lost");
            assert!(unseen > 0, "nothing was skipped: BPF was not busy enough");
        }
    }
    Ok(())
}

/// How often a detour is taken: for some ticks of the clock.
const DETOURS: u32 = 400;

/// A probe that comes after those that are missed shows how many there were. Here none does.
fn the_last_probes_on_a_cpu_are_counted_when_they_are_missed(bench: &Bench) -> Result<()> {
    /// A tick may fall between two detours, and all that it fires is seen.
    const TRIES: usize = 5;
    let netns = Netns::new()?;
    let plan = Plan::new(Family::V4).keepalive_with(TcpKeepalive::new());
    let clients = netns.enter(|| (0..CONNECTIONS).map(|_| plan.client_socket()).collect::<Result<Vec<_>>>())?;
    let inode = netns.inode().to_string();
    let tracer = bench.only_tracer(&["--netns", &inode])?;
    let detour = Detour::new()?;
    let before = netns.counters()?;
    let count = || -> Result<u64> { Ok(u64::try_from(netns.counters()?.since(&before, "TCPKeepAlive")?)?) };
    let seen = |events: &[Event], from| events.iter().filter(|event| event.kind == "probe" && event.at() >= from).count() as u64;
    for (name, value) in [("intvl", "0"), ("probes", "255")] {
        netns.sysctl(&format!("tcp_keepalive_{name}"), value)?;
    }
    let pairs = clients.into_iter().map(|client| plan.connect_from(&netns, client)).collect::<Result<Vec<Pair>>>()?;

    let mut missed = false;
    for _ in 0..TRIES {
        // From now on a probe goes out at every tick.
        netns.sysctl("tcp_keepalive_time", "0")?;
        for client in pairs.iter().map(|pair| &pair.client) {
            client.set_keepalive(false)?;
            client.set_keepalive(true)?;
        }
        let now = clock::now();
        tracer.wait_for("probes that are seen", LIMIT, |events| seen(events, now) > 10 * CONNECTIONS as u64)?;
        let mut time = netns.enter(|| Ok(File::options().write(true).open(sysctl::path("tcp_keepalive_time"))?))?;
        let (sent, now) = (count()?, clock::now());
        detour.take(DETOURS);
        time.write_all(b"7200")?;
        detour.take(DETOURS);
        sleep(Duration::from_secs(1));
        missed = count()? > sent && seen(&tracer.events(), now) == 0;
        if missed || bench.attach.chosen() == Attach::Fentry {
            break;
        }
    }
    let probes = count()?;
    let finished = tracer.stop()?;
    drop(pairs);

    let seen = finished.events.iter().filter(|event| event.kind == "probe").count() as u64;
    let lost = finished.lost();
    match bench.attach.chosen() {
        Attach::Fentry => assert_eq!((seen, lost), (probes, 0)),
        Attach::Kprobe | Attach::Auto => {
            assert!(missed, "the last probes were seen in each of {TRIES} tries");
            assert_eq!(seen + lost, probes, "{seen} seen, {lost} counted as lost");
        }
    }
    Ok(())
}
