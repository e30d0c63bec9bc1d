//! The command line: clap's types, and how each value is read.
use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::{
    model::{
        event::{Attach, Body},
        owner::{Comm, Owners},
        selection::{PortRange, Selection},
        tracker,
    },
    output::{Colors, Look},
};

mod recorded;
mod values;

pub use recorded::{ChoiceArgs, ExportArgs, Format, RecordArgs, ReplayArgs, ReportArgs};
use values::{duration, idle_limit, network, ring_bytes, sockets_help};

/// Shows what Linux TCP keepalive does on every connection, live: probes, answers, settings in force, and who ended it.
#[derive(Debug, Parser)]
#[command(name = "keepalive-trace", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    trace: TraceArgs,
}

impl Cli {
    /// The command; with none, `trace`.
    pub fn chosen(self) -> Command {
        self.command.unwrap_or_else(|| Command::Trace(Box::new(self.trace)))
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stream events live, one line each, until Ctrl-C
    #[command(after_help = "Example: sudo keepalive-trace trace -D 5432,6379 --all")]
    Trace(Box<TraceArgs>),
    /// List every TCP socket with the keepalive settings in force, when its timer will really fire, and what is wrong with it
    #[command(
        after_help = sockets_help()
    )]
    Sockets(Box<SocketsArgs>),
    /// Show every network namespace's keepalive sysctls, then who writes them and which connections follow when
    #[command(
        after_help = "Example: sudo keepalive-trace sysctl -D 5432\nNothing is ever written by this tool. Filters choose the connections that are counted and followed."
    )]
    Sysctl(Box<SysctlArgs>),
    /// Write all events to a recording, until Ctrl-C
    #[command(
        after_help = "Example: sudo keepalive-trace record -o trace.arrows --rotate 64MB,1d --keep 20\nThe recording is an Arrow IPC stream that any Arrow reader reads; `report`, `replay` and `export` need no privileges."
    )]
    Record(Box<RecordArgs>),
    /// Tell from recordings what became of every connection, the worst first
    #[command(
        after_help = "Example: keepalive-trace report *.arrows --verdict keepalive-timeout,user-timeout --since 10:00 --html report.html"
    )]
    Report(Box<ReportArgs>),
    /// Show recordings as `trace` shows what happens live
    #[command(after_help = "Example: keepalive-trace replay trace.arrows -D 5432 --all --speed 10")]
    Replay(Box<ReplayArgs>),
    /// Write recordings as Parquet, CSV, JSON lines or Arrow, for the tools that you have
    #[command(after_help = "Example: keepalive-trace export *.arrows --histories -o histories.parquet")]
    Export(Box<ExportArgs>),
    /// Say what this kernel and these privileges allow, one line per need, with the remedy
    #[command(after_help = "Example: keepalive-trace check\nExit code 1 when `trace` cannot work here.")]
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub struct TraceArgs {
    #[command(flatten)]
    pub filters: FilterArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Report every connection from its opening to its end, and runs of the keepalive timer that sent nothing; without it, connections
    /// on which nothing happens are only counted
    #[arg(long, help_heading = "Tracing")]
    pub all: bool,
    /// Time the answers to probes as they come: takes a look at every ACK; otherwise they are told when the timer runs next
    #[arg(long, help_heading = "Tracing")]
    pub rtt: bool,
    /// Watch plaintext HTTP/1: what servers promise of idle connections, and who hangs up; takes a look at every packet
    #[arg(long, help_heading = "Tracing")]
    pub http: bool,
    /// At the end show every history, not only the worst
    #[arg(long, help_heading = "Tracing")]
    pub histories: bool,
    /// Record all events into this file too, shown or not: see `record`
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Write the report that ends the run into this file too; with --json there is no other
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Overwrite these files where they exist
    #[arg(long, help_heading = "Output")]
    pub force: bool,
    /// Keep so many histories, some 250 bytes each; past that the one that ended longest ago is forgotten, else the longest idle
    #[arg(long, help_heading = "Tracing", value_name = "N", default_value_t = tracker::CAPACITY as u32, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
}

#[derive(Debug, Args)]
pub struct SocketsArgs {
    #[command(flatten)]
    pub filters: FilterArgs,
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Show wide columns, and every detail: namespace, cookie, cgroup
    #[arg(short = 'w', long, help_heading = "Output")]
    pub wide: bool,
    /// One JSON object a line
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// When to use colours
    #[arg(long, help_heading = "Output", value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// What comes first
    #[arg(long, help_heading = "Output", value_name = "KEY", default_value = "local")]
    pub sort: Sort,
    /// Listeners too: what they are set to, their connections take over
    #[arg(short = 'l', long, help_heading = "Listing")]
    pub listen: bool,
    /// Keep only sockets with a finding, and say what cures it
    #[arg(long, help_heading = "Findings")]
    pub lint: bool,
    /// Exit with 1 where there is a finding
    #[arg(long, help_heading = "Findings", requires = "lint")]
    pub fail: bool,
    /// Find sockets whose first probe can come after a middlebox has dropped the idle connection: after so long (seconds, or
    /// like 350s, 4m), or after the limit of one that is known by name
    #[arg(long, help_heading = "Findings", value_name = "TIME|NAME", value_parser = idle_limit)]
    pub idle_limit: Option<Duration>,
    /// Find sockets on which a dead peer can go unnoticed for longer than this
    #[arg(long, help_heading = "Findings", value_name = "TIME", value_parser = duration)]
    pub detect_within: Option<Duration>,
    /// Say more on standard error
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Args)]
pub struct SysctlArgs {
    #[command(flatten)]
    pub filters: FilterArgs,
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Print the present values, and end
    #[arg(long, help_heading = "Tracing")]
    pub once: bool,
    /// Follow so many connections, some 250 bytes each
    #[arg(long, help_heading = "Tracing", value_name = "N", default_value_t = tracker::CAPACITY as u32, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
}

