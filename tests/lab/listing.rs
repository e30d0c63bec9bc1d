//! `keepalive-trace sockets --json`, run as its users run it: every line held against the schema, and read.
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    clock::{self, Moment},
    event::Origin,
    finding::Finding,
    pair::Connection,
    schema, tracer,
};

/// A `socket` line.
#[derive(Clone, Deserialize)]
#[expect(missing_docs, reason = "the keys are those of the published schema, and are described there")]
pub struct Socket {
    /// The line itself.
    #[serde(skip)]
    pub line: String,

    pub mono_ns: Moment,
    pub cookie: Option<u64>,
    pub ip: u8,
    pub laddr: String,
    pub lport: u16,
    pub raddr: Option<String>,
    pub rport: Option<u16>,
    pub netns: u64,
    pub state: String,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub holders: Option<u32>,
    pub cgroup: Option<String>,
    pub keepalive: bool,
    pub time_s: i64,
    pub intvl_s: i64,
    pub probes: u32,
    pub user_timeout_ms: u64,
    pub origin: Origin,
    pub timer_left_ms: Option<i64>,
    pub fires_earliest_ms: Option<i64>,
    pub fires_latest_ms: Option<i64>,
    pub probes_out: Option<u32>,
    pub idle_ms: Option<u64>,
    pub unacked: Option<u64>,
    pub unsent: Option<u64>,
    pub detect_ms: Option<u64>,
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// The `summary` line.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys are those of the published schema, and are described there")]
pub struct Summary {
    pub sockets: u64,
    pub listeners: u64,
    pub keepalive: u64,
    #[serde(default)]
    pub findings: BTreeMap<String, u64>,
}

/// All that it printed.
#[derive(Debug)]
pub struct Listing {
    /// Each socket, in the order in which they were printed.
    pub sockets: Vec<Socket>,
    /// The last line.
    pub summary: Summary,
    /// How it ended.
    pub code: i32,
    /// Right before it began.
    pub began: Moment,
    /// Right after it ended.
    pub ended: Moment,
}

/// Runs `sockets --json` with these further arguments.
pub fn list(arguments: &[&str]) -> Result<Listing> {
    let began = clock::now();
    let output = tracer::command(&[&["sockets", "--json"], arguments].concat()).output().context("cannot run the tracer")?;
    let ended = clock::now();
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8(output.stdout).context("stdout")?;
    let code = output.status.code().with_context(|| format!("it ended with {}: {errors}", output.status))?;
    ensure!(code == 0 || code == 1 && arguments.contains(&"--fail"), "{arguments:?} ended with {code}: {errors}{printed}");
    ensure!(errors.is_empty(), "{arguments:?} complained: {errors}");
    let listing = Listing::read(&printed, code, began..ended).with_context(|| format!("{arguments:?}"))?;
    Ok(listing)
}

/// Runs `sockets` with these arguments for people; gives what it printed to stdout and to stderr, and its exit code.
pub fn text(arguments: &[&str]) -> Result<(String, String, i32)> {
    let output = tracer::command(&[&["sockets"], arguments].concat()).output().context("cannot run the tracer")?;
    let code = output.status.code().with_context(|| format!("it ended with {}", output.status))?;
    Ok((String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?, code))
}

impl Listing {
    fn read(printed: &str, code: i32, time: std::ops::Range<Moment>) -> Result<Self> {
        let mut lines: Vec<&str> = printed.lines().collect();
        for line in &lines {
            schema::check(line).with_context(|| format!("a line that is not as published: {line}"))?;
        }
        let last = lines.pop().context("it printed nothing")?;
        let summary = of_kind(last, "summary")?;
        let socket = |line: &str| Ok(Socket { line: line.to_owned(), ..of_kind(line, "socket")? });
        let sockets = lines.into_iter().map(socket).collect::<Result<_>>()?;
        Ok(Self { sockets, summary, code, began: time.start, ended: time.end })
    }

