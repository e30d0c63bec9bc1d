//! What runs on a host: services with their processes, ports, cgroups and settings.
use std::sync::Arc;

use keepalive_trace::model::{
    owner::{Comm, Task},
    settings::{Settings, Sourced},
    sysctl::Sysctls,
};

use super::dice::Dice;

/// How many there are.
pub const SERVICES: usize = 60;
/// Of the host, and of containers.
pub const NAMESPACES: [u32; 6] = [4_026_531_840, 4_026_532_288, 4_026_532_401, 4_026_532_514, 4_026_532_627, 4_026_532_740];

const NAMES: [(&str, u16); 20] = [
    ("nginx", 443),
    ("envoy", 15001),
    ("postgres", 5432),
    ("redis-server", 6379),
    ("java", 8080),
    ("node", 3000),
    ("gunicorn", 8000),
    ("haproxy", 8443),
    ("kubelet", 10250),
    ("etcd", 2379),
    ("sshd", 22),
    ("prometheus", 9090),
    ("fluent-bit", 24224),
    ("beam.smp", 5672),
    ("mongod", 27017),
    ("mysqld", 3306),
    ("memcached", 11211),
    ("kafka-broker", 9092),
    ("vault", 8200),
    ("grpc-gateway", 50051),
];

/// Names that mean harm to whoever shows them: to a page, to a terminal, to whoever takes names for UTF-8, to the eye, to CSV and SQL.
const HOSTILE: [&[u8]; 8] = [
    b"<script>alert(1",
    b"\x1b[31mred\x1b]0;x\x07",
    b"twelve bytes\xf0\x9f\x98",
    b"exe\xe2\x80\xaegpj.sh",
    b"a\",\"b\nc,d",
    b"' OR 1=1 --",
    b"back\\xf0slash",
    b"</script><!--",
];

/// TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and TCP_USER_TIMEOUT, where 0 is what the sysctls say; and how common they are.
const PROFILES: [([u32; 4], u64); 8] = [
    ([15, 15, 3, 0], 20),
    ([30, 10, 3, 0], 20),
    ([60, 10, 6, 0], 20),
    ([60, 30, 5, 90_000], 6),
    ([120, 75, 0, 0], 8),
    ([300, 30, 5, 0], 10),
    ([0, 0, 0, 0], 14),
    ([45, 0, 4, 120_000], 4),
];

/// Processes that do the same.
pub struct Service {
    pub comm: Comm,
    /// Whether its peers connect to it.
    pub serves: bool,
    /// Its own, or that of its peers.
    pub port: u16,
    pub netns: usize,
    /// One for each of its workers.
    pub cgroups: Vec<Arc<str>>,
    pub first_pid: u32,
    /// What its sockets have of their own: as in [`PROFILES`].
    pub own: [u32; 4],
    pub keepalive: bool,
    /// Round trips to its peers, microseconds at least.
    pub near_us: u64,
    /// Of a thousand runs of the timer so many find that there was traffic.
    pub chatty: u64,
}

impl Service {
    pub fn task(&self, worker: u32) -> Task {
        Task { pid: self.first_pid + worker, comm: self.comm }
    }

    pub fn cgroup(&self, worker: u32) -> Option<Arc<str>> {
        self.cgroups.get(worker as usize % self.cgroups.len().max(1)).cloned()
    }
}

pub fn services(dice: &mut Dice, hostile: bool) -> Vec<Service> {
    (0..SERVICES).map(|number| service(number, dice, hostile)).collect()
}

fn service(number: usize, dice: &mut Dice, hostile: bool) -> Service {
    let (name, port) = NAMES[number % NAMES.len()];
    let comm = if hostile { Comm::from(padded(HOSTILE[number % HOSTILE.len()])) } else { Comm::from(name) };
    let contained = number >= NAMES.len() / 2;
    let workers = 1 + dice.below(6);
    let cgroups = (0..if contained { workers } else { 1 }).map(|_| cgroup(name, contained, hostile, dice));
    Service {
        comm,
        serves: !number.is_multiple_of(3),
        port: port + (number / NAMES.len()) as u16,
        netns: if contained { 1 + number % (NAMESPACES.len() - 1) } else { 0 },
        cgroups: cgroups.collect(),
        first_pid: 800 + number as u32 * 97,
        own: profile(dice),
        keepalive: number % 9 != 8,
        near_us: dice.pick(&[80, 300, 900, 4_000, 21_000, 65_000]).unwrap_or(80),
        chatty: dice.pick(&[5, 20, 60, 250]).unwrap_or(5),
    }
}

fn padded(name: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.iter().take(15)) {
        *to = *from;
    }
    bytes
}

fn cgroup(name: &str, contained: bool, hostile: bool, dice: &mut Dice) -> Arc<str> {
    let mark = if hostile { "<b>\u{202e}\u{1b}[7m" } else { "" };
    if !contained {
        return format!("/system.slice/{mark}{name}.service").into();
    }
    let (pod, id, more) = (dice.number(), dice.number(), dice.number());
    format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod:016x}.slice/{mark}cri-{id:016x}{more:016x}.scope"
    )
    .into()
}

fn profile(dice: &mut Dice) -> [u32; 4] {
    let all: u64 = PROFILES.iter().map(|(_, share)| share).sum();
    let mut rolled = dice.below(all);
    for (own, share) in PROFILES {
        match rolled.checked_sub(share) {
            Some(rest) => rolled = rest,
            None => return own,
        }
    }
    [0; 4]
}

/// What is in force on a socket with values of its own.
pub fn in_force(keepalive: bool, own: [u32; 4], sysctls: Sysctls) -> Settings {
    let [time_s, intvl_s, probes, user_timeout_ms] = own;
    Settings {
        keepalive,
        time_s: Sourced::pick(time_s.cast_signed(), sysctls.time_s as i32),
        intvl_s: Sourced::pick(intvl_s.cast_signed(), sysctls.intvl_s as i32),
        probes: Sourced::pick(probes, sysctls.probes),
        user_timeout_ms,
    }
}
