//! The probes: loaded, attached, and gone again however the tool ends, since the kernel drops them with our descriptors.
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{
        BtfTracePoint, FEntry, FExit, Iter, KProbe, Program, ProgramError, RawTracePoint, cgroup_skb::CgroupSkbLink,
        fentry::FEntryLink, fexit::FExitLink, iter::IterLink, kprobe::KProbeLink, raw_trace_point::RawTracePointLink,
        tp_btf::BtfTracePointLink,
    },
};
use aya_log::EbpfLogger;
use keepalive_trace_ebpf::Config;
use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
};
use zerocopy::IntoBytes as _;

use super::{
    facts,
    filters::Filters,
    hits::Hits,
    layout::{Layout, MORE_HOOKS},
};
use crate::model::{event::Attach, state::State};

mod hooks;
mod packets;

use hooks::{
    ACK_FENTRY, ACK_KPROBE, BORN, COUNTED, FENTRIES, Hook, KPROBES, SETSOCKOPT_FEXIT, SETSOCKOPT_KPROBES, TIMER_FENTRIES,
    TIMER_KPROBES, TRACEPOINTS, WALKERS, active_reset, timer_reset,
};

/// Built by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/keepalive-trace-ebpf"));

/// Where kprobes can be asked for: absent where the kernel has none.
const KPROBE_PMU: &str = "/sys/bus/event_source/devices/kprobe/type";

/// One page: what a ring must have.
const LEAST_RING: u32 = 4096;

/// Where the hooks remember things from one call to the next.
const TABLES: [&str; 6] = ["SLOTS", "PROBES", "ENDS", "CALLS", "WRITES", "WAITING"];

/// aya-log's levels: nothing, and all up to debug.
const LOG_OFF: u8 = 0;
const LOG_DEBUG: u8 = 4;

/// What a load needs to know.
#[derive(Debug)]
pub struct Options<'a> {
    pub hz: u32,
    pub layout: &'a Layout,
    pub filters: &'a Filters,
    pub ring_bytes: u32,
    /// Walks list sockets in these states.
    pub listed: &'a [State],
    /// See answers to probes as they come, which takes a look at every ACK.
    pub exact_replies: bool,
    /// Watch HTTP: takes a look at every packet.
    pub http: Option<HttpRoom>,
    /// A connection makes no record while nothing happens on it: its orderly end is only counted.
    pub quiet: bool,
    /// Of how many connections the kernel side keeps something in mind, beside those of its slots.
    pub connections: u32,
    /// Have the kernel side log every step.
    pub log: bool,
}

/// The room that HTTP gets.
#[derive(Clone, Copy, Debug)]
pub struct HttpRoom {
    /// Of the ring for heads.
    pub bytes: u32,
    /// Of which the kernel side keeps something in mind.
    pub connections: u32,
}

impl<'a> Options<'a> {
    /// For walks alone, which need no ring.
    pub fn to_walk(hz: u32, layout: &'a Layout, filters: &'a Filters, listed: &'a [State]) -> Self {
        Self {
            hz,
            layout,
            filters,
            ring_bytes: LEAST_RING,
            listed,
            exact_replies: false,
            http: None,
            quiet: false,
            connections: 1,
            log: false,
        }
    }
}

/// Attached probes. Dropping them detaches.
pub struct Probes {
    pub ebpf: Ebpf,
    pub attach: Attach,
    /// Counters of the calls of the functions that events come from, where the kernel does not count what it skips.
    pub hits: Vec<Hits>,
    /// Orderly ends are only counted.
    pub quiet: bool,
    /// What this run does without, and why.
    pub without: Option<String>,
    /// Those of [`WALKERS`] that this kernel can load.
    walkers: Vec<&'static str>,
    links: Vec<Link>,
}

