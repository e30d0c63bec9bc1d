//! Runs that the kernel itself skips: it runs no kprobe program while BPF is busy on that CPU.
use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    hammer::Hammer,
    netns::Netns,
    pair::{Family, Pair, Plan},
    tracer::Attach,
};
use socket2::TcpKeepalive;

use crate::bench::{Bench, tests};

tests![what_the_kernel_skips_is_counted];

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
            // Newer kernels count programs, of which a run with a probe has four.
            let unseen = probes.checked_sub(seen).context("more probes seen than sent")?;
            assert!(lost == unseen || lost == 4 * unseen, "{probes} probes, {seen} seen, {lost} counted as lost");
            assert!(unseen > 0, "nothing was skipped: BPF was not busy enough");
        }
    }
    Ok(())
}