    /// The socket that is the connection's local end, if it is listed; once at most.
    pub fn find(&self, connection: &Connection) -> Result<Option<&Socket>> {
        let mut found = self.sockets.iter().filter(|socket| socket.is_of(connection));
        let first = found.next();
        ensure!(found.next().is_none(), "listed twice: {first:?}");
        Ok(first)
    }

    /// As [`Self::find`], and it must be there.
    pub fn of(&self, connection: &Connection) -> Result<&Socket> {
        self.find(connection)?.with_context(|| format!("not listed: {connection:?}"))
    }
}

/// Reads a line that must be of this kind.
fn of_kind<T: DeserializeOwned>(line: &str, kind: &str) -> Result<T> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
    ensure!(value["event"] == kind, "a line of another kind than `{kind}`: {line}");
    serde_json::from_value(value).with_context(|| format!("a line that is not understood: {line}"))
}

impl Socket {
    /// Its own end.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.laddr.parse().with_context(|| self.line.clone())?, self.lport))
    }

    /// The peer's end; of a listener, which has none, what inet_diag shows: no address and port 0.
    pub fn remote(&self) -> Result<SocketAddr> {
        let Some((address, port)) = self.raddr.as_ref().zip(self.rport) else {
            let none: IpAddr = if self.ip == 4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            return Ok(SocketAddr::new(none, 0));
        };
        Ok(SocketAddr::new(address.parse().with_context(|| self.line.clone())?, port))
    }

    /// True when it is the connection's local end, by its namespace and its ports.
    pub fn is_of(&self, connection: &Connection) -> bool {
        let ports = (connection.local.port(), connection.remote.port());
        self.netns == connection.netns.inode && (self.lport, self.rport.unwrap_or_default()) == ports
    }

    /// When its keepalive timer is due: the deadline that the kernel was given, which the wheel rounds up. `None` where it isn't armed.
    pub fn deadline(&self) -> Option<i128> {
        Some(self.after(self.timer_left_ms?))
    }

    /// The moments between which its keepalive timer will fire, as it was predicted.
    pub fn window(&self) -> Option<(i128, i128)> {
        Some((self.after(self.fires_earliest_ms?), self.after(self.fires_latest_ms?)))
    }

    /// So long after the moment at which it was read.
    fn after(&self, milliseconds: i64) -> i128 {
        i128::from(self.mono_ns) + i128::from(milliseconds) * 1_000_000
    }

    /// The names of what was found.
    pub fn found(&self) -> Vec<&str> {
        self.findings.iter().map(|finding| finding.finding.as_str()).collect()
    }

    /// One of its findings.
    pub fn finding(&self, name: &str) -> Result<&Finding> {
        let mut named = self.findings.iter().filter(|finding| finding.finding == name);
        let finding = named.next().with_context(|| format!("no finding {name}: {self:?}"))?;
        ensure!(named.next().is_none(), "the same finding twice: {self:?}");
        Ok(finding)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = concat!(
        r#"{"event":"socket","time":"2026-01-01T00:00:05.000000007Z","mono_ns":5000000000,"ip":4,"laddr":"10.0.0.5","lport":51334,"#,
        r#""raddr":"10.0.0.9","rport":5432,"netns":4026531840,"state":"ESTABLISHED","keepalive":true,"time_s":1,"intvl_s":1,"#,
        r#""probes":3,"user_timeout_ms":0,"origin":{"time":"socket","intvl":"sysctl","probes":"socket"},"timer_left_ms":-8,"#,
        r#""fires_earliest_ms":0,"fires_latest_ms":4,"probes_out":0,"unacked":0,"unsent":0}"#
    );

    #[test]
    fn a_socket_s_moments_count_from_when_it_was_read() {
        let socket: Socket = of_kind(SOCKET, "socket").unwrap();
        assert_eq!(socket.deadline(), Some(4_992_000_000));
        assert_eq!(socket.window(), Some((5_000_000_000, 5_004_000_000)));
        assert_eq!(socket.local().unwrap().to_string(), "10.0.0.5:51334");
        assert!(of_kind::<Socket>(SOCKET, "summary").is_err());
    }
}
