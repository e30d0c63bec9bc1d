//! What this kernel and these privileges allow: one finding per need, tried for real wherever we may.
use std::{collections::BTreeSet, fs};

use anyhow::Result;

use super::{
    facts,
    filters::{Filters, cgroup_root, without_cgroups},
    layout::{self, Layout},
    probes::{Options, Probes, are_kept_from_us, has_kprobes},
};
use crate::model::{event::Attach, state::State as TcpState};

/// One need of the tool's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub need: &'static str,
    pub state: State,
    /// What was found; where something is missing, the remedy.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    /// `trace` can't do without.
    Missing,
    /// Something works less well, or another way has to be taken.
    Limited,
    /// It can't be told without more privileges.
    Unknown,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Limited => "limited",
            Self::Unknown => "unknown",
        }
    }
}

/// All findings, and whether `trace` can work here.
#[derive(Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub works: bool,
}

/// Checks for a run that would attach in this way, or with none chosen in whichever works.
pub fn run(choice: Option<Attach>, ring_bytes: u32) -> Report {
    let layout = layout::of_running_kernel();
    let allowed = facts::missing_capabilities().is_empty();
    let mut http = None;
    let kprobe = attaches(Attach::Kprobe, &layout, allowed, ring_bytes, &mut http);
    let fentry = attaches(Attach::Fentry, &layout, allowed, ring_bytes, &mut http);
    let works = match choice {
        None => kprobe.attached() || fentry.attached(),
        Some(Attach::Kprobe) => kprobe.attached(),
        Some(Attach::Fentry) => fentry.attached(),
    };
    // Where one way works the other's absence is no obstacle.
    let soften = |finding: Finding| match finding.state {
        State::Missing if works => Finding { state: State::Limited, ..finding },
        _ => finding,
    };
    let ring = ring_buffer(&kprobe, &fentry);
    let (kprobe, fentry) = (soften(kprobe), soften(fentry));
    let findings = vec![privileges(), btf(&layout), symbols(&layout), kprobe, fentry, ring, cgroup(), packets(http), lockdown()];
    Report { findings, works }
}

impl Finding {
    /// Of a way to attach: whether it did.
    fn attached(&self) -> bool {
        matches!(self.state, State::Ok | State::Limited)
    }
}

fn finding(need: &'static str, state: State, detail: impl Into<String>) -> Finding {
    Finding { need, state, detail: detail.into() }
}

fn privileges() -> Finding {
    match facts::missing_capabilities().as_slice() {
        [] => finding("privileges", State::Ok, "CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON"),
        missing => finding("privileges", State::Missing, format!("no {}: run it as root (sudo)", missing.join(" and no "))),
    }
}

fn btf(layout: &Result<Layout>) -> Finding {
    match layout {
        Ok(_) => finding("BTF", State::Ok, format!("{}: every field found", facts::BTF)),
        Err(error) => finding("BTF", State::Missing, format!("{error:#}")),
    }
}

/// The functions to hook. They are looked up in BTF and by the kernel itself, so a hidden /proc/kallsyms is no obstacle.
fn symbols(layout: &Result<Layout>) -> Finding {
    let Ok(layout) = layout else {
        return finding("symbols", State::Unknown, "the kernel's functions are looked up in its BTF");
    };
    let absent: BTreeSet<&str> = layout::HOOKS.iter().copied().filter(|name| !layout.functions.contains(name)).collect();
    if absent.is_empty() {
        let (there, lacking): (Vec<_>, Vec<_>) = layout::MORE_HOOKS.into_iter().partition(|name| layout.functions.contains(name));
        let all = layout::HOOKS.into_iter().chain(there).collect::<Vec<_>>().join(", ");
        if lacking.is_empty() {
            return finding("symbols", State::Ok, all);
        }
        let lacking = lacking.join(", ");
        return finding("symbols", State::Limited, format!("this kernel has no {lacking}: owners and changes are noticed later"));
    }
    let names = absent.into_iter().collect::<Vec<_>>().join(", ");
    finding("symbols", State::Missing, format!("this kernel has no {names}: it was built without TCP, or inlined them"))
}

