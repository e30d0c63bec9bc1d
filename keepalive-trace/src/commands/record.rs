//! `record`: the live stream, onto the disk.
use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};

use super::live::Session;
use crate::{cli::RecordArgs, kernel::filters::Filters, output, recording::Plan};

pub fn run(args: &RecordArgs) -> Result<ExitCode> {
    output::log_to_stderr(args.kernel.verbose);
    let to_stdout = args.output == Path::new("-");
    if to_stdout && output::is_terminal() {
        bail!("a recording is no text for a terminal: give -o a file, or send standard output to one");
    }
    if to_stdout && args.rotation().is_some() {
        bail!("standard output can't be rotated: give -o a file");
    }
    let path = (!to_stdout).then(|| args.output.clone());
    Session {
        subject: "TCP keepalive",
        args: &args.filters,
        filters: Filters::resolve(&args.filters.selection())?,
        look: None,
        duration: args.duration,
        count: args.count,
        kernel: &args.kernel,
        exact_replies: args.rtt,
        http: args.http,
        // The kernel side knows no owners, and counts by none.
        quiet: !args.all && !args.http && args.filters.owners().wants(None),
        max_connections: args.max_connections as usize,
        shows: &|_| true,
        opening: &|_| Ok(Vec::new()),
        histories: None,
        record: Some(Plan { path, overwrite: args.force, rotation: args.rotation() }),
        report: None,
    }
    .run()
}
