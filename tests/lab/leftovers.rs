//! The hooks that anybody has in the kernel now, by the kernel's own lists: what a tracer must not leave behind.
use std::{collections::BTreeSet, fs, path::Path, thread::sleep, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{
    bpf::program_after,
    mounts::{DEBUG, TRACING},
};

/// Every kprobe, every traced function and every BPF program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Functions with a kprobe.
    pub kprobes: BTreeSet<String>,
    /// Functions that ftrace calls out of, trampolines and optimised kprobes among them.
    pub traced: BTreeSet<String>,
    /// Ids of the loaded programs.
    pub programs: BTreeSet<u32>,
}

impl Hooks {
    /// Reads the kernel's lists.
    pub fn read() -> Result<Self> {
        let kprobes = read(&format!("{DEBUG}/kprobes/list"))?;
        let traced = read(&format!("{TRACING}/enabled_functions"))?;
        Ok(Self {
            // "ffffffff81a0  k  tcp_keepalive_timer+0x0    [FTRACE]"
            kprobes: kprobes.lines().filter_map(|line| function(line.split_whitespace().nth(2)?)).collect(),
            // "tcp_keepalive_timer (1) R   D   	tramp: ...", and below it, indented, who is called
            traced: traced.lines().filter(|line| !line.starts_with(char::is_whitespace)).filter_map(traced_function).collect(),
            programs: programs()?,
        })
    }

    /// What is here that wasn't there.
    pub fn beyond(&self, earlier: &Self) -> Self {
        Self {
            kprobes: &self.kprobes - &earlier.kprobes,
            traced: &self.traced - &earlier.traced,
            programs: &self.programs - &earlier.programs,
        }
    }

    /// Waits until nothing is hooked beyond this; the kernel frees programs a little after their owner has gone.
    pub fn wait_until_nothing_more(&self, limit: Duration) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(10);
        let mut left = limit;
        loop {
            let more = Self::read()?.beyond(self);
            if more == Self::default() {
                return Ok(());
            }
            let Some(less) = left.checked_sub(PAUSE) else { bail!("left behind in the kernel: {more:?}") };
            left = less;
            sleep(PAUSE);
        }
    }
}

fn traced_function(line: &str) -> Option<String> {
    function(line.split_whitespace().next()?)
}

fn function(place: &str) -> Option<String> {
    place.split('+').next().map(str::to_owned)
}

/// A list that this kernel doesn't keep is empty.
fn read(path: &str) -> Result<String> {
    if !Path::new(path).exists() {
        return Ok(String::new());
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

fn programs() -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    let mut last = 0;
    while let Some(id) = program_after(last)? {
        found.insert(id);
        last = id;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_left_behind_when_it_was_not_there_before() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let before = Hooks { kprobes: names(&["a"]), traced: names(&[]), programs: [1].into() };
        let after = Hooks { kprobes: names(&["a", "b"]), traced: names(&["c"]), programs: [1, 2].into() };
        let more = after.beyond(&before);
        assert_eq!(more, Hooks { kprobes: names(&["b"]), traced: names(&["c"]), programs: [2].into() });
        assert_eq!(before.beyond(&after), Hooks::default());
    }

    #[test]
    fn a_line_of_the_kernel_s_lists_names_a_function() {
        assert_eq!(function("tcp_keepalive_timer+0x0").as_deref(), Some("tcp_keepalive_timer"));
        assert_eq!(function("tcp_keepalive_timer").as_deref(), Some("tcp_keepalive_timer"));
    }
}
