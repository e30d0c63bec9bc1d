//! What a listing of many connections costs: ours, and that of `ss`, of the same sockets in the same boot.
use std::{ffi::OsStr, fs, process::Command, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use lab::tracer::binary;

use crate::{
    beat::{self, Beats, Turn},
    cost::{self, Cost},
    crowd::{self, Crowd},
    figure::figure,
    kernel::subject::{Ready, Subject},
};

const SS: &str = "/bin/ss";
const BUSYBOX: &str = "/bin/busybox";
/// Measurements of each listing, of which the middle one counts.
const RUNS: usize = 3;
/// Of these it is measured what the network has to wait for, too.
const BEATEN: [&[&str]; 2] = [&["-tno"], &["sockets"]];
/// Clearing a large page of memory, for whoever touches it first, is a matter of microseconds, but here each of its bytes counts as
/// an instruction: two million in one go, beside which nothing else would be seen.
const LARGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
/// What a run that lists nothing is compared to.
const NOTHING: Duration = Duration::from_secs(1);

/// One way to list sockets.
struct Listing {
    name: String,
    program: &'static OsStr,
    arguments: &'static [&'static str],
    /// What it must list, to count as a listing.
    least: usize,
}

impl Listing {
    fn new(program: &'static OsStr, arguments: &'static [&'static str], least: usize) -> Self {
        let file = program.to_string_lossy();
        let name = format!("{} {}", file.rsplit('/').next().unwrap_or_default(), arguments.join(" "));
        Self { name, program, arguments, least }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(self.arguments);
        command
    }

    fn count(&self) -> Result<usize> {
        let listed = cost::addresses(&mut self.command())?;
        ensure!(listed >= self.least, "void: `{}` lists {listed} of {} sockets", self.name, self.least);
        Ok(listed)
    }
}

/// What is known of a listing when it is measured.
struct Measured {
    listing: Listing,
    listed: usize,
    cost: Cost,
    /// How far the others of its runs are from the middle one.
    spread: f64,
}

pub fn run() -> Result<()> {
    // What the tracer does of itself when it starts, and then what it does more for existing sockets.
    let alone = start_of_trace()?;
    let crowd = Crowd::gather()?;
    let snapshot = start_of_trace()?.saturating_sub(alone);
    println!("`trace` takes {:.1} M instructions for the sockets that exist when it starts", millions(snapshot));
    figure("snapshot", "M", millions(snapshot));
    let (sockets, holders) = (crowd::SOCKETS, crowd::HOLDERS);
    println!("{} established connections have {sockets} sockets here, which {holders} processes hold", sockets / 2);
    println!("{}, which asks by {}", cost::said(Command::new(SS).arg("-V"))?, way()?);
    let ours: &'static OsStr = Box::leak(binary().into_boxed_os_str());
    let [ss, busybox] = [SS, BUSYBOX].map(OsStr::new);
    let all = crowd::SOCKETS;
    let listings = [
        Listing::new(ss, &["-tno"], all),
        Listing::new(ss, &["-tnop"], all),
        Listing::new(busybox, &["cat", "/proc/net/tcp"], 0),
        Listing::new(ours, &["sockets"], all),
        Listing::new(ours, &["sockets", "--json"], all),
        Listing::new(ours, &["sockets", "--lint"], 0),
        Listing::new(busybox, &["true"], 0),
    ];
    let measured = listings.into_iter().map(measure).collect::<Result<Vec<_>>>()?;
    report(&measured)?;
    beats(&measured)?;
    drop(crowd);
    Ok(())
}

/// The CPU time of `trace` until it has listed all sockets and is at rest. A first run warms up.
fn start_of_trace() -> Result<Duration> {
    let subject = Subject::new("trace", binary(), &["trace", "-v"], Ready::Stderr("attached"));
    let once = || {
        let running = subject.start()?;
        let cpu = running.cpu_since(Duration::ZERO)?;
        running.stop_well()?;
        anyhow::Ok(cpu)
    };
    once()?;
    once()
}

/// How `ss` comes to know sockets. Where it finds no /proc, it has nothing but netlink.
fn way() -> Result<&'static str> {
    let hidden = format!("mount -t tmpfs tmpfs /proc && exec {SS} -tno");
    let listed = cost::addresses(Command::new(BUSYBOX).args(["unshare", "-m", "sh", "-c", &hidden]))?;
    ensure!(listed >= crowd::SOCKETS, "void: ss does not use netlink here: without /proc it lists {listed} sockets");
    Ok("netlink: without /proc it lists as many")
}

