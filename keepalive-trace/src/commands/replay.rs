//! `replay`: recordings, as `trace` shows what happens live.
use std::{process::ExitCode, thread, time::Duration};

use anyhow::Result;

use super::recorded::Recorded;
use crate::{
    cli::ReplayArgs,
    model::{
        book::Book,
        event::{Body, Event},
        ledger::Ledger,
        worst,
    },
    output::{self, Look, Printer, report},
    recording::{Recording, Rest},
};

pub fn run(args: &ReplayArgs) -> Result<ExitCode> {
    output::log_to_stderr(args.verbose);
    match play(args) {
        Err(error) if output::is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn play(args: &ReplayArgs) -> Result<()> {
    let recorded = Recorded::open(&args.files, &args.choice)?.without_bar();
    let runs: Vec<&Recording> = recorded.set.runs.iter().filter(|run| recorded.choice.host(&run.header.start.host)).collect();
    for run in runs {
        play_run(args, &recorded, run)?;
    }
    recorded.end()
}

fn play_run(args: &ReplayArgs, recorded: &Recorded, run: &Recording) -> Result<()> {
    let start = &run.header.start;
    let look = Look { reports: true, ..args.output.look() };
    let mut screen = Printer::new(&look);
    screen.show(&Event { mono_ns: run.header.started_ns, body: Body::Start(start.clone()) })?;
    let limit = if args.histories { usize::MAX } else { worst::FEW };
    let mut book = Book::new(recorded.choice.clone(), args.histories, limit);
    book.begin(start.clone(), run.header.started_ns);
    let (mut ledger, mut shown, mut pace) = (Ledger::default(), 0, args.speed.map(Pace::new));
    let Rest { gaps, stopped_ns } = recorded.read(run, |event| {
        book.note(event);
        if !recorded.choice.event(event, start.wall_offset_ns) {
            return Ok(());
        }
        ledger.note(event);
        let room = args.output.count.is_none_or(|count| shown < count);
        if room && args.output.shows(args.all, &event.body) {
            if let Some(wait) = pace.as_mut().and_then(|pace| pace.until(event.mono_ns)) {
                screen.flush()?;
                thread::sleep(wait);
            }
            screen.show(event)?;
            shown += 1;
        }
        Ok(())
    })?;
    gaps.iter().for_each(|gap| output::note(&format!("note: {}", report::gap(gap))));
    book.end(gaps, stopped_ns);
    let mono_ns = stopped_ns.unwrap_or(ledger.last_ns).max(run.header.started_ns);
    screen.show(&Event { mono_ns, body: Body::Stop(ledger.stop(shown)) })?;
    screen.report(&book.report())?;
    screen.flush()
}

/// So many times as fast as it happened.
struct Pace {
    speed: f64,
    before_ns: Option<u64>,
}

impl Pace {
    fn new(speed: f64) -> Self {
        Self { speed, before_ns: None }
    }

    /// How long to wait before the event of this moment.
    fn until(&mut self, mono_ns: u64) -> Option<Duration> {
        let before = self.before_ns.replace(mono_ns)?;
        let wait = Duration::from_nanos(mono_ns.saturating_sub(before)).as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(wait).ok().filter(|wait| !wait.is_zero())
    }
}
