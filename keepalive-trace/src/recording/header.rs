//! What a recording says of itself, in its schema's metadata.
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use arrow_schema::{Schema, SchemaRef};

use super::columns::Columns;
use crate::model::{
    event::{Attach, Start},
    sysctl::Sysctls,
};

/// The version of what the columns mean. A later version may add columns and words without a new number; whatever changes or
/// takes away gets one.
pub const SCHEMA: u32 = 1;

/// Characters of a command line that are kept.
const MOST_CMDLINE: usize = 1 << 14;

/// Before each key.
const PREFIX: &str = "keepalive-trace.";

/// The facts that make a recording explain itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub start: Start,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub started_ns: u64,
    /// Tells runs apart, on whatever host.
    pub run: u64,
    /// Which file of the run it is, from 1.
    pub part: u32,
}

/// Why a schema is none that can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is somebody else's.
    Foreign,
    Newer {
        schema: u32,
        version: String,
    },
    /// This key is missing, or makes no sense.
    Senseless(&'static str),
}

impl Header {
    /// Of a new run, by this process.
    pub fn of(start: Start, started_ns: u64, pid: u32) -> Self {
        let mut run = DefaultHasher::new();
        (&start.host, &start.cmdline, start.wall_offset_ns, started_ns, pid).hash(&mut run);
        Self { start, started_ns, run: run.finish(), part: 1 }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        let Self { start, started_ns, run, part } = self;
        let Start { version, host, kernel, hz, attach, cmdline, sysctls, wall_offset_ns } = start;
        let mut metadata = HashMap::new();
        let mut put = |key: &str, value: String| _ = metadata.insert(format!("{PREFIX}{key}"), value);
        put("schema", SCHEMA.to_string());
        put("version", version.clone());
        put("host", host.clone());
        put("kernel", kernel.clone());
        put("hz", hz.to_string());
        put("cmdline", cmdline.chars().take(MOST_CMDLINE).collect());
        put("clock", "time is CLOCK_MONOTONIC + wall_offset_ns".to_owned());
        put("started_mono_ns", started_ns.to_string());
        put("wall_offset_ns", wall_offset_ns.to_string());
        put("run", format!("{run:016x}"));
        put("part", part.to_string());
        if let Some(attach) = attach {
            put("attach", attach.name().to_owned());
        }
        if let Some(Sysctls { time_s, intvl_s, probes }) = sysctls {
            put("sysctl.time_s", time_s.to_string());
            put("sysctl.intvl_s", intvl_s.to_string());
            put("sysctl.probes", probes.to_string());
        }
        Schema::new_with_metadata(Columns::fields(), metadata).into()
    }

    pub(super) fn read(schema: &Schema) -> Result<Self, Refusal> {
        let text = |key: &str| schema.metadata().get(&format!("{PREFIX}{key}")).map(String::as_str);
        let number: u32 = text("schema").ok_or(Refusal::Foreign)?.parse().map_err(|_| Refusal::Senseless("schema"))?;
        let version = text("version").ok_or(Refusal::Senseless("version"))?.to_owned();
        if number != SCHEMA {
            return Err(Refusal::Newer { schema: number, version });
        }
        fn parsed<T: std::str::FromStr>(text: Option<&str>, key: &'static str) -> Result<T, Refusal> {
            text.and_then(|text| text.parse().ok()).ok_or(Refusal::Senseless(key))
        }
        let sysctls = || {
            Some(Sysctls {
                time_s: text("sysctl.time_s")?.parse().ok()?,
                intvl_s: text("sysctl.intvl_s")?.parse().ok()?,
                probes: text("sysctl.probes")?.parse().ok()?,
            })
        };
        let start = Start {
            version,
            host: parsed(text("host"), "host")?,
            kernel: parsed(text("kernel"), "kernel")?,
            hz: parsed(text("hz"), "hz")?,
            attach: text("attach").and_then(|name| [Attach::Kprobe, Attach::Fentry].into_iter().find(|it| it.name() == name)),
            cmdline: parsed(text("cmdline"), "cmdline")?,
            sysctls: sysctls(),
            wall_offset_ns: parsed(text("wall_offset_ns"), "wall_offset_ns")?,
        };
        let run = text("run").and_then(|run| u64::from_str_radix(run, 16).ok()).ok_or(Refusal::Senseless("run"))?;
        let part = parsed(text("part"), "part")?;
        Ok(Self { start, started_ns: parsed(text("started_mono_ns"), "started_mono_ns")?, run, part })
    }
}
