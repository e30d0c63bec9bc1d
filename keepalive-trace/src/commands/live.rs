//! What runs live: attach, stream until told to stop, detach, sum up.
use std::{env, process::ExitCode};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    time,
};

use crate::{
    cli::{FilterArgs, KernelArgs, OutputArgs},
    kernel::{
        cgroups::Cgroups,
        facts,
        filters::Filters,
        layout,
        probes::{Options, Probes},
        record::Reader,
        stream::{Flow, Stream},
    },
    model::{
        event::{Attach, Body, Event, Start},
        ledger::Ledger,
        report::{Report, Run},
        state::State,
        tracker::Tracker,
        worst,
    },
    output::{self, Look, Printer},
};

/// What to trace, and what to show of it.
pub(super) struct Session<'a> {
    /// For the greeting: what is traced.
    pub subject: &'a str,
    pub args: &'a FilterArgs,
    pub filters: Filters,
    pub output: &'a OutputArgs,
    pub kernel: &'a KernelArgs,
    pub exact_replies: bool,
    pub max_connections: usize,
    /// Which events are shown.
    pub shows: &'a dyn Fn(&Event) -> bool,
    /// What is shown first, once everything is attached.
    pub opening: &'a dyn Fn(&mut Probes) -> Result<Vec<Event>>,
    /// Sum up the histories at the end: only the worst, or all.
    pub histories: Option<bool>,
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
            ring_bytes: self.kernel.buffer,
            listed: &State::CONNECTIONS,
            exact_replies: self.exact_replies,
            log: verbose,
        };
        let mut probes = Probes::start(self.kernel.attach(), &options)?;
        let mut logger = verbose.then(|| probes.logger()).transpose()?;
        let mut stream = Stream::open(&mut probes, Reader { hz, reasons: layout.reset_reasons, cgroups: Cgroups::mounted() })?;

        let mut tracker = Tracker::new(hz, self.max_connections, self.args.owners());
        let mut live = Live {
            screen: Printer::new(&Look { reports: self.histories.is_some(), ..self.output.look() }),
            shows: self.shows,
            limit: self.output.count,
            shown: 0,
            ledger: Ledger::default(),
        };
        self.greet(hz, probes.attach);
        let start = start(hz, Some(probes.attach));
        live.screen.show(&start)?;
        for event in (self.opening)(&mut probes)? {
            live.screen.show(&event)?;
        }
        live.screen.flush()?;

        let deadline = self.output.duration.map(|duration| time::Instant::now() + duration);
        let mut flow = stream.begin(&mut probes, &mut tracker, &self.filters.netns, |event| live.show(event))?;
        while flow == Flow::More {
            live.screen.flush()?;
            if let Some(logger) = &mut logger {
                logger.flush();
            }
            tokio::select! {
                biased;
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                () = sleep_until(deadline) => break,
                waited = stream.wait(tracker.next_settling()) => waited?,
            }
            flow = stream.drain(&mut probes, &mut tracker, |event| live.show(event))?;
        }

        // Out of the kernel first; then what had been seen is still told, and nothing can be lost unseen.
        stream.detach(&mut probes)?;
        stream.drain(&mut probes, &mut tracker, |event| live.show(event))?;
        stream.finish(&mut tracker, |event| live.show(event))?;
        stream.log();
        let mono_ns = facts::mono_ns();
        live.screen.show(&Event { mono_ns, body: Body::Stop(live.ledger.stop(live.shown)) })?;
        if let (Some(all), Event { mono_ns: started_ns, body: Body::Start(start) }) = (self.histories, start) {
            let limit = if all { usize::MAX } else { worst::FEW };
            let run = Run { start, started_ns, ledger: live.ledger, gaps: Vec::new() };
            live.screen.report(&Report::of(run, tracker.histories(), all, limit))?;
        }
        live.screen.flush()
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

/// What is shown of the stream, and how much of it.
struct Live<'a> {
    screen: Printer,
    shows: &'a dyn Fn(&Event) -> bool,
    limit: Option<u64>,
    shown: u64,
    /// Of all that there was, shown or not.
    ledger: Ledger,
}

impl Live<'_> {
    fn show(&mut self, event: &Event) -> Result<Flow> {
        self.ledger.note(event);
        let full = |shown| self.limit.is_some_and(|limit| shown >= limit);
        if (self.shows)(event) && !full(self.shown) {
            self.screen.show(event)?;
            self.shown += 1;
        }
        Ok(if full(self.shown) { Flow::Enough } else { Flow::More })
    }
}

/// The first event of a run.
pub(super) fn start(hz: u32, attach: Option<Attach>) -> Event {
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
    Event { mono_ns: facts::mono_ns(), body: Body::Start(start) }
}

async fn sleep_until(deadline: Option<time::Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
