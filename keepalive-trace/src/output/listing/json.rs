//! One object a line, unknown keys absent.
use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use serde::Serialize;
use serde_with::skip_serializing_none;

use super::Format;
use crate::{
    model::{
        event::Family,
        findings::Found,
        inventory::{Row, Sum},
        listing::Listed,
        state::State,
    },
    output::{
        harmless::json_line,
        json::{Origins, wall_time},
    },
};

pub(super) struct Json {
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC, nanoseconds.
    pub(super) wall_offset_ns: i64,
}

/// Every key of a socket, in the order in which it is printed. The key names are the contract.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
struct Line<'a> {
    event: &'static str,
    time: String,
    mono_ns: u64,

    cookie: Option<u64>,
    ip: u8,
    laddr: IpAddr,
    lport: u16,
    raddr: Option<IpAddr>,
    rport: Option<u16>,
    netns: Option<u32>,
    state: String,
    pid: Option<u32>,
    comm: Option<String>,
    holders: Option<u32>,
    cgroup: Option<&'a str>,

    keepalive: Option<bool>,
    time_s: Option<i32>,
    intvl_s: Option<i32>,
    probes: Option<u32>,
    user_timeout_ms: Option<u32>,
    origin: Option<Origins>,

    timer_left_ms: Option<i64>,
    fires_earliest_ms: Option<i64>,
    fires_latest_ms: Option<i64>,
    probes_out: Option<u32>,
    idle_ms: Option<u64>,
    unacked: Option<u32>,
    unsent: Option<u32>,
    detect_ms: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding<'a>>,
}

#[derive(Debug, Serialize)]
struct Finding<'a> {
    finding: &'static str,
    why: &'a str,
    remedy: &'a str,
}

#[derive(Debug, Serialize)]
struct Summary {
    event: &'static str,
    time: String,
    mono_ns: u64,
    sockets: u64,
    listeners: u64,
    keepalive: u64,
    findings: BTreeMap<&'static str, u64>,
}

impl Format for Json {
    fn header(&self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn row(&self, row: &Row, out: &mut Vec<u8>) -> Result<()> {
        json_line(out, &line(row, self.wall_offset_ns))
    }

    fn sum(&self, sum: &Sum, mono_ns: u64, out: &mut Vec<u8>) -> Result<()> {
        let Sum { sockets, listeners, keepalive, findings } = sum;
        let summary = Summary {
            event: "summary",
            time: wall_time(mono_ns, self.wall_offset_ns),
            mono_ns,
            sockets: *sockets,
            listeners: *listeners,
            keepalive: *keepalive,
            findings: findings.iter().map(|(finding, count)| (finding.name(), *count)).collect(),
        };
        json_line(out, &summary)
    }
}

fn line(row: &Row, wall_offset_ns: i64) -> Line<'_> {
    let Row { listed: Listed { mono_ns, socket, owner, timer, queued }, hz, fires, detect_ms, found } = row;
    let listens = socket.state == State::LISTEN;
    let settings = socket.settings;
    Line {
        event: "socket",
        time: wall_time(*mono_ns, wall_offset_ns),
        mono_ns: *mono_ns,
        cookie: socket.cookie,
        ip: match socket.family {
            Family::V4 => 4,
            Family::V6 => 6,
        },
        laddr: socket.local.ip(),
        lport: socket.local.port(),
        raddr: (!listens).then(|| socket.remote.ip()),
        rport: (!listens).then(|| socket.remote.port()),
        netns: socket.netns,
        state: socket.state.to_string(),
        pid: owner.map(|owner| owner.task.pid),
        comm: owner.map(|owner| owner.task.comm.to_string()),
        holders: owner.map(|owner| owner.holders).filter(|holders| *holders > 1),
        cgroup: socket.cgroup.as_deref(),
        keepalive: settings.map(|settings| settings.keepalive),
        time_s: settings.map(|settings| settings.time_s.value),
        intvl_s: settings.map(|settings| settings.intvl_s.value),
        probes: settings.map(|settings| settings.probes.value),
        user_timeout_ms: settings.map(|settings| settings.user_timeout_ms),
        origin: settings.as_ref().map(Origins::of),
        timer_left_ms: timer.map(|timer| timer.left_ms(*hz)),
        fires_earliest_ms: fires.map(|fires| fires.earliest_ms),
        fires_latest_ms: fires.map(|fires| fires.latest_ms),
        probes_out: socket.probes_out.filter(|_| !listens),
        idle_ms: socket.idle_ms.filter(|_| !listens),
        unacked: queued.map(|queued| queued.unacked).filter(|_| !listens),
        unsent: queued.map(|queued| queued.unsent).filter(|_| !listens),
        detect_ms: detect_ms.filter(|_| !listens),
        findings: found
            .iter()
            .map(|Found { finding, why, remedy, .. }| Finding { finding: finding.name(), why, remedy })
            .collect(),
    }
}
