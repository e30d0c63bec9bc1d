//! `report`: what became of the connections of recordings.
use std::process::ExitCode;

use anyhow::Result;

use super::recorded::Recorded;
use crate::{
    cli::ReportArgs,
    model::{book::Book, report::Report, worst},
    output::{self, Look, Printer},
    recording::{Rest, Wanted},
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
    let report = read(&recorded, all, limit)?;
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
        let Rest { gaps, stopped_ns } = recorded.read(run, Wanted::Histories, |event| {
            book.note(event);
            Ok(())
        })?;
        book.end(gaps, stopped_ns);
    }
    Ok(book.report())
}