/// Held for its drop.
#[derive(Debug)]
#[expect(dead_code, reason = "a link is kept for what its drop does")]
enum Link {
    KProbe(KProbeLink),
    FEntry(FEntryLink),
    FExit(FExitLink),
    RawTracePoint(RawTracePointLink),
    BtfTracePoint(BtfTracePointLink),
    CgroupSkb(CgroupSkbLink),
}

impl Probes {
    /// Loads and attaches in the way chosen; with none chosen, kprobes, and fentry where the kernel has none or keeps them from us.
    ///
    /// # Errors
    /// One sentence: what the kernel refused, and the way out.
    pub fn start(choice: Option<Attach>, options: &Options<'_>) -> Result<Self> {
        let started = match choice {
            Some(attach) => Self::attach(attach, options),
            None if has_kprobes() => Self::attach(Attach::Kprobe, options).or_else(|error| {
                if !are_kept_from_us(&error) {
                    return Err(error);
                }
                log::info!("{error:#}: fentry does without");
                Self::attach(Attach::Fentry, options)
            }),
            None => Self::attach(Attach::Fentry, options).context("this kernel has no kprobes, and fentry failed too"),
        };
        give_back();
        started
    }

    /// Loads what walks through the kernel's lists, and hooks nothing.
    ///
    /// # Errors
    /// One sentence: what the kernel refused, and the way out.
    pub fn walk_only(options: &Options<'_>) -> Result<Self> {
        Self::load(Attach::Kprobe, options, &options.layout.targets.to_btf()?, false)
    }

    /// The programs that walk are loaded, all others not yet.
    fn load(attach: Attach, options: &Options<'_>, btf: &Btf, hooked: bool) -> Result<Self> {
        // Before 5.11 maps are charged to this limit. Where we may not raise it, the map's own error tells.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);

        let config = Config {
            hz: options.hz,
            has_reason: u32::from(options.layout.reason_arg.is_some()),
            filters: options.filters.bits,
            exact_replies: options.exact_replies.into(),
            http: options.http.is_some().into(),
            quiet: options.quiet.into(),
            probes_is_int: options.layout.probes_is_int.into(),
            cgroup_is_word: options.layout.cgroup_is_word.into(),
            typed_task: options.layout.has_typed_task.into(),
            listed_states: options.listed.iter().fold(0, |bits, state| bits | 1_u32.wrapping_shl(state.0.into())),
        };
        let log_level = if options.log { LOG_DEBUG } else { LOG_OFF };
        let mut loader = loader();
        if !options.quiet {
            // Every end makes a record: none is counted.
            loader.map_max_entries("ENDS", 1);
        }
        if !hooked {
            // Where nothing is hooked, nothing is remembered either.
            TABLES.iter().for_each(|table| _ = loader.map_max_entries(table, 1));
        }
        let room = options.http.unwrap_or(HttpRoom { bytes: LEAST_RING, connections: 1 });
        let mut ebpf = loader
            .btf(None)
            .override_global("OFFSETS", options.layout.offsets.as_bytes(), true)
            .override_global("CONFIG", config.as_bytes(), true)
            .override_global(aya_log::LEVEL, &log_level, false)
            .map_max_entries("MOVED", options.connections)
            .map_max_entries("RING", options.ring_bytes)
            .map_max_entries("HEADS", room.bytes)
            .map_max_entries("FLOWS", room.connections)
            .load(OBJECT)
            .map_err(|error| explain(errno(&error), anyhow!(error), "load the eBPF maps"))?;
        options.filters.install(&mut ebpf)?;

        let mut probes =
            Self { ebpf, attach, quiet: options.quiet, hits: Vec::new(), without: None, walkers: Vec::new(), links: Vec::new() };
        probes.load_walkers(btf);
        Ok(probes)
    }

