//! The kernel's own counting: `Tcp` and `TcpExt` of a network namespace.
use std::{collections::HashMap, fs};

use anyhow::{Context, Result};

/// All TCP counters of a namespace at one moment, by name, with and without the "Tcp"/"TcpExt" of their group.
#[derive(Clone, Debug)]
pub struct Counters(HashMap<String, i64>);

impl Counters {
    /// Reads those of the calling thread's namespace.
    pub fn read() -> Result<Self> {
        let mut counters = HashMap::new();
        for file in ["/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"] {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
            counters.extend(parse(&text));
        }
        Ok(Self(counters))
    }

    /// A counter by its name in these files: `TCPKeepAlive`, `OutRsts`. A name that the kernel doesn't have is an error.
    pub fn get(&self, name: &str) -> Result<i64> {
        self.0.get(name).copied().with_context(|| format!("this kernel has no TCP counter {name}"))
    }

    /// How far a counter has come since then.
    pub fn since(&self, earlier: &Self, name: &str) -> Result<i64> {
        Ok(self.get(name)? - earlier.get(name)?)
    }
}

/// The files are pairs of lines: names, then values, each after its group's name.
fn parse(text: &str) -> HashMap<String, i64> {
    let lines: Vec<&str> = text.lines().collect();
    let tables = lines.chunks_exact(2).filter(|pair| pair[0].starts_with("Tcp:") || pair[0].starts_with("TcpExt:"));
    let cells = tables.flat_map(|pair| pair[0].split_whitespace().zip(pair[1].split_whitespace()).skip(1));
    cells.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_of_the_tcp_groups_are_paired() {
        let text = "Ip: Forwarding\nIp: 1\nTcp: MaxConn OutRsts\nTcp: -1 7\nTcpExt: TCPKeepAlive\nTcpExt: 9\n";
        let counters = Counters(parse(text));
        assert_eq!(counters.get("MaxConn").unwrap(), -1);
        assert_eq!(counters.get("OutRsts").unwrap(), 7);
        assert_eq!(counters.get("TCPKeepAlive").unwrap(), 9);
        assert!(counters.get("Forwarding").is_err());
    }

    #[test]
    fn this_kernel_has_the_counters_that_the_live_tests_ask_for() {
        let counters = Counters::read().unwrap();
        for name in ["TCPKeepAlive", "TCPAbortOnTimeout", "TCPAbortFailed", "OutRsts", "EstabResets"] {
            assert!(counters.since(&counters, name).is_ok_and(|since| since == 0), "{name}");
        }
    }
}
