//! The command line, as types.
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Sets up, builds, tests and shows keepalive-trace")]
pub struct Cli {
    #[command(subcommand)]
    pub task: Task,
}

#[derive(Subcommand)]
pub enum Task {
    /// Bring what building and testing need: rust-src, bpf-linker, QEMU, busybox, kernels; pyarrow, DuckDB and ClickHouse, Chromium,
    /// tshark, and servers and clients of HTTP
    Setup(SetupOptions),
    /// Build the static release binary into target/dist
    Build,
    /// Show the tracer at work on real connections, here or in a virtual machine
    Demo(DemoOptions),
    /// Run every check: format, lints, unit tests, and the live tests on every kernel
    Test(TestOptions),
    /// Measure what the tracer costs, and compare it to the goals: a crowd of connections, connections that come and go, a listing
    /// of many sockets, HTTP, and a recording of many events
    Bench(BenchOptions),
    /// Run a command in a virtual machine that has keepalive-trace, scenes and live in /bin
    Vm(VmOptions),
    /// Shrink a kernel's BTF to a test fixture: only what the tracer looks up
    Fixture(FixtureOptions),
}

#[derive(Args)]
pub struct SetupOptions {
    /// Only these kernel series (5.10, 6.1, 6.12, 6.18, or 7.x for the newest 7); may be repeated
    #[arg(long = "kernel", value_name = "SERIES", value_parser = series)]
    pub kernels: Vec<String>,
    /// Only what building needs: no QEMU, no kernels, no tools of the tests
    #[arg(long)]
    pub no_vm: bool,
    /// Look for newer kernels than the cached ones
    #[arg(long)]
    pub refresh: bool,
}

#[derive(Args)]
pub struct DemoOptions {
    /// Show it in a virtual machine even where this machine's kernel can trace
    #[arg(long)]
    pub vm: bool,
    /// The kernel series to boot
    #[arg(long, value_name = "SERIES", value_parser = series)]
    pub kernel: Option<String>,
}

#[derive(Args)]
pub struct TestOptions {
    /// Live tests only on these kernel series; may be repeated
    #[arg(long = "kernel", value_name = "SERIES", value_parser = series, conflicts_with = "no_vm")]
    pub kernels: Vec<String>,
    /// No virtual machines: leave the live tests out
    #[arg(long)]
    pub no_vm: bool,
    /// Skip to the live tests
    #[arg(long, conflicts_with = "no_vm")]
    pub live: bool,
    /// Handed to the live tests: a name to filter by, or libtest's flags
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

#[derive(Args)]
pub struct BenchOptions {
    /// What to measure
    #[arg(long, value_enum, default_value_t = Bench::All)]
    pub what: Bench,
    /// The kernel series to boot; may be repeated. Default: 6.1 and 7.x for `kernel`, 6.1 for the others
    #[arg(long = "kernel", value_name = "SERIES", value_parser = series)]
    pub kernels: Vec<String>,
    /// Write the figures into docs/performance.md, README.md and tests/bench, and keep goals that are now met as met
    #[arg(long)]
    pub write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// The tracker's memory and time for a million connections, here
    Crowd,
    /// What the tracer costs the machine that it watches, beside other tracers, in a virtual machine that counts instructions
    Kernel,
    /// Whether events are lost at 100,000 a second, in such a machine
    Flood,
    /// The room that a recording of idle connections takes, in such a machine
    Idle,
    /// What a listing of 100,000 sockets costs, beside that of ss, in such a machine
    Sockets,
    /// Requests a second through nginx with and without the tracer, with --http, and beside tcpdump, in such a machine
    Http,
    /// What a recording of ten million events costs to write, to report and to export, beside tshark on a capture of the same, here
    Report,
    All,
}

#[derive(Args)]
pub struct VmOptions {
    /// The kernel series to boot
    #[arg(long, value_name = "SERIES", value_parser = series, default_value = "7.x")]
    pub kernel: String,
    /// Let the guest's clock follow the real one, instead of jumping over every wait
    #[arg(long)]
    pub real: bool,
    /// Put a file of this machine into the guest; may be repeated
    #[arg(long = "file", value_name = "HOST=GUEST")]
    pub files: Vec<String>,
    /// Put the servers and clients of HTTP into the guest that the live tests talk to: nginx, Apache, Node.js, Python, curl, Caddy, hey
    #[arg(long)]
    pub servers: bool,
    /// Build nothing, and boot with only the given files
    #[arg(long)]
    pub bare: bool,
    /// The seconds after which the machine is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub limit: u64,
    /// What to run in the guest
    #[arg(last = true, value_name = "COMMAND", required = true)]
    pub command: Vec<String>,
}

#[derive(Args)]
pub struct FixtureOptions {
    /// Raw BTF, such as a guest's /sys/kernel/btf/vmlinux
    pub vmlinux_btf: PathBuf,
    /// Where the fixture goes
    pub out: PathBuf,
}

/// `6.1`, or `7.x` for the newest 7
fn series(text: &str) -> Result<String, String> {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((major, minor)) if number(major) && (minor == "x" || number(minor)) => Ok(text.to_owned()),
        _ => Err("a series is two numbers, as in 6.1, or 7.x for the newest 7".to_owned()),
    }
}
