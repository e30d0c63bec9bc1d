//! A host of a fleet, made up: its services, its connections, and all that keepalive does on them, event by event in the order of time.
//! The same plan always gives the same events.
mod dice;
mod ends;
mod life;
pub mod pcap;
mod services;
mod writes;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use keepalive_trace::{
    model::{
        event::{Attach, Body, Event, Lost, Place, Start},
        sysctl::Sysctls,
        verdict::Verdict,
    },
    recording::{Header, Output, Writer},
};

use dice::Dice;
use life::{HZ, Life, MS, SECOND, World};
use services::{NAMESPACES, Service};

/// When a run begins: the host has been up for two days.
const BEGINS: u64 = 172_800 * SECOND;
/// 2026-11-28, less those two days.
const WALL_OFFSET: i64 = 1_795_651_200_000_000_000;
/// Events between two losses.
const LOSS: u64 = 700_000;
/// One in so many connections is IPv6.
const IPV6: u32 = 5;
/// One in so many was there before the run.
const BEFORE: u32 = 3;

/// Which host, and how much of it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub host: String,
    /// All of the run.
    pub connections: u32,
    /// All but the start.
    pub events: u64,
    /// Whether tasks and cgroups have names that mean harm.
    pub hostile: bool,
}

/// The events of a host.
pub struct Generator {
    plan: Plan,
    dice: Dice,
    services: Vec<Service>,
    sysctls: [Sysctls; NAMESPACES.len()],
    lives: Vec<Life>,
    writes: Vec<writes::Plan>,
    /// What comes next: a moment, and a life; past the lives, a write.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    ready: VecDeque<Event>,
    told: u64,
    now: u64,
    /// How connections ended, as it was meant.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Connections that opened.
    pub opened: u64,
}

impl Generator {
    pub fn new(plan: Plan) -> Self {
        let mut dice = Dice::new(plan.seed);
        let services = services::services(&mut dice, plan.hostile);
        let sysctls = [Sysctls { time_s: 7200, intvl_s: 75, probes: 9 }; NAMESPACES.len()];
        let long = duration(&plan, &services);
        let mut lives = Vec::with_capacity(plan.connections as usize);
        for number in 0..plan.connections {
            let service = dice.skewed(0, services.len() as u64 - 1) as usize;
            let (local, remote) = ends_of(number, &plan, &services[service], &mut dice);
            let opens = (!number.is_multiple_of(BEFORE)).then(|| BEGINS + dice.below(long / 2));
            let place = life::Place { number, service, local, remote, opens, begins: BEGINS + MS, ends: BEGINS + long };
            let mut world = World { service: &services[service], sysctls: sysctls[0], dice: &mut dice };
            lives.push(Life::new(place, &mut world));
        }
        let writes = writes::planned(BEGINS, long, &mut dice);
        let mut next: BinaryHeap<_> =
            lives.iter().enumerate().filter_map(|(place, life)| Some(Reverse((life.next()?, place)))).collect();
        next.extend(writes.iter().enumerate().map(|(place, write)| Reverse((write.at, lives.len() + place))));
        let start = Event { mono_ns: BEGINS, body: Body::Start(start(&plan)) };
        Self {
            plan,
            dice,
            services,
            sysctls,
            lives,
            writes,
            next,
            ready: VecDeque::from([start]),
            told: 0,
            now: BEGINS,
            verdicts: BTreeMap::new(),
            opened: 0,
        }
    }

    /// The moment of the latest event.
    pub fn now(&self) -> u64 {
        self.now
    }

    fn step(&mut self) -> Option<()> {
        let Reverse((at, place)) = self.next.pop()?;
        let mut bodies = Vec::new();
        if let Some(life) = self.lives.get_mut(place) {
            let service = &self.services[life.service];
            let mut world = World { service, sysctls: self.sysctls[service.netns], dice: &mut self.dice };
            life.step(at, &mut world, &mut bodies);
            self.next.extend(life.next().map(|next| Reverse((next.max(at), place))));
        } else {
            let write = self.writes.get(place - self.lives.len())?;
            bodies.push(writes::write(write, &mut self.sysctls[write.netns], &self.services, &mut self.lives));
        }
        self.ready.extend(bodies.into_iter().map(|body| Event { mono_ns: at, body }));
        Some(())
    }

    fn note(&mut self, event: &Event) {
        self.now = event.mono_ns;
        match &event.body {
            Body::Start(_) => return,
            Body::Open(..) => self.opened += 1,
            Body::End(_, end) => *self.verdicts.entry(end.verdict).or_default() += 1,
            _ => {}
        }
        self.told += 1;
        if self.told.is_multiple_of(LOSS) {
            let lost = Lost { count: 1 + self.dice.skewed(1, 300), place: Place::RingBuffer };
            self.ready.push_front(Event { mono_ns: event.mono_ns, body: Body::Lost(lost) });
        }
    }
}

