//! `report`: what became of the connections of recordings.
use std::{
    fs,
    io::{self, BufWriter, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use super::recorded::Recorded;
use crate::{
    cli::ReportArgs,
    model::{book::Book, report::Report, worst},
    output::{self, Look, Printer},
    recording::{self, Rest},
};

/// Histories on a page, unless somebody wants more.
const PAGE: usize = 10_000;

pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    output::log_to_stderr(args.verbose);
    match tell(args) {
        Err(error) if output::is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn tell(args: &ReportArgs) -> Result<()> {
    let recorded = Recorded::open(&args.files, &args.choice)?;
    let all = args.histories || args.json || args.html.is_some();
    let limit = args.limit.unwrap_or(match (all, &args.html) {
        (_, Some(_)) => PAGE,
        (true, None) => usize::MAX,
        (false, None) => worst::FEW,
    });
    if let Some(path) = &args.html {
        recorded.spares(path)?;
    }
    let page = args.html.as_ref().map(|path| recording::create(path, args.force)).transpose()?;
    let report = read(&recorded, all, limit)?;
    if let (Some(page), Some(path)) = (page, &args.html) {
        let mut out = BufWriter::new(page);
        let written = output::page(&report, &mut out).and_then(|()| out.flush().context("cannot write the page"));
        if written.is_err() {
            // Half a page is none.
            drop(fs::remove_file(path));
        }
        return written.and_then(|()| recorded.end());
    }
    if args.json {
        let mut out = BufWriter::new(io::stdout().lock());
        output::report_json(&report, &mut out)?;
        out.flush().context("cannot write to standard output")?;
        return recorded.end();
    }
    let look = Look { json: false, wide: false, reports: true, wall_clock: !args.timestamp, colors: args.color.into() };
    let mut printer = Printer::new(&look);
    printer.report(&report)?;
    printer.flush()?;
    recorded.end()
}

/// Everything, as it is told in the end.
fn read(recorded: &Recorded, all: bool, limit: usize) -> Result<Report> {
    let mut book = Book::new(recorded.choice.clone(), all, limit);
    for run in &recorded.set.runs {
        book.begin(run.header.start.clone(), run.header.started_ns);
        let Rest { gaps, stopped_ns } = recorded.read_into(run, &mut book)?;
        book.end(gaps, stopped_ns);
    }
    Ok(book.report())
}