/// Loads and attaches for real, and detaches again; once with what HTTP is watched with.
fn attaches(attach: Attach, layout: &Result<Layout>, allowed: bool, ring_bytes: u32, http: &mut Option<Result<()>>) -> Finding {
    let (need, remedy) = match attach {
        Attach::Fentry => ("fentry", "needs CONFIG_DEBUG_INFO_BTF=y and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y"),
        Attach::Kprobe => ("kprobes", "needs CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y"),
    };
    if need == "kprobes" && !has_kprobes() {
        return finding(need, State::Missing, format!("this kernel has none ({remedy})"));
    }
    let Ok(layout) = layout else {
        return finding(need, State::Unknown, "not tried: without BTF no program finds its way");
    };
    if !allowed {
        return finding(need, State::Unknown, "not tried: it takes the privileges above");
    }
    let filters = Filters::default();
    let hz = match facts::hz() {
        Ok(hz) => hz,
        Err(error) => return finding(need, State::Missing, format!("{error:#}")),
    };
    let options = Options {
        hz,
        layout,
        filters: &filters,
        ring_bytes,
        listed: &TcpState::CONNECTIONS,
        exact_replies: false,
        http: None,
        quiet: false,
        connections: 1,
        log: false,
    };
    match Probes::start(Some(attach), &options) {
        Ok(mut attached) => {
            http.get_or_insert_with(|| attached.watch_packets());
            let lists = attached.lists().map(|list| format!("iter/{list}")).collect::<Vec<_>>();
            let walks = if lists.is_empty() { "no list of sockets".to_owned() } else { lists.join(" and ") };
            let done = format!("loaded, attached and detached again, with {walks}");
            match &attached.without {
                None => finding(need, State::Ok, done),
                Some(without) => finding(need, State::Limited, format!("{done}; {without}")),
            }
        }
        Err(error) if are_kept_from_us(&error) => finding(need, State::Missing, format!("{error:#}")),
        Err(error) => finding(need, State::Missing, format!("{error:#} ({remedy})")),
    }
}

/// Every attached program has written its maps' descriptors, the ring among them.
fn ring_buffer(kprobe: &Finding, fentry: &Finding) -> Finding {
    if kprobe.attached() || fentry.attached() {
        return finding("ring buffer", State::Ok, "created");
    }
    finding("ring buffer", State::Unknown, "not tried: no program could be loaded (it needs Linux 5.8)")
}

fn cgroup() -> Finding {
    match cgroup_root() {
        Some(root) => finding("cgroup v2", State::Ok, format!("mounted at {}", root.display())),
        None => finding("cgroup v2", State::Limited, format!("--cgroup and --http can't be used: {}", without_cgroups())),
    }
}

/// What HTTP is watched with, as it was tried.
fn packets(tried: Option<Result<()>>) -> Finding {
    match tried {
        Some(Ok(())) => finding("HTTP", State::Ok, "loaded, attached and detached again: --http can be used"),
        Some(Err(error)) => finding("HTTP", State::Limited, format!("--http can't be used: {error:#}")),
        None => finding("HTTP", State::Unknown, "not tried: nothing else could be attached"),
    }
}

fn lockdown() -> Finding {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    match lockdown_mode(&text) {
        None => finding("lockdown", State::Ok, "this kernel has none, or does not tell"),
        Some("confidentiality") => finding(
            "lockdown",
            State::Missing,
            "confidentiality: it forbids reading kernel memory; boot with lockdown=integrity or none",
        ),
        Some(mode) => finding("lockdown", State::Ok, mode),
    }
}

/// The mode in brackets of `none [integrity] confidentiality`.
fn lockdown_mode(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lockdown_mode_is_the_one_in_brackets() {
        assert_eq!(lockdown_mode("none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(lockdown_mode(""), None);
    }
}