impl Iterator for Generator {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.told >= self.plan.events {
            return None;
        }
        while self.ready.is_empty() {
            self.step()?;
        }
        let event = self.ready.pop_front()?;
        self.note(&event);
        Some(event)
    }
}

/// How a recording is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When a batch is full.
    Full,
    /// When its oldest event is so old, by the run's own clock: as the recorder does.
    Every(Duration),
}

/// Writes a whole run as a recording.
///
/// # Errors
/// When the file can't be written.
pub fn record(plan: Plan, path: &Path) -> Result<Recorded> {
    record_at(plan, path, Pace::Full)
}

/// What a recording came to.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    pub events: u64,
    pub bytes: u64,
    /// Of the run's own clock.
    pub took: Duration,
}

/// The same, flushed as it is said.
///
/// # Errors
/// When the file can't be written.
pub fn record_at(plan: Plan, path: &Path, pace: Pace) -> Result<Recorded> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut writer = Writer::begin(Output::File(file), &header(&plan))?;
    let mut generator = Generator::new(plan);
    let (mut events, mut oldest) = (0, None);
    for event in generator.by_ref() {
        let age = Duration::from_nanos(event.mono_ns - *oldest.get_or_insert(event.mono_ns));
        if matches!(pace, Pace::Every(most) if age >= most) {
            writer.write()?;
            oldest = Some(event.mono_ns);
        }
        events += u64::from(writer.add(&event)?);
    }
    writer.close(Some((generator.now(), events)))?;
    let bytes = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    Ok(Recorded { events, bytes, took: Duration::from_nanos(generator.now() - BEGINS) })
}

/// What the recording of a run says of itself.
pub fn header(plan: &Plan) -> Header {
    Header::of(start(plan), BEGINS, plan.seed as u32)
}

fn start(plan: &Plan) -> Start {
    Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: plan.host.clone(),
        kernel: "6.12.48+deb13-amd64".to_owned(),
        hz: HZ,
        attach: Some(Attach::Fentry),
        cmdline: format!("keepalive-trace record -o {}.arrows", plan.host),
        sysctls: Some(Sysctls { time_s: 7200, intvl_s: 75, probes: 9 }),
        wall_offset_ns: WALL_OFFSET,
    }
}

/// How long it takes until so many events have come of so many connections.
fn duration(plan: &Plan, services: &[Service]) -> u64 {
    // Three events a round: the probe, its answer, and a run of the timer that finds it. Low numbers are more common.
    let shares: Vec<(f64, f64)> = (0..services.len())
        .map(|number| {
            let share = (services.len() as f64 / (number as f64 + 1.0)).ln().max(0.01);
            let time = match services[number].own[0] {
                _ if !services[number].keepalive => f64::INFINITY,
                0 => 7200.0,
                time => f64::from(time),
            };
            (share, 3.0 / time)
        })
        .collect();
    let all: f64 = shares.iter().map(|(share, _)| share).sum();
    let rate: f64 = shares.iter().map(|(share, rate)| share * rate / all).sum();
    let each = plan.events as f64 / f64::from(plan.connections.max(1));
    // Connections come and go: of the run each is there for some two thirds.
    ((each / rate.max(1e-9) / 0.62) * SECOND as f64) as u64
}

fn ends_of(number: u32, plan: &Plan, service: &Service, dice: &mut Dice) -> (SocketAddr, SocketAddr) {
    let host = (plan.seed % 200) as u8;
    // Clients are many, servers few.
    let peers = if service.serves { plan.connections / 20 + 8 } else { 6 };
    let [_, b, c, d] = (dice.below(peers.into()) as u32 + u32::from(service.port) % 40 * 256).to_be_bytes();
    let (here, there): (IpAddr, IpAddr) = if number.is_multiple_of(IPV6) {
        let here = Ipv6Addr::new(0x2001, 0xdb8, 0, u16::from(host), 0, 0, 0, service.netns as u16 + 1);
        let there = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, u16::from(b), 0, 0, 0, u16::from_be_bytes([c, d]));
        (here.into(), there.into())
    } else if service.serves {
        (Ipv4Addr::new(10, host, service.netns as u8, 5).into(), Ipv4Addr::new(100, 64 + b % 64, c, d).into())
    } else {
        (Ipv4Addr::new(10, host, service.netns as u8, 5).into(), Ipv4Addr::new(10, 250, c, d).into())
    };
    // No two have the same ends: the ports go round with the number.
    let port = 1024 + (number % 60_000) as u16;
    if service.serves {
        (SocketAddr::new(here, service.port), SocketAddr::new(there, port))
    } else {
        (SocketAddr::new(here, port), SocketAddr::new(there, service.port))
    }
}

#[cfg(test)]
mod tests;