fn measure(listing: Listing) -> Result<Measured> {
    // The counted run warms up, too.
    let listed = listing.count()?;
    let mut costs = (0..RUNS).map(|_| cost::run(&mut listing.command())).collect::<Result<Vec<_>>>()?;
    costs.sort_by_key(|cost| cost.cpu);
    let (Some(least), Some(&cost), Some(most)) = (costs.first(), costs.get(RUNS / 2), costs.last()) else {
        bail!("nothing was measured");
    };
    let spread = ratio(cost.cpu, least.cpu).max(ratio(most.cpu, cost.cpu)) - 1.0;
    Ok(Measured { listing, listed, cost, spread })
}

fn report(all: &[Measured]) -> Result<()> {
    let [base, owners, ..] = all else { bail!("nothing was measured") };
    println!(
        "{:<30} {:>12} {:>9} {:>6} {:>10} {:>8} {:>9} {:>11} {:>8} {:>8}",
        "", "instructions", "user part", "spread", "until done", "ss -tno", "ss -tnop", "peak memory", "sockets", "a socket"
    );
    for Measured { listing, listed, cost, spread } in all {
        let each = cost.cpu.as_nanos().checked_div(*listed as u128).map_or("-".to_owned(), |each| each.to_string());
        println!(
            "{:<30} {:>10.1} M {:>7.0} % {:>4.1} % {:>8.1} M {:>8.3} {:>9.3} {:>8.1} MB {:>8} {:>8}",
            listing.name,
            millions(cost.cpu),
            100.0 * ratio(cost.user, cost.cpu),
            100.0 * spread,
            millions(cost.elapsed),
            ratio(cost.cpu, base.cost.cpu),
            ratio(cost.cpu, owners.cost.cpu),
            cost.peak as f64 / 1e6,
            listed,
            each
        );
    }
    println!(
        "the middle of {RUNS} runs, printing to /dev/null; ratios are of instructions to those of `ss`, which shows no settings, and without -p \
         no owners; `busybox true` shows the least that can be measured so; the user part is sampled by the kernel's clock"
    );
    Ok(())
}

/// What the network has to wait for while somebody lists its sockets.
fn beats(all: &[Measured]) -> Result<()> {
    println!(
        "{:<30} {:>13} {:>13} {:>7} {:>13} {:>13} {:>7} {:>7}",
        "a round trip, instructions", "first, median", "largest", "ratio", "fair, median", "largest", "ratio", "beats"
    );
    fs::write(LARGE_PAGES, "never").with_context(|| format!("cannot write {LARGE_PAGES}"))?;
    let beaten = || all.iter().filter(|measured| BEATEN.contains(&measured.listing.arguments));
    let longest = beaten().map(|measured| measured.cost.elapsed).max().context("nothing was measured")?;
    let nothing = both(|| {
        sleep(NOTHING);
        Ok(())
    })?;
    let mut busy = Command::new(std::env::current_exe().context("the bench's own path")?);
    busy.args([beat::BUSY, &longest.as_nanos().to_string()]);
    let busy = both(|| cost::run(&mut busy).map(drop))?;
    line("nothing else", &nothing, &busy);
    line("a busy loop, as the longest", &busy, &busy);
    for Measured { listing, .. } in beaten() {
        let beats = both(|| cost::run(&mut listing.command()).map(drop))?;
        line(&listing.name, &beats, &busy);
    }
    println!(
        "the middle of {RUNS} runs, without large pages; one CPU; first: the beat has real-time priority, so that it waits only while the kernel can't switch away from the other; fair: it \
         also waits for its turn on the CPU, as beside any busy program; ratios are of the largest, to the busy loop's"
    );
    Ok(())
}

fn both(mut work: impl FnMut() -> Result<()>) -> Result<[Beats; 2]> {
    Ok([middle(Turn::First, &mut work)?, middle(Turn::Fair, &mut work)?])
}

/// Of some runs, the one whose largest is in the middle.
fn middle(turn: Turn, mut work: impl FnMut() -> Result<()>) -> Result<Beats> {
    let mut runs = (0..RUNS).map(|_| beat::during(turn, &mut work)).collect::<Result<Vec<_>>>()?;
    runs.sort_by_key(|beats| beats.largest);
    Ok(runs.swap_remove(RUNS / 2))
}

fn line(name: &str, [first, fair]: &[Beats; 2], [busy_first, busy_fair]: &[Beats; 2]) {
    println!(
        "{name:<30} {:>13} {:>13} {:>7.2} {:>13} {:>13} {:>7.2} {:>7}",
        first.median.as_nanos(),
        first.largest.as_nanos(),
        ratio(first.largest, busy_first.largest),
        fair.median.as_nanos(),
        fair.largest.as_nanos(),
        ratio(fair.largest, busy_fair.largest),
        first.count.min(fair.count),
    );
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn millions(instructions: Duration) -> f64 {
    instructions.as_nanos() as f64 / 1e6
}
