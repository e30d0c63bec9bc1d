//! What each event costs on its way out: as text, as JSON, and in a recording. Nothing here needs a kernel that traces.
//!
//! `bench sinks FORMAT PASSES` makes up the same events each time and writes them PASSES times. The difference between the
//! instructions of two runs with different numbers of passes, divided by the events, is the cost of one event:
//! `valgrind --tool=callgrind bench sinks json 3 > /dev/null`.
use std::io;

use anyhow::{Context as _, Result, bail};
use keepalive_trace::{
    model::event::Event,
    output::{Colors, Look, Printer},
    recording::Writer,
};
use lab::fleet::{self, Generator, Plan};

/// Events of one pass.
const EVENTS: u64 = 64_000;
const CONNECTIONS: u32 = 6_000;

/// Writes the same events this many times: text and JSON to standard output, a recording to nowhere.
pub fn run(format: &str, passes: u32) -> Result<()> {
    let plan = Plan { seed: 1, host: "bench".to_owned(), connections: CONNECTIONS, events: EVENTS, hostile: false };
    let header = fleet::header(&plan);
    let events: Vec<Event> = Generator::new(plan).collect();
    let look = |json| Look { json, wide: false, reports: false, wall_clock: false, colors: Colors::Never };
    match format {
        "text" | "json" => {
            let mut printer = Printer::new(&look(format == "json"));
            for _ in 0..passes {
                events.iter().try_for_each(|event| printer.show(event))?;
            }
            printer.flush()
        }
        "record" => {
            let mut writer = Writer::begin(io::sink(), &header)?;
            for _ in 0..passes {
                events.iter().try_for_each(|event| writer.add(event).map(drop))?;
            }
            writer.finish(None).map(drop).map_err(|(_, error)| error).context("cannot write the recording")
        }
        _ => bail!("the format is text, json or record, not {format}"),
    }
}