/// Which network namespaces are looked into.
#[derive(Debug, Args)]
pub struct ScopeArgs {
    /// Look into all network namespaces; off: only into the one that this command runs in
    #[arg(long, help_heading = "Filters", value_name = "WHICH", default_value = "on", conflicts_with = "netns")]
    pub all_netns: Switch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// By what sockets are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Namespace, local address and port
    Local,
    /// Namespace, remote address and port
    Remote,
    /// The owner's pid
    Pid,
    /// Longest idle first
    Idle,
    /// Whose keepalive timer fires next first
    Timer,
    /// On which a dead peer goes unnoticed longest first
    Detect,
    /// Most unanswered probes first
    Probes,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Which connections: decided in the kernel, but for their owners, whom it doesn't know.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Only connections that this process holds; several with commas
    #[arg(short = 'p', long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Only connections that a process of this name holds; several with commas
    #[arg(long = "comm", value_name = "NAME", value_delimiter = ',')]
    pub comms: Vec<String>,
    /// Only these local ports: a list of ports and ranges
    #[arg(short = 'L', long = "localport", value_name = "PORTS", value_delimiter = ',')]
    pub local_ports: Vec<PortRange>,
    /// Only these remote ports: a list of ports and ranges
    #[arg(short = 'D', long = "remoteport", value_name = "PORTS", value_delimiter = ',')]
    pub remote_ports: Vec<PortRange>,
    /// Only this local address or CIDR block; several with commas
    #[arg(short = 'a', long = "laddr", value_name = "ADDR", value_delimiter = ',', value_parser = network)]
    pub local_addresses: Vec<IpNet>,
    /// Only this remote address or CIDR block; several with commas
    #[arg(short = 'A', long = "raddr", value_name = "ADDR", value_delimiter = ',', value_parser = network)]
    pub remote_addresses: Vec<IpNet>,
    /// Only IPv4 sockets
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6 sockets
    #[arg(short = '6', long = "ipv6")]
    pub ipv6: bool,
    /// Only this network namespace: its inode, a path like /proc/PID/ns/net, or a name of `ip netns`; may be repeated
    #[arg(long, value_name = "NETNS")]
    pub netns: Vec<String>,
    /// Only sockets of this cgroup v2 and those below it: a path in or below /sys/fs/cgroup; may be repeated
    #[arg(long, value_name = "PATH")]
    pub cgroup: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Show wall-clock time
    #[arg(short = 'T', long, conflicts_with = "timestamp")]
    pub time: bool,
    /// Show seconds since the start (the default)
    #[arg(short = 't', long)]
    pub timestamp: bool,
    /// Wide columns, and every detail: settings in force and their origin, namespace, state, ids
    #[arg(short = 'w', long)]
    pub wide: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Stop after so long: seconds, or like 90s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Stop after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Kernel")]
pub struct KernelArgs {
    /// How to hook the kernel's functions; auto: kprobes, and fentry where the kernel has none
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub attach: AttachChoice,
    /// Bytes of the ring buffer between kernel and tool: a power of two, 4096 at least; default: 4194304, or 16777216
    /// with --all, --http or a filter by owner, where every connection makes events
    #[arg(long, value_name = "BYTES", value_parser = ring_bytes)]
    pub buffer: Option<u32>,
    /// Say more on standard error; twice: also what the kernel side logs
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl FilterArgs {
    pub fn selection(&self) -> Selection {
        let Self { pids: _, comms: _, local_ports, remote_ports, local_addresses, remote_addresses, ipv4, ipv6, netns, cgroup } =
            self;
        Selection {
            local_ports: local_ports.clone(),
            remote_ports: remote_ports.clone(),
            local_addresses: local_addresses.clone(),
            remote_addresses: remote_addresses.clone(),
            ipv4: *ipv4,
            ipv6: *ipv6,
            netns: netns.clone(),
            cgroups: cgroup.clone(),
        }
    }
}

impl FilterArgs {
    pub fn owners(&self) -> Owners {
        Owners { pids: self.pids.clone(), comms: self.comms.iter().map(|comm| Comm::from(comm.as_str())).collect() }
    }
}

impl OutputArgs {
    /// Whether an event is a line. A program that reads the lines learns first how a connection began.
    pub fn shows(&self, all: bool, body: &Body) -> bool {
        all || !body.is_detail() || self.json && matches!(body, Body::Open(..))
    }

    pub fn look(&self) -> Look {
        Look { json: self.json, wide: self.wide, reports: false, wall_clock: self.time, colors: self.color.into() }
    }
}

impl From<Color> for Colors {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

impl KernelArgs {
    /// Bytes of the ring, where connections make events only when something happens on them, or always.
    pub fn ring_bytes(&self, quiet: bool) -> u32 {
        self.buffer.unwrap_or(if quiet { 4 << 20 } else { 16 << 20 })
    }

    /// The way to attach; none: whichever works.
    pub fn attach(&self) -> Option<Attach> {
        match self.attach {
            AttachChoice::Auto => None,
            AttachChoice::Kprobe => Some(Attach::Kprobe),
            AttachChoice::Fentry => Some(Attach::Fentry),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttachChoice {
    Auto,
    Kprobe,
    Fentry,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
