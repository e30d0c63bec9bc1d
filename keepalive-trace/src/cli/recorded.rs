//! The command line of recordings: making them, and all that is made of them.
use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    Color, FilterArgs, KernelArgs, OutputArgs,
    values::{Limit, conn, duration, moment, rotation, speed, verdict, verdicts},
};
use crate::{
    model::{
        choice::Choice,
        event::{ConnId, Family},
        tracker,
        verdict::Verdict,
    },
    recording::Rotation,
};

#[derive(Debug, Args)]
pub struct RecordArgs {
    #[command(flatten)]
    pub filters: FilterArgs,
    /// The recording; `-` is standard output
    #[arg(short = 'o', long, help_heading = "Output", value_name = "FILE")]
    pub output: PathBuf,
    /// Overwrite the file where it exists
    #[arg(long, help_heading = "Output", conflicts_with = "rotate")]
    pub force: bool,
    /// Begin another file past this size or age, numbered like trace-00001.arrows: like 64MB, 1h, or 64MB,1h
    #[arg(long, help_heading = "Output", value_name = "SIZE,TIME", value_parser = rotation, value_delimiter = ',')]
    pub rotate: Vec<Limit>,
    /// With --rotate: keep so many files, and remove the oldest
    #[arg(long, help_heading = "Output", value_name = "N", default_value = "20")]
    pub keep: NonZeroUsize,
    /// Stop after so long: seconds, or like 90s, 5m, 1h
    #[arg(long, help_heading = "Output", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Stop after so many events
    #[arg(long, help_heading = "Output", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Record every connection from its opening to its end; without it, connections on which nothing happens are only counted
    #[arg(long, help_heading = "Tracing")]
    pub all: bool,
    /// Time the answers to probes as they come: takes a look at every ACK; otherwise they are told when the timer runs next
    #[arg(long, help_heading = "Tracing")]
    pub rtt: bool,
    /// Watch plaintext HTTP/1: what servers promise of idle connections, and who hangs up; takes a look at every packet
    #[arg(long, help_heading = "Tracing")]
    pub http: bool,
    /// Follow so many connections at a time, some 250 bytes each
    #[arg(long, help_heading = "Tracing", value_name = "N", default_value_t = tracker::CAPACITY as u32, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Recordings, of one host or many, in any order
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Show wall-clock time (the default)
    #[arg(short = 'T', long, help_heading = "Output", conflicts_with = "timestamp")]
    pub time: bool,
    /// Show seconds since the run's start
    #[arg(short = 't', long, help_heading = "Output")]
    pub timestamp: bool,
    /// One history a line, as JSON, and a summary as the last line
    #[arg(long, help_heading = "Output", conflicts_with = "html")]
    pub json: bool,
    /// Write a page that needs nothing else: no network, no server, no script
    #[arg(long, help_heading = "Output", value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Overwrite the page where it exists
    #[arg(long, help_heading = "Output", requires = "html")]
    pub force: bool,
    /// Show every history, not only those in which something went wrong; JSON and the page always have them
    #[arg(long, help_heading = "Output")]
    pub histories: bool,
    /// Show at most so many histories: 10 unless all are asked for, 10000 on a page
    #[arg(long, help_heading = "Output", value_name = "N")]
    pub limit: Option<usize>,
    /// When to use colours
    #[arg(long, help_heading = "Output", value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Say more on standard error
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Recordings, of one host or many, in any order
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Also show connections as they open, and runs of the keepalive timer that sent nothing, and why
    #[arg(long, help_heading = "Output")]
    pub all: bool,
    /// At the end show every history, not only the worst
    #[arg(long, help_heading = "Output")]
    pub histories: bool,
    /// So many times as fast as it happened; without it, at once
    #[arg(long, help_heading = "Output", value_name = "N", value_parser = speed)]
    pub speed: Option<f64>,
    /// Say more on standard error
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Recordings, of one host or many, in any order
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What to write; `-` is standard output
    #[arg(short = 'o', long, help_heading = "Output", value_name = "OUT")]
    pub output: PathBuf,
    /// A row an event (the default)
    #[arg(long, help_heading = "Output", conflicts_with = "histories")]
    pub events: bool,
    /// A row a connection
    #[arg(long, help_heading = "Output")]
    pub histories: bool,
    /// As what; unless it is said, the ending of OUT says it
    #[arg(long, help_heading = "Output", value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Overwrite the file where it exists
    #[arg(long, help_heading = "Output")]
    pub force: bool,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Say more on standard error
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Parquet,
    Csv,
    /// JSON, one object a line
    Jsonl,
    /// An Arrow IPC stream
    Arrows,
}

/// Which of what was recorded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub struct ChoiceArgs {
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Only this connection, by its 16 hex digits; several with commas
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = conn)]
    pub conn: Vec<ConnId>,
    /// Only what was recorded on this host; several with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub host: Vec<String>,
    /// Only connections that ended like this, or `open`; several with commas
    #[arg(long, value_name = "VERDICT", value_delimiter = ',', value_parser = verdict, long_help = verdicts())]
    pub verdict: Vec<Option<Verdict>>,
    /// Only from this moment on: like 2026-01-31T10:00:00Z, \"2026-01-31 10:00\", 10:00, or 90m for so long ago
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub since: Option<i64>,
    /// Only up to this moment
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub until: Option<i64>,
}

impl ChoiceArgs {
    /// # Errors
    /// When a filter asks for what recordings don't know, with the way out.
    pub fn choice(&self) -> Result<Choice, String> {
        let Self { filters, conn, host, verdict, since, until } = self;
        let inode = |netns: &String| {
            netns.parse().map_err(|_| {
                format!(
                    "recordings know network namespaces by their inodes, and `{netns}` is none: see `ls -L -i /var/run/netns`"
                )
            })
        };
        let mut netns = Vec::new();
        for name in &filters.netns {
            netns.push(inode(name)?);
        }
        let cgroup = |path: &PathBuf| {
            let within = path.strip_prefix("/sys/fs/cgroup").unwrap_or(path);
            format!("/{}", within.to_string_lossy().trim_start_matches('/'))
        };
        Ok(Choice {
            connections: conn.clone(),
            owners: filters.owners(),
            local_ports: filters.local_ports.clone(),
            remote_ports: filters.remote_ports.clone(),
            local_addresses: filters.local_addresses.clone(),
            remote_addresses: filters.remote_addresses.clone(),
            family: match (filters.ipv4, filters.ipv6) {
                (true, _) => Some(Family::V4),
                (_, true) => Some(Family::V6),
                _ => None,
            },
            netns,
            cgroups: filters.cgroup.iter().map(cgroup).collect(),
            hosts: host.clone(),
            verdicts: verdict.clone(),
            since_ns: *since,
            until_ns: *until,
        })
    }
}

impl RecordArgs {
    /// When another file begins; none: never.
    pub fn rotation(&self) -> Option<Rotation> {
        let bytes = self.rotate.iter().find_map(|limit| match limit {
            Limit::Bytes(bytes) => Some(*bytes),
            Limit::Age(_) => None,
        });
        let age = self.rotate.iter().find_map(|limit| match limit {
            Limit::Bytes(_) => None,
            Limit::Age(age) => Some(*age),
        });
        (!self.rotate.is_empty()).then_some(Rotation { bytes, age, keep: self.keep.get() })
    }
}
