//! The probes: loaded, attached, and gone again however the tool ends, since the kernel drops them with our descriptors.
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{FEntry, FExit, KProbe, Program, ProgramError, fentry::FEntryLink, fexit::FExitLink, kprobe::KProbeLink},
};
use aya_log::EbpfLogger;
use keepalive_trace_ebpf::Config;
use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, setrlimit},
};
use zerocopy::IntoBytes as _;

use super::{facts, filters::Filters, hits::Hits, layout::Layout};
use crate::model::event::Attach;

/// Built by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/keepalive-trace-ebpf"));

/// Where kprobes can be asked for: absent where the kernel has none.
const KPROBE_PMU: &str = "/sys/bus/event_source/devices/kprobe/type";

/// aya-log's levels: nothing, and all up to debug.
const LOG_OFF: u8 = 0;
const LOG_DEBUG: u8 = 4;

/// Program, function. Exits come before entries, so that no entry is left waiting for an exit that nobody sees.
const KPROBES: [(&str, &str); 5] = [
    ("keepalive_timer_kretprobe", "tcp_keepalive_timer"),
    ("write_wakeup_kretprobe", "tcp_write_wakeup"),
    ("write_wakeup_kprobe", "tcp_write_wakeup"),
    ("time_wait_kprobe", "tcp_time_wait"),
    ("keepalive_timer_kprobe", "tcp_keepalive_timer"),
];
const FENTRIES: [(&str, &str); 5] = [
    ("keepalive_timer_fexit", "tcp_keepalive_timer"),
    ("write_wakeup_fexit", "tcp_write_wakeup"),
    ("write_wakeup_fentry", "tcp_write_wakeup"),
    ("time_wait_fentry", "tcp_time_wait"),
    ("keepalive_timer_fentry", "tcp_keepalive_timer"),
];

/// The functions whose entries make events.
const EVENT_SOURCES: [&str; 2] = ["tcp_keepalive_timer", "tcp_send_active_reset"];

/// The program for `tcp_send_active_reset`: by how the kernel is hooked, and by where its reason is.
fn active_reset(attach: Attach, reason_arg: Option<u32>) -> (&'static str, &'static str) {
    let program = match (attach, reason_arg) {
        (Attach::Kprobe, Some(2)) => "active_reset_arg2_kprobe",
        (Attach::Kprobe, _) => "active_reset_kprobe",
        (Attach::Fentry, Some(2)) => "active_reset_arg2_fentry",
        (Attach::Fentry, _) => "active_reset_fentry",
    };
    (program, "tcp_send_active_reset")
}

/// What a load needs to know.
#[derive(Debug)]
pub struct Options<'a> {
    pub hz: u32,
    pub layout: &'a Layout,
    pub filters: &'a Filters,
    pub ring_bytes: u32,
    /// Have the kernel side log every step.
    pub log: bool,
}

/// Attached probes. Dropping them detaches.
pub struct Probes {
    pub ebpf: Ebpf,
    pub attach: Attach,
    /// Counters of the calls of the functions that events come from, where the kernel does not count what it skips.
    pub hits: Vec<Hits>,
    links: Vec<Link>,
}

/// Held for its drop.
#[derive(Debug)]
#[expect(dead_code, reason = "a link is kept for what its drop does")]
enum Link {
    KProbe(KProbeLink),
    FEntry(FEntryLink),
    FExit(FExitLink),
}

impl Probes {
    /// Loads and attaches in the way chosen; with none chosen, kprobes, and fentry where the kernel has none.
    ///
    /// # Errors
    /// One sentence: what the kernel refused, and the way out.
    pub fn start(choice: Option<Attach>, options: &Options<'_>) -> Result<Self> {
        match choice {
            Some(attach) => Self::attach(attach, options),
            None if has_kprobes() => Self::attach(Attach::Kprobe, options),
            None => Self::attach(Attach::Fentry, options).context("this kernel has no kprobes, and fentry failed too"),
        }
    }

    fn attach(attach: Attach, options: &Options<'_>) -> Result<Self> {
        if attach == Attach::Kprobe && !has_kprobes() {
            bail!("this kernel has no kprobes (CONFIG_KPROBES is off: {KPROBE_PMU} is missing); try --attach fentry");
        }
        // Before 5.11 maps are charged to this limit. Where we may not raise it, the map's own error tells.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);

        let config =
            Config { hz: options.hz, has_reason: u32::from(options.layout.reason_arg.is_some()), filters: options.filters.bits };
        let log_level = if options.log { LOG_DEBUG } else { LOG_OFF };
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("OFFSETS", options.layout.offsets.as_bytes(), true)
            .override_global("CONFIG", config.as_bytes(), true)
            .override_global(aya_log::LEVEL, &log_level, false)
            .map_max_entries("RING", options.ring_bytes)
            .load(OBJECT)
            .map_err(|error| explain(errno(&error), anyhow!(error), "load the eBPF maps"))?;
        options.filters.install(&mut ebpf)?;

        let mut probes = Self { ebpf, attach, hits: Vec::new(), links: Vec::new() };
        let reset = active_reset(attach, options.layout.reason_arg);
        match attach {
            Attach::Kprobe => {
                probes.attach_kprobes(reset)?;
                if !options.layout.counts_skipped_kprobes {
                    probes.hits = EVENT_SOURCES.into_iter().map(Hits::of).collect::<Result<_>>()?;
                }
            }
            Attach::Fentry => probes.attach_fentries(reset)?,
        }
        Ok(probes)
    }

