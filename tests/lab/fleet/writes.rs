//! Writes to keepalive sysctls, and who follows them.
use keepalive_trace::model::{
    errno::Errno,
    event::Body,
    owner::{Comm, Task},
    sysctl::{Deadlines, Following, Name, Sysctls, Write},
};

use super::{
    dice::Dice,
    life::Life,
    services::{NAMESPACES, Service},
};

const WRITES: u64 = 10;
const TIMES: [i64; 4] = [600, 7200, 1800, 300];
const INTERVALS: [i64; 3] = [30, 75, 15];

/// A write that is to come.
pub struct Plan {
    pub at: u64,
    pub netns: usize,
    name: Name,
    new: i64,
    refused: bool,
    by: Task,
}

pub fn planned(begins: u64, long: u64, dice: &mut Dice) -> Vec<Plan> {
    let plan = |number: u64| {
        let name = if number % 3 == 2 { Name::Intvl } else { Name::Time };
        let values: &[i64] = if name == Name::Intvl { &INTERVALS } else { &TIMES };
        Plan {
            at: begins + long / (WRITES + 1) * (number + 1) + dice.below(1_000_000_000),
            netns: dice.below(NAMESPACES.len() as u64) as usize,
            name,
            new: dice.pick(values).unwrap_or(7200),
            refused: number == 4,
            by: Task {
                pid: 70_000 + number as u32,
                comm: Comm::from(if number.is_multiple_of(2) { "sysctl" } else { "ansible-playbook" }),
            },
        }
    };
    (0..WRITES).map(plan).collect()
}

/// Writes it, and tells all that follow it.
pub fn write(plan: &Plan, sysctls: &mut Sysctls, services: &[Service], lives: &mut [Life]) -> Body {
    let value = if plan.name == Name::Intvl { &mut sysctls.intvl_s } else { &mut sysctls.time_s };
    let old = *value;
    let new = if plan.refused { old } else { plan.new };
    *value = new;
    let write = Write {
        mono_ns: plan.at,
        netns: NAMESPACES[plan.netns],
        name: plan.name,
        old,
        new,
        refused: plan.refused.then_some(Errno(22)),
        by: Some(plan.by),
    };
    if plan.refused {
        return Body::Sysctl(write, None);
    }
    let mut following = Following::default();
    let mut deadlines = Vec::new();
    for life in lives.iter_mut().filter(|life| life.open && !life.over && services[life.service].netns == plan.netns) {
        following.sockets += 1;
        if !life.settings.keepalive {
            following.never_off += 1;
            continue;
        }
        if plan.name.followed(&life.settings).is_none() {
            following.never_socket += 1;
            continue;
        }
        let Some(deadline) = life.deadline() else {
            following.now += 1;
            continue;
        };
        following.later += 1;
        deadlines.push(deadline);
        life.stale.get_or_insert(plan.at);
    }
    deadlines.sort_unstable();
    following.by = deadlines.first().zip(deadlines.last()).map(|(nearest, last)| Deadlines {
        nearest_ns: *nearest,
        median_ns: deadlines[deadlines.len() / 2],
        last_ns: *last,
    });
    Body::Sysctl(write, Some(following))
}