    fn attach(attach: Attach, options: &Options<'_>) -> Result<Self> {
        if attach == Attach::Kprobe && !has_kprobes() {
            bail!("this kernel has no kprobes (CONFIG_KPROBES is off: {KPROBE_PMU} is missing); try --attach fentry");
        }
        let btf = options.layout.targets.to_btf()?;
        let mut probes = Self::load(attach, options, &btf, true)?;
        let there = |(_, function): &Hook| options.layout.functions.contains(function) || !MORE_HOOKS.contains(function);
        let hooks = |all: &[Hook]| all.iter().copied().filter(there).collect::<Vec<_>>();
        let reason_arg = options.layout.reason_arg;
        let timer_reset = timer_reset(attach, reason_arg);
        probes.attach_tracepoints(&btf)?;
        if let Err(error) = probes.attach_fentries(&hooks(&FENTRIES), &btf) {
            log::info!("{error:#}: trying kprobes");
            probes.attach_kprobes(&hooks(&KPROBES))?;
            probes.attach_kprobes(&[active_reset(Attach::Kprobe, reason_arg)])?;
        } else {
            probes.attach_fentries(&[active_reset(Attach::Fentry, reason_arg)], &btf)?;
        }
        probes.attach_setsockopt(&btf);
        match attach {
            Attach::Kprobe => {
                probes.attach_kprobes(&[&[timer_reset], &TIMER_KPROBES[..]].concat())?;
                if options.exact_replies {
                    probes.attach_kprobes(&hooks(&[ACK_KPROBE]))?;
                }
                if !options.layout.counts_skipped_kprobes {
                    probes.hits = vec![Hits::of(COUNTED)?];
                }
            }
            Attach::Fentry => {
                probes.attach_fentries(&[&[timer_reset], &TIMER_FENTRIES[..]].concat(), &btf)?;
                if options.exact_replies {
                    probes.attach_fentries(&hooks(&[ACK_FENTRY]), &btf)?;
                }
            }
        }
        if options.http.is_some() {
            probes.watch_packets()?;
        }
        Ok(probes)
    }

    /// Whether packets are looked at.
    pub fn watches_http(&self) -> bool {
        self.links.iter().any(|link| matches!(link, Link::CgroupSkb(_)))
    }

    /// Without them the connections that are there already come to be known as something happens on them, and owners by what
    /// they do.
    fn load_walkers(&mut self, btf: &Btf) {
        for (name, list) in WALKERS {
            let loaded = self.program(name).and_then(|program| {
                let program: &mut Iter = program.try_into()?;
                Ok(program.load(list, btf)?)
            });
            match loaded {
                Ok(()) => self.walkers.push(name),
                Err(error) => log::warn!("this kernel has no list of its own for us (iter/{list}): {error:#}"),
            }
        }
    }

