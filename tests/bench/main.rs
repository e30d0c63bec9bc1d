//! What the tracer costs, measured from outside, in a machine whose clock counts instructions.
//!
//! `bench kernel` is about connections that come and go under this tracer and others, `bench flood` about the records that are lost,
//! `bench idle` about recordings in which little happens, `bench sockets` about a listing of many connections, `bench http` about requests through nginx. `bench report FOLDER
//! TRACER [TSHARK]` is about a recording of many events, on any machine. `bench sinks FORMAT PASSES` is the work that callgrind counts per
//! event of text, JSON and recordings, `bench churn FORMAT CONNECTIONS` the whole way of records. The others are parts that this program gives to copies of itself.
#![expect(clippy::print_stdout, reason = "a benchmark reports to whoever started it")]

mod beat;
mod churn;
mod cost;
mod crowd;
mod figure;
mod http;
mod kernel;
mod report;
mod sinks;
mod sockets;

use std::{env, path::Path, process::ExitCode};

use anyhow::{Result, bail, ensure};
use lab::mounts;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["kernel"] => mounts::all().and_then(|()| kernel::run()),
        ["flood"] => mounts::all().and_then(|()| kernel::flood::run()),
        ["idle"] => mounts::all().and_then(|()| kernel::idle::run()),
        ["http"] => mounts::all().and_then(|()| http::run()),
        ["sockets"] => mounts::all().and_then(|()| sockets::run()),
        ["report", folder, tracer, ref rest @ ..] if rest.len() < 2 => {
            let fine = report::run(Path::new(folder), Path::new(tracer), rest.first().map(Path::new))?;
            ensure!(fine, "a goal of memory was missed");
            Ok(())
        }
        ["churn", format, connections] => churn::run(format, connections.parse()?),
        ["sinks", format, passes] => sinks::run(format, passes.parse()?),
        [report::WRITE, folder] => report::write(Path::new(folder)),
        [crowd::PART, place, pairs] => crowd::hold(place.parse()?, pairs.parse()?),
        [beat::BUSY, instructions] => beat::be_busy(instructions.parse()?),
        _ => bail!("usage: bench kernel|flood|idle|sockets|http|report|sinks|churn, not {words:?}"),
    }
}
