//! What runs live: attach, stream until told to stop, detach, sum up.
use std::{env, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    time,
};

use crate::{
    cli::{FilterArgs, KernelArgs},
    kernel::{
        cgroups::Cgroups,
        facts,
        filters::Filters,
        http as heads, layout,
        probes::{HttpRoom, Options, Probes},
        record::Reader,
        stream::{Flow, Stream},
    },
    model::{
        event::{Attach, Event, Start},
        state::State,
        tracker::Tracker,
    },
    output::{self, Look},
    recording::Plan,
};

mod sinks;

/// Of how many connections the kernel side keeps at most how they began: 128 MB.
const MOST_KEPT: u32 = 1 << 20;

use sinks::Sinks;

/// What to trace, and what to show of it.
pub(super) struct Session<'a> {
    /// For the greeting: what is traced.
    pub subject: &'a str,
    pub args: &'a FilterArgs,
    pub filters: Filters,
    /// How events are shown; none: not at all.
    pub look: Option<Look>,
    /// Stop after so long, and after so many events.
    pub duration: Option<Duration>,
    pub count: Option<u64>,
    pub kernel: &'a KernelArgs,
    pub exact_replies: bool,
    /// Watch HTTP.
    pub http: bool,
    /// A connection makes no event while nothing happens on it: its orderly end is only counted.
    pub quiet: bool,
    pub max_connections: usize,
    /// Which events are shown.
    pub shows: &'a dyn Fn(&Event) -> bool,
    /// What is shown first, once everything is attached.
    pub opening: &'a dyn Fn(&mut Probes) -> Result<Vec<Event>>,
    /// Sum up the histories at the end: only the worst, or all.
    pub histories: Option<bool>,
    pub record: Option<Plan>,
    /// Where the report goes, beside the screen, and whether what is there is overwritten.
    pub report: Option<(&'a Path, bool)>,
}

impl Session<'_> {
    /// Runs to its end; a reader who has gone is no error.
    pub fn run(&self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
        match runtime.block_on(self.trace()) {
            Err(error) if output::is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
            result => result.map(|()| ExitCode::SUCCESS),
        }
    }

    async fn trace(&self) -> Result<()> {
        // Before anything is attached, so that a Ctrl-C at once finds somebody who cleans up.
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;

        let hz = facts::hz()?;
        let layout = layout::of_running_kernel()?;
        let verbose = self.kernel.verbose >= 2;
        let options = Options {
            hz,
            layout: &layout,
            filters: &self.filters,
            ring_bytes: self.kernel.ring_bytes(self.quiet),
            listed: &State::CONNECTIONS,
            exact_replies: self.exact_replies,
            http: self.http.then(|| HttpRoom { bytes: self.kernel.ring_bytes(self.quiet), connections: self.connections() }),
            quiet: self.quiet,
            connections: u32::try_from(self.max_connections).unwrap_or(u32::MAX).min(MOST_KEPT),
            log: verbose,
        };
        let mut probes = Probes::start(self.kernel.attach(), &options)?;
        probes.without.iter().for_each(|without| log::warn!("{without}"));
        let mut logger = verbose.then(|| probes.logger()).transpose()?;
        let mut stream = Stream::open(&mut probes, Reader { hz, reasons: layout.reset_reasons, cgroups: Cgroups::mounted() })?;

        let mut tracker = Tracker::new(hz, self.max_connections, self.args.owners());
        if self.quiet {
            tracker.keep_quiet();
        }
        let look = self.look.map(|look| Look { reports: self.histories.is_some(), ..look });
        let mut sinks = Sinks::new(start(hz, Some(probes.attach)), look, self.shows, self.count)?;
        if let Some(plan) = &self.record {
            sinks.record(plan.clone())?;
        }
        if let Some((path, overwrite)) = self.report {
            sinks.report_to(path, overwrite)?;
        }
        self.greet(hz, probes.attach);
        for event in (self.opening)(&mut probes)? {
            sinks.print(&event)?;
        }
        sinks.flush()?;

        let deadline = self.duration.map(|duration| time::Instant::now() + duration);
        let mut flow = stream.begin(&mut probes, &mut tracker, &self.filters.netns, |event| sinks.take(event))?;
        while flow == Flow::More {
            sinks.flush()?;
            if let Some(logger) = &mut logger {
                logger.flush();
            }
            tokio::select! {
                biased;
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                () = sleep_until(deadline) => break,
                waited = stream.wait(sinks.due(tracker.next_settling())) => waited?,
            }
            flow = stream.drain(&mut probes, &mut tracker, |event| sinks.take(event))?;
            say_tls(&mut stream, &tracker)?;
        }

        stream.take_stock(&mut probes, &mut tracker, |event| sinks.take(event))?;
        // Out of the kernel first; then what had been seen is still told, and nothing can be lost unseen.
        stream.detach(&mut probes)?;
        stream.drain(&mut probes, &mut tracker, |event| sinks.take(event))?;
        say_tls(&mut stream, &tracker)?;
        stream.finish(&mut tracker, |event| sinks.take(event))?;
        stream.log();
        sinks.end(tracker.histories(), self.histories)
    }

    /// As many as there are histories, up to where a map of them would cost too much.
    fn connections(&self) -> u32 {
        u32::try_from(self.max_connections).unwrap_or(u32::MAX).min(heads::CONNECTIONS as u32)
    }

    fn greet(&self, hz: u32, attach: Attach) {
        if self.kernel.attach().is_none() && attach == Attach::Fentry {
            output::note("note: this kernel has no kprobes: using fentry on the same functions");
        }
        let (subject, kernel) = (self.subject, facts::kernel_release());
        output::greet(&format!("Tracing {subject} on Linux {kernel} with {}. Ctrl-C ends it.", attach.name()));
        log::info!("attached with {} on {kernel}, HZ={hz}", attach.name());
    }
}

/// What can't be read is said, and not passed over.
fn say_tls(stream: &mut Stream, tracker: &Tracker) -> Result<()> {
    if let Some(server) = stream.greeted(tracker)? {
        let port = server.port();
        output::note(&format!("note: port {port} speaks TLS: heads in it can't be read, here and wherever else it is spoken"));
    }
    Ok(())
}

/// When a run begins, and the facts that go with it.
pub(super) fn start(hz: u32, attach: Option<Attach>) -> (u64, Start) {
    let start = Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: facts::host(),
        kernel: facts::kernel_release(),
        hz,
        attach,
        cmdline: env::args().collect::<Vec<_>>().join(" "),
        sysctls: facts::sysctls(),
        wall_offset_ns: facts::wall_offset_ns(),
    };
    (facts::mono_ns(), start)
}

async fn sleep_until(deadline: Option<time::Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