    /// The kernel's lists that can be walked through.
    pub fn lists(&self) -> impl Iterator<Item = &'static str> {
        WALKERS.into_iter().filter(|(name, _)| self.walkers.contains(name)).map(|(_, list)| list)
    }

    /// Whether [`Self::walker`] gives one.
    pub fn can_walk(&self, name: &'static str) -> bool {
        self.walkers.contains(&name)
    }

    /// A walk through a list of the kernel's, about to begin; none where this kernel can't.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn walker(&mut self, name: &'static str) -> Result<Option<IterLink>> {
        if !self.walkers.contains(&name) {
            return Ok(None);
        }
        let program: &mut Iter = self.program(name)?.try_into()?;
        let attached = program.attach().and_then(|id| program.take_link(id));
        attached.map(Some).with_context(|| format!("cannot attach the program {name}"))
    }

    fn attach_tracepoints(&mut self, btf: &Btf) -> Result<()> {
        for (name, tracepoint) in TRACEPOINTS {
            let program: &mut BtfTracePoint = self.program(name)?.try_into()?;
            let attached = program.load(tracepoint, btf).and_then(|()| program.attach()).and_then(|id| program.take_link(id));
            let link = attached.map_err(|error| refused(error, "a raw tracepoint", tracepoint))?;
            self.links.push(Link::BtfTracePoint(link));
        }
        Ok(())
    }

    /// A listener makes children: what HTTP is watched with.
    fn attach_births(&mut self) -> Result<()> {
        let (name, tracepoint) = BORN;
        let program: &mut RawTracePoint = self.program(name)?.try_into()?;
        let attached = program.load().and_then(|()| program.attach(tracepoint)).and_then(|id| program.take_link(id));
        let link = attached.map_err(|error| refused(error, "a raw tracepoint", tracepoint))?;
        self.links.push(Link::RawTracePoint(link));
        Ok(())
    }

    /// Where fentry can't, kprobes do; where they can't either, a change is noticed when the timer runs next.
    fn attach_setsockopt(&mut self, btf: &Btf) {
        let Err(error) = self.attach_fentries(&[SETSOCKOPT_FEXIT], btf) else { return };
        log::info!("{error:#}: trying kprobes");
        if let Err(error) = self.attach_kprobes(&SETSOCKOPT_KPROBES) {
            let why = if are_kept_from_us(&error) {
                "before Linux 6.1 that takes a kprobe, and this kernel keeps them to CAP_SYS_ADMIN (kernel.perf_event_paranoid)"
                    .to_owned()
            } else {
                format!("{error:#}")
            };
            self.without = Some(format!("who changes settings stays unknown: {why}"));
        }
    }

    fn attach_kprobes(&mut self, hooks: &[Hook]) -> Result<()> {
        for &(name, function) in hooks {
            let program: &mut KProbe = self.program(name)?.try_into()?;
            // One program may hook several functions.
            let loaded = if program.fd().is_ok() { Ok(()) } else { program.load() };
            let attached = loaded.and_then(|()| program.attach(function, 0)).and_then(|id| program.take_link(id));
            let link = attached.map_err(|error| refused(error, "kprobe", function))?;
            self.links.push(Link::KProbe(link));
        }
        Ok(())
    }

    fn attach_fentries(&mut self, hooks: &[Hook], btf: &Btf) -> Result<()> {
        for &(name, function) in hooks {
            let link = match self.program(name)? {
                Program::FEntry(program) => attach_fentry(program, function, btf).map(Link::FEntry),
                Program::FExit(program) => attach_fexit(program, function, btf).map(Link::FExit),
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

/// A loader without the kernel's types. `EbpfLoader::new` always reads and parses all of them, even where `btf(None)` discards them
/// next: half of this process's own work at start, and half of its peak of memory. It does without where it can't open their file,
/// which takes a descriptor.
fn loader<'a>() -> EbpfLoader<'a> {
    let Ok((files, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return EbpfLoader::new() };
    let closed = setrlimit(Resource::RLIMIT_NOFILE, 0, most);
    let loader = EbpfLoader::new();
    if closed.is_ok() {
        // Back to what it was: no privilege can be lacking.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, files, most);
    }
    loader
}

/// Returns to the kernel the memory that only the start needed: the allocator keeps it otherwise.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and leaves memory alone that is in use.
    unsafe {
        libc::malloc_trim(0);
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

/// Whether kprobes failed for want of a right that fentry does without: kernels of Debian and Ubuntu open no event of perf for those
/// without CAP_SYS_ADMIN where kernel.perf_event_paranoid is above 2, be they CAP_PERFMON's.
pub fn are_kept_from_us(error: &anyhow::Error) -> bool {
    errno(error.as_ref()) == Some(Errno::EACCES)
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
        Some(Errno::EACCES) if how == "kprobe" => error.context(format!(
            "cannot {what}: this kernel keeps that to CAP_SYS_ADMIN (kernel.perf_event_paranoid), or a security module refuses it; \
             --attach fentry does without"
        )),
        _ => {
            let other = match how {
                "kprobe" => "try --attach fentry; ",
                "fentry" => "try --attach kprobe; ",
                _ => "",
            };
            error.context(format!("cannot {what} ({other}`keepalive-trace check` says more)"))
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
