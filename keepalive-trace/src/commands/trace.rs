//! `trace`: the live stream, from the probes to the screen.
use std::process::ExitCode;

use anyhow::Result;

use super::live::Session;
use crate::{cli::TraceArgs, kernel::filters::Filters, output, recording::Plan};

pub fn run(args: &TraceArgs) -> Result<ExitCode> {
    output::log_to_stderr(args.kernel.verbose);
    Session {
        subject: "TCP keepalive",
        args: &args.filters,
        filters: Filters::resolve(&args.filters.selection())?,
        look: Some(args.output.look()),
        duration: args.output.duration,
        count: args.output.count,
        kernel: &args.kernel,
        exact_replies: args.rtt,
        http: args.http,
        // The kernel side knows no owners, and counts by none.
        quiet: !args.all && !args.http && args.filters.owners().wants(None),
        max_connections: args.max_connections as usize,
        shows: &|event| args.output.shows(args.all, &event.body),
        opening: &|_| Ok(Vec::new()),
        histories: Some(args.histories),
        record: args.record.as_ref().map(|path| Plan { path: Some(path.clone()), overwrite: args.force, rotation: None }),
        report: args.report.as_deref().map(|path| (path, args.force)),
    }
    .run()
}
