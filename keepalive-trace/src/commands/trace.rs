//! `trace`: the live stream, from the probes to the screen.
use std::{env, process::ExitCode};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    time,
};

use crate::{
    cli::TraceArgs,
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
        tracker::Tracker,
    },
    output::{self, Printer},
};

pub fn run(args: &TraceArgs) -> Result<ExitCode> {
    output::log_to_stderr(args.kernel.verbose);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    match runtime.block_on(trace(args)) {
        Err(error) if output::is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

async fn trace(args: &TraceArgs) -> Result<()> {
    // Before anything is attached, so that a Ctrl-C at once finds somebody who cleans up.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;

    let filters = Filters::resolve(&args.filters.selection())?;
    let hz = facts::hz()?;
    let layout = layout::of_running_kernel()?;
    let verbose = args.kernel.verbose >= 2;
    let options =
        Options { hz, layout: &layout, filters: &filters, ring_bytes: args.kernel.buffer, exact_replies: args.rtt, log: verbose };
    let mut probes = Probes::start(args.kernel.attach(), &options)?;
    let mut logger = verbose.then(|| probes.logger()).transpose()?;
    let mut stream = Stream::open(&mut probes, Reader { hz, reasons: layout.reset_reasons, cgroups: Cgroups::mounted() })?;

    let mut tracker = Tracker::new(hz, args.max_connections as usize, args.filters.owners());
    let mut live = Live { screen: Printer::new(&args.output.look()), all: args.all, limit: args.output.count, shown: 0 };
    let start = start(hz, &probes);
    if args.kernel.attach().is_none() && start.attach == Attach::Fentry {
        output::note("note: this kernel has no kprobes: using fentry on the same functions");
    }
    output::greet(&format!("Tracing TCP keepalive on Linux {} with {}. Ctrl-C ends it.", start.kernel, start.attach.name()));
    log::info!("attached with {} on {}, HZ={hz}", start.attach.name(), start.kernel);
    live.screen.show(&Event { mono_ns: facts::mono_ns(), body: Body::Start(start) })?;
    live.screen.flush()?;

    let deadline = args.output.duration.map(|duration| time::Instant::now() + duration);
    let mut flow = stream.begin(&mut probes, &mut tracker, &filters.netns, |event| live.show(event))?;
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
    live.screen.show(&Event { mono_ns: facts::mono_ns(), body: Body::Stop(tracker.stop(live.shown)) })?;
    live.screen.sum_up(tracker.histories(), args.histories)?;
    live.screen.flush()
}

/// What is shown of the stream, and how much of it.
struct Live {
    screen: Printer,
    all: bool,
    limit: Option<u64>,
    shown: u64,
}

impl Live {
    fn show(&mut self, event: &Event) -> Result<Flow> {
        // Connections that open, and runs of the timer that sent nothing, are for `--all`.
        let wanted = self.all || !matches!(event.body, Body::Timer(..) | Body::Open(..));
        let full = |shown| self.limit.is_some_and(|limit| shown >= limit);
        if wanted && !full(self.shown) {
            self.screen.show(event)?;
            self.shown += 1;
        }
        Ok(if full(self.shown) { Flow::Enough } else { Flow::More })
    }
}

fn start(hz: u32, probes: &Probes) -> Start {
    Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: facts::host(),
        kernel: facts::kernel_release(),
        hz,
        attach: probes.attach,
        cmdline: env::args().collect::<Vec<_>>().join(" "),
        sysctls: facts::sysctls(),
        wall_offset_ns: facts::wall_offset_ns(),
    }
}

async fn sleep_until(deadline: Option<time::Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
