//! `export`: recordings, as tables for the tools that are there already.
use std::{
    fs,
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use super::recorded::Recorded;
use crate::{
    cli::{ExportArgs, Format},
    model::{
        book::Book,
        event::{Body, Event},
        ledger::Ledger,
    },
    output::{self, JsonLines},
    recording::{self, Events, Rest, Table},
};

pub fn run(args: &ExportArgs) -> Result<ExitCode> {
    output::log_to_stderr(args.verbose);
    let to_stdout = args.output == Path::new("-");
    let format = format(args, to_stdout)?;
    let recorded = Recorded::open(&args.files, &args.choice)?;
    if to_stdout {
        let recorded = recorded.without_bar();
        if output::is_terminal() && matches!(format, Format::Parquet | Format::Arrows) {
            bail!("a table is no text for a terminal: give -o a file, or send standard output to one");
        }
        return match write(args, &recorded, format, io::stdout()) {
            Err(error) if output::is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
            result => result.and_then(|()| recorded.end()).map(|()| ExitCode::SUCCESS),
        };
    }
    recorded.spares(&args.output)?;
    let file = recording::create(&args.output, args.force)?;
    if let Err(error) = write(args, &recorded, format, file) {
        // Half a table is none.
        drop(fs::remove_file(&args.output));
        return Err(error);
    }
    recorded.end().map(|()| ExitCode::SUCCESS)
}

fn format(args: &ExportArgs, to_stdout: bool) -> Result<Format> {
    if let Some(format) = args.format {
        return Ok(format);
    }
    let ending = args.output.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending {
        _ if to_stdout => bail!("as what? Say --format parquet, csv, jsonl or arrows"),
        "parquet" => Ok(Format::Parquet),
        "csv" => Ok(Format::Csv),
        "jsonl" | "ndjson" => Ok(Format::Jsonl),
        "arrows" => Ok(Format::Arrows),
        _ => bail!(
            "`{}` doesn't say as what: let it end in .parquet, .csv, .jsonl or .arrows, or say --format",
            args.output.display()
        ),
    }
}

fn write(args: &ExportArgs, recorded: &Recorded, format: Format, out: impl Write + Send) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 18, out);
    let table = match format {
        Format::Jsonl => None,
        Format::Parquet => Some(recording::Format::Parquet),
        Format::Csv => Some(recording::Format::Csv),
        Format::Arrows => Some(recording::Format::Arrows),
    };
    match (table, args.histories) {
        (None, false) => event_lines(recorded, &mut out)?,
        (None, true) => {
            let report = book(recorded)?;
            output::history_lines(&report, &mut out)?;
        }
        (Some(format), false) => events(recorded, Table::of_events(&mut out, format, output::harmless_cell)?)?,
        (Some(format), true) => {
            let report = book(recorded)?;
            let mut table = Table::of_histories(&mut out, format, output::harmless_cell)?;
            recording::write_histories(&report.histories, &report.runs, &mut table)?;
            table.finish()?;
        }
    }
    out.flush().context("cannot write the export")
}

/// All histories that were chosen.
fn book(recorded: &Recorded) -> Result<crate::model::report::Report> {
    let mut book = Book::new(recorded.choice.clone(), true, usize::MAX);
    for run in &recorded.set.runs {
        book.begin(run.header.start.clone(), run.header.started_ns);
        let Rest { gaps, stopped_ns } = recorded.read_into(run, &mut book)?;
        gaps.iter().for_each(|gap| output::note(&format!("note: {}", output::report::gap(gap))));
        book.end(gaps, stopped_ns);
    }
    Ok(book.report())
}

fn events<W: Write + Send>(recorded: &Recorded, mut table: Table<W>) -> Result<()> {
    each_run(recorded, |run, read| {
        let mut events = Events::of(&run.header);
        read(&mut |event| events.add(event, &mut table))?;
        events.flush(&mut table)
    })?;
    table.finish()
}

fn event_lines(recorded: &Recorded, out: &mut impl Write) -> Result<()> {
    each_run(recorded, |run, read| {
        let mut lines = JsonLines::default();
        let (start, started_ns) = (run.header.start.clone(), run.header.started_ns);
        lines.write(&Event { mono_ns: started_ns, body: Body::Start(start) }, out)?;
        let mut ledger = Ledger::default();
        read(&mut |event| {
            ledger.note(event);
            lines.write(event, out)
        })?;
        lines.write(&Event { mono_ns: ledger.last_ns.max(started_ns), body: Body::Stop(ledger.stop(ledger.events)) }, out)
    })
}

/// Gives each run that was chosen to `write`, with a way to read the events that were chosen; and says what is missing.
fn each_run(
    recorded: &Recorded,
    mut write: impl FnMut(&recording::Recording, &mut dyn FnMut(&mut dyn FnMut(&Event) -> Result<()>) -> Result<()>) -> Result<()>,
) -> Result<()> {
    for run in recorded.set.runs.iter().filter(|run| recorded.choice.host(&run.header.start.host)) {
        let offset = run.header.start.wall_offset_ns;
        write(run, &mut |sink| {
            let Rest { gaps, stopped_ns: _ } =
                recorded.read(run, |event| if recorded.choice.event(event, offset) { sink(event) } else { Ok(()) })?;
            gaps.iter().for_each(|gap| output::note(&format!("note: {}", output::report::gap(gap))));
            Ok(())
        })?;
    }
    Ok(())
}
