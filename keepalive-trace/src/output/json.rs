//! JSON lines, schema version 1: one object a line, unknown keys absent.
mod connection;
mod object;
mod sysctl;

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use self::object::{Object, key};
use super::{
    Format,
    append::Append as _,
    wall::{Style, WallClock},
};
use crate::model::{
    event::{Attach, Body, Event, Lost, Start, Stop, Uneventful},
    http::{Finding, Findings},
    settings::Settings,
    sysctl::Sysctls,
};

/// The version of what the keys mean.
pub(super) const SCHEMA: u32 = 1;

#[derive(Debug)]
pub(super) struct Json {
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC, from the start event.
    wall_offset_ns: i64,
    wall: WallClock,
    /// The settings of the last connection, and their keys: nearly all connections of a host have the same.
    settings: Option<Settings>,
    members: Vec<u8>,
}

impl Default for Json {
    fn default() -> Self {
        let wall = WallClock::new(Style::Rfc3339, TimeZone::UTC);
        Self { wall_offset_ns: 0, wall, settings: None, members: Vec::new() }
    }
}

impl Format for Json {
    /// The order of the keys and their names are the contract.
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<()> {
        let Event { mono_ns, body } = event;
        if let Body::Start(start) = body {
            self.wall_offset_ns = start.wall_offset_ns;
        }
        let Self { wall_offset_ns, wall, settings: last, members } = self;
        // A write has its own time.
        let mono_ns = if let Body::Sysctl(write, _) = body { write.mono_ns } else { *mono_ns };
        let mut object = Object::begin(out);
        object.name(key!("event"), name(body));
        object.quoted(key!("time"), |out| wall.append(mono_ns, *wall_offset_ns, out));
        object.number(key!("mono_ns"), mono_ns);
        match body {
            Body::Start(start) => self::start(&mut object, start),
            Body::Namespace(namespace) => sysctl::namespace(&mut object, namespace),
            Body::Sysctl(write, following) => {
                sysctl::write(&mut object, write, following.as_ref(), wall, *wall_offset_ns);
            }
            Body::Uneventful(Uneventful { verdict, cgroup, count }) => {
                object.name(key!("verdict"), verdict.name());
                object.number(key!("count"), *count);
                if let Some(cgroup) = cgroup {
                    object.text(key!("cgroup"), cgroup);
                }
            }
            Body::Lost(Lost { count, place }) => {
                object.number(key!("count"), *count);
                object.name(key!("where"), place.name());
            }
            Body::Stop(stop) => self::stop(&mut object, stop),
            body => {
                if let Some(connection) = body.connection() {
                    connection::connection(&mut object, connection);
                    connection::happening(&mut object, connection, body);
                    if let Some(settings) = &connection.settings {
                        if *last != connection.settings {
                            *last = connection.settings;
                            members.clear();
                            connection::settings(&mut Object::begin(members), settings);
                        }
                        object.members(members);
                    }
                }
            }
        }
        object.end();
        out.push(b'\n');
        Ok(())
    }
}

/// What the key `event` says.
fn name(body: &Body) -> &'static str {
    match body {
        Body::Start(_) => "start",
        Body::Open(..) => "open",
        Body::Owner(_) => "owner",
        Body::Settings(..) => "settings",
        Body::Probe(..) => "probe",
        Body::Timer(..) => "timer",
        Body::Reply(..) => "reply",
        Body::Reset(..) => "reset",
        Body::Http(..) => "http",
        Body::End(..) => "end",
        Body::Namespace(_) => "namespace",
        Body::Sysctl(..) => "sysctl",
        Body::Uneventful(_) => "uneventful",
        Body::Lost(_) => "lost",
        Body::Stop(_) => "stop",
    }
}

fn start(object: &mut Object<'_>, start: &Start) {
    let Start { version, host, kernel, hz, attach, cmdline, sysctls, wall_offset_ns: _ } = start;
    object.number(key!("schema"), SCHEMA);
    object.text(key!("version"), version);
    object.text(key!("host"), host);
    object.text(key!("kernel"), kernel);
    object.number(key!("hz"), *hz);
    object.name_if(key!("attach"), attach.map(Attach::name));
    object.text(key!("cmdline"), cmdline);
    if let Some(Sysctls { time_s, intvl_s, probes }) = sysctls {
        object.object(key!("sysctl"), |sysctl| {
            sysctl.signed(key!("time_s"), *time_s);
            sysctl.signed(key!("intvl_s"), *intvl_s);
            sysctl.number(key!("probes"), *probes);
        });
    }
}

fn stop(object: &mut Object<'_>, stop: &Stop) {
    let Stop { events, lost, connections, uneventful, verdicts } = stop;
    object.number(key!("events"), *events);
    object.number(key!("lost"), *lost);
    object.number(key!("connections"), *connections);
    if *uneventful > 0 {
        object.number(key!("uneventful"), *uneventful);
    }
    // By name.
    let verdicts: BTreeMap<_, _> = verdicts.iter().map(|(verdict, count)| (verdict.name(), *count)).collect();
    object.object(key!("verdicts"), |object| verdicts.iter().for_each(|(name, count)| object.any_key(name).number(*count)));
}

#[derive(Debug, Serialize)]
pub(super) struct Origins {
    time: &'static str,
    intvl: &'static str,
    probes: &'static str,
}

impl Origins {
    pub(super) fn of(settings: &Settings) -> Self {
        let Settings { time_s, intvl_s, probes, .. } = settings;
        Self { time: time_s.origin.name(), intvl: intvl_s.origin.name(), probes: probes.origin.name() }
    }
}

/// Findings by their names; none where there are none.
pub(super) fn names(findings: Findings) -> Option<Vec<&'static str>> {
    (!findings.is_empty()).then(|| findings.iter().map(Finding::name).collect())
}

/// RFC 3339, UTC, nanoseconds.
pub(super) fn wall_time(mono_ns: u64, wall_offset_ns: i64) -> String {
    let ns = i128::from(mono_ns) + i128::from(wall_offset_ns);
    Timestamp::from_nanosecond(ns).map_or_else(|_| String::new(), |time| format!("{time:.9}"))
}

#[cfg(test)]
mod tests;
