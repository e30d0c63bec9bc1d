//! What each record costs from the ring to where it goes: read, told as an event, and written. Nothing here needs a kernel that
//! traces.
//!
//! `bench churn FORMAT CONNECTIONS` takes records as plain connections make them, four each, both ends in one process. The
//! difference between the instructions of two runs, divided by the records, is the cost of one.
use std::{collections::BTreeMap, io, net::Ipv4Addr};

use anyhow::{Context as _, Result, bail};
use keepalive_trace::{
    kernel::{cgroups::Cgroups, record::Reader},
    model::{
        event::Event,
        ledger::Ledger,
        owner::Owners,
        tracker::{CAPACITY, Tracker},
    },
    output::{Colors, Look, Printer},
    recording::Writer,
};
use keepalive_trace_ebpf::{Record, flag, has, kind};
use lab::fleet::{self, Plan};
use zerocopy::FromZeros as _;

const HZ: u32 = 250;
/// Instructions of a connection, as nanoseconds.
const CONNECTION_NS: u64 = 120_000;

const ESTABLISHED: u8 = 1;
const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const LAST_ACK: u8 = 9;

/// Tells so many connections: text and JSON to standard output, a recording to nowhere, `none` to nobody.
pub fn run(format: &str, connections: u32) -> Result<()> {
    let mut reader = Reader { hz: HZ, reasons: BTreeMap::new(), cgroups: Cgroups::default() };
    let mut tracker = Tracker::new(HZ, CAPACITY, Owners::default());
    let mut ledger = Ledger::default();
    let mut events = Vec::new();
    let mut tell = |sink: &mut dyn FnMut(&Event) -> Result<()>| {
        records(connections, |record| {
            let sighting = reader.sighting(record).context("the record makes no sense")?;
            tracker.see(&sighting, &mut events);
            let told = events.iter().try_for_each(|event| {
                ledger.note(event);
                sink(event)
            });
            events.clear();
            told
        })
    };
    match format {
        "none" => tell(&mut |_| Ok(())),
        "text" | "json" => {
            let look = Look { json: format == "json", wide: false, reports: false, wall_clock: false, colors: Colors::Never };
            let mut printer = Printer::new(&look);
            tell(&mut |event| printer.show(event))?;
            printer.flush()
        }
        "record" => {
            let header = fleet::header(&Plan { seed: 1, host: "bench".to_owned(), connections, events: 0, hostile: false });
            let mut writer = Writer::begin(io::sink(), &header)?;
            tell(&mut |event| writer.add(event).map(drop))?;
            writer.finish(None).map(drop).map_err(|(_, error)| error).context("cannot write the recording")
        }
        _ => bail!("the format is none, text, json or record, not {format}"),
    }
}

/// The records of connections that come and go, one after the other.
fn records(connections: u32, mut take: impl FnMut(&Record) -> Result<()>) -> Result<()> {
    for number in 0..connections {
        let began_ns = 1_000_000_000 + u64::from(number) * CONNECTION_NS;
        let port = 1024 + (number % 60_000) as u16;
        let client = end(u64::from(number) * 2, (port, 8080), began_ns);
        let server = end(u64::from(number) * 2 + 1, (8080, port), began_ns);
        let task = has::TASK;
        take(&Record {
            kind: kind::CONNECTED,
            has: client.has | task | has::SINCE,
            since_ns: 30_000 + u64::from(number % 9000),
            ..client
        })?;
        take(&Record { kind: kind::ACCEPTED, has: server.has | task, mono_ns: began_ns + 20_000, ..server })?;
        let closed = Record { kind: kind::CLOSED, state: CLOSE, flags: flag::DEAD, ..server };
        let has = server.has | has::ERR | has::LEFT;
        let by_peer = Record { old_state: LAST_ACK, has: has | task, mono_ns: began_ns + 90_000, unacked: 0, ..closed };
        let by_client = Record {
            sk: client.sk,
            lport: client.lport,
            rport: client.rport,
            old_state: FIN_WAIT2,
            flags: flag::DEAD | flag::TIME_WAIT,
            mono_ns: began_ns + 100_000,
            ..by_peer
        };
        take(&by_client)?;
        take(&by_peer)?;
    }
    Ok(())
}

/// One end of a connection.
fn end(number: u64, (lport, rport): (u16, u16), mono_ns: u64) -> Record {
    let octets = Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
    let address: [u64; 2] = zerocopy::transmute!(octets);
    Record {
        mono_ns,
        // Sockets of the slab are used again soon.
        sk: 0xffff_8881_0000_0000 + number % 64 * 2432,
        laddr: address,
        raddr: address,
        has: has::NETNS | has::SYSCTL | has::SETTINGS | has::CLOCKS,
        netns: 4_026_531_840,
        sysctl_time: 7200 * HZ as i32,
        sysctl_intvl: 75 * HZ as i32,
        sysctl_probes: 9,
        task_pid: 812,
        task_comm: zerocopy::transmute!(*b"python3\0\0\0\0\0\0\0\0\0"),
        jiffies: (mono_ns / (1_000_000_000 / u64::from(HZ))) as u32,
        lport,
        rport,
        family: 2,
        state: ESTABLISHED,
        ..Record::new_zeroed()
    }
}