    fn attach_kprobes(&mut self, reset: (&str, &str)) -> Result<()> {
        for (name, function) in [reset].into_iter().chain(KPROBES) {
            let program: &mut KProbe = self.program(name)?.try_into()?;
            let attached = program.load().and_then(|()| program.attach(function, 0)).and_then(|id| program.take_link(id));
            let link = attached.map_err(|error| refused(error, "kprobe", function))?;
            self.links.push(Link::KProbe(link));
        }
        Ok(())
    }

    fn attach_fentries(&mut self, reset: (&str, &str)) -> Result<()> {
        let btf = Btf::from_sys_fs().context("cannot read the kernel's BTF, which fentry needs")?;
        for (name, function) in [reset].into_iter().chain(FENTRIES) {
            let link = match self.program(name)? {
                Program::FEntry(program) => attach_fentry(program, function, &btf).map(Link::FEntry),
                Program::FExit(program) => attach_fexit(program, function, &btf).map(Link::FExit),
                _ => bail!("the program {name} is of another kind"),
            };
            self.links.push(link.map_err(|error| refused(error, "fentry", function))?);
        }
        Ok(())
    }

    fn program(&mut self, name: &str) -> Result<&mut Program> {
        self.ebpf.program_mut(name).with_context(|| format!("the program {name} is missing"))
    }

    /// Takes the probes out of the kernel, entries first; what they had seen stays readable.
    pub fn detach(&mut self) {
        while self.links.pop().is_some() {}
    }

    /// Passes on what the kernel side logs, to this process's logger.
    ///
    /// # Errors
    /// When the log's map is missing.
    pub fn logger(&mut self) -> Result<EbpfLogger<&'static dyn log::Log>> {
        EbpfLogger::init(&mut self.ebpf).context("cannot read the kernel side's log")
    }
}

fn attach_fentry(program: &mut FEntry, function: &str, btf: &Btf) -> Result<FEntryLink, ProgramError> {
    program.load(function, btf)?;
    let id = program.attach()?;
    program.take_link(id)
}

fn attach_fexit(program: &mut FExit, function: &str, btf: &Btf) -> Result<FExitLink, ProgramError> {
    program.load(function, btf)?;
    let id = program.attach()?;
    program.take_link(id)
}

/// Whether this kernel has kprobes at all.
pub fn has_kprobes() -> bool {
    Path::new(KPROBE_PMU).exists()
}

fn refused(error: ProgramError, how: &str, function: &str) -> anyhow::Error {
    let errno = errno(&error);
    let what = format!("hook {function} with {how}");
    // The verifier's log is for -v; one sentence is for everybody.
    let error = match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            log::info!("the verifier on {function}: {verifier_log}");
            anyhow!("the kernel refused the program: {io_error}")
        }
        error => anyhow!(error),
    };
    match errno {
        Some(Errno::EPERM) => explain(errno, error, &what),
        _ => {
            let other = if how == "kprobe" { "fentry" } else { "kprobe" };
            error.context(format!("cannot {what} (try --attach {other}; `keepalive-trace check` says more)"))
        }
    }
}

/// Puts the way out in front of an error of the kernel's.
fn explain(errno: Option<Errno>, error: anyhow::Error, what: &str) -> anyhow::Error {
    match errno {
        Some(Errno::EPERM) if facts::missing_capabilities().is_empty() => error.context(format!(
            "cannot {what}: this kernel refuses it even with every privilege (lockdown, or the policy of a container or security module)"
        )),
        Some(Errno::EPERM) => anyhow!(
            "no permission to {what}: run it as root (sudo), or give it CAP_BPF and CAP_PERFMON (CAP_SYS_ADMIN before 5.8); `keepalive-trace check` says more"
        ),
        Some(Errno::ENOMEM) => error.context(format!("no memory to {what}: a smaller --buffer needs less")),
        _ => error.context(format!("cannot {what}")),
    }
}

/// The errno at the bottom of an error.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(number) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
            return Some(Errno::from_raw(number));
        }
        cause = error.source();
    }
    None
}
