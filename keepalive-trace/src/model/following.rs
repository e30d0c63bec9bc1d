//! Which sockets follow a write to a sysctl, and when.
use std::collections::HashMap;

use super::{
    listing::Listed,
    settings::Settings,
    state::State,
    sysctl::{Deadlines, Following, Name, Write},
    wheel::{self, Armed},
};

/// Which of these sockets follow a write when. An armed timer keeps its deadline: `tcp_keepalive_time` is looked at when it
/// fires, `tcp_keepalive_intvl` when it is armed after a probe, and `tcp_keepalive_probes` at each run.
pub fn following(write: &Write, sockets: impl IntoIterator<Item = Listed>, hz: u32) -> Following {
    let name = write.name;
    let mut following = Following::default();
    let mut moments = Vec::new();
    for listed in sockets {
        let socket = &listed.socket;
        let Some(settings) = socket.settings.filter(|_| socket.state != State::LISTEN) else { continue };
        following.sockets += 1;
        // The timer of an orphan in FIN_WAIT2 is no keepalive.
        if !settings.keepalive || socket.orphan && socket.state == State::FIN_WAIT2 {
            following.never_off += 1;
        } else if name.followed(&settings).is_none() {
            following.never_socket += 1;
        } else if let Some(fires) =
            listed.fires(hz).filter(|_| waits(name, socket.probes_out) || waits_after_answer(write, &listed, &settings, hz))
        {
            following.later += 1;
            moments.push(listed.mono_ns.saturating_add_signed(fires.latest_ms.saturating_mul(1_000_000)));
        } else {
            following.now += 1;
        }
    }
    moments.sort_unstable();
    if let [nearest_ns, .., last_ns] | [nearest_ns @ last_ns] = moments[..] {
        following.by = Some(Deadlines { nearest_ns, median_ns: moments[(moments.len() - 1) / 2], last_ns });
    }
    following
}

/// Whether a timer that is armed keeps a connection from following.
fn waits(name: Name, probes_out: Option<u32>) -> bool {
    match name {
        Name::Time => true,
        // Only between two probes is it armed with the interval.
        Name::Intvl => probes_out.is_some_and(|out| out > 0),
        Name::Probes => false,
    }
}

/// Whether an interval that was longer than the time keeps a connection waiting: after a probe that was answered, the timer
/// is armed with it though no probe is out any more. A timer with more left than both was armed with an older time.
fn waits_after_answer(write: &Write, listed: &Listed, settings: &Settings, hz: u32) -> bool {
    let jiffies = |seconds: i64| seconds.saturating_mul(hz.into());
    let (time, interval) = (jiffies(settings.time_s.value.into()), jiffies(write.old));
    // The wheel's clock may be behind when a timer is armed.
    let highest = wheel::level(u64::try_from(time).unwrap_or(0).saturating_add(hz.into()), hz);
    let longer = |timer: Armed| timer.left <= interval && (timer.left > time || timer.level.is_some_and(|level| level > highest));
    write.name == Name::Intvl && interval > time && listed.timer.is_some_and(longer)
}

/// Of which sysctls a connection's armed timer is older than the present value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale(u8);

impl Stale {
    fn bit(name: Name) -> u8 {
        1 << name as u8
    }

    pub fn any(self) -> bool {
        self.0 != 0
    }

    fn has(self, name: Name) -> bool {
        self.0 & Self::bit(name) != 0
    }

    /// A value was written while the connection had these settings, and so many probes out.
    pub fn written(&mut self, write: &Write, settings: &Settings, probes_out: u32) {
        let armed_with = write.name.followed(settings).filter(|_| waits(write.name, Some(probes_out)));
        match armed_with {
            Some(value) if value != write.new => self.0 |= Self::bit(write.name),
            _ => self.0 &= !Self::bit(write.name),
        }
    }

    /// A process set something: what no longer comes from the sysctl, or is armed anew, is not stale.
    pub fn set(&mut self, settings: &Settings) {
        for name in [Name::Time, Name::Intvl, Name::Probes] {
            if name.followed(settings).is_none() {
                self.0 &= !Self::bit(name);
            }
        }
    }
}

/// The latest write to each sysctl of each namespace.
#[derive(Debug, Default)]
pub struct Writes(HashMap<(u32, Name), Write>);

/// So many are remembered.
const REMEMBERED: usize = 4096;

impl Writes {
    pub fn note(&mut self, write: &Write) {
        let key = (write.netns, write.name);
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, write)| write.mono_ns).map(|(key, _)| *key);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(key, write.clone());
    }

    /// The write that a timer's run has caught up with: of a value that the timer had been armed before, or that changed
    /// since the settings were seen last.
    pub fn behind(&self, netns: Option<u32>, stale: Stale, before: Option<&Settings>, now: &Settings) -> Option<&Write> {
        let netns = netns?;
        let is = |name: &Name| {
            let write = self.0.get(&(netns, *name))?;
            let value = name.followed(now)?;
            let changed = before.is_some_and(|before| name.followed(before).is_some_and(|before| before != value));
            (stale.has(*name) || changed && value == write.new).then_some(write)
        };
        [Name::Time, Name::Intvl, Name::Probes].iter().find_map(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        listing::samples::{armed, by_socket, by_sysctl, listed},
        sighting::Socket,
        wheel::Armed,
    };

    /// Fires after this many jiffies, to the jiffy.
    fn timer(left: u32) -> Armed {
        Armed { left: left.into(), expires: left, level: Some(0) }
    }

    fn probing(listed: Listed) -> Listed {
        Listed { socket: Socket { probes_out: Some(2), ..listed.socket }, ..listed }
    }

    /// Three that are armed by sysctl, one of them between two probes; one that is not armed yet; one by its own options; two
    /// without keepalive; an orphan; and a listener.
    fn sockets() -> Vec<Listed> {
        let by = || by_sysctl(7200, 75, 9);
        let off = Settings { keepalive: false, ..by() };
        let with = |socket: fn(Socket) -> Socket, it: Listed| Listed { socket: socket(it.socket), ..it };
        vec![
            armed(timer(2500), by()),
            armed(timer(250), by()),
            probing(armed(timer(25_000), by())),
            with(|socket| Socket { state: State::SYN_SENT, ..socket }, listed(by())),
            armed(timer(10), by_socket(5, 5, 5)),
            listed(off),
            listed(off),
            with(|socket| Socket { state: State::FIN_WAIT2, orphan: true, ..socket }, armed(timer(99), by())),
            with(|socket| Socket { state: State::LISTEN, ..socket }, listed(by())),
        ]
    }

    fn write(name: Name, old: i64) -> Write {
        Write { mono_ns: 0, netns: 7, name, old, new: 1, refused: None, by: None }
    }

    fn counts(name: Name) -> (u64, u64, u64, u64, u64) {
        let Following { sockets, now, later, never_socket, never_off, by: _ } = following(&write(name, 75), sockets(), 250);
        (sockets, now, later, never_socket, never_off)
    }

    #[test]
    fn a_time_waits_for_the_timer_an_interval_only_between_probes_and_a_count_for_nothing() {
        assert_eq!(counts(Name::Time), (8, 1, 3, 1, 3));
        assert_eq!(counts(Name::Intvl), (8, 3, 1, 1, 3));
        assert_eq!(counts(Name::Probes), (8, 4, 0, 1, 3));
    }

    #[test]
    fn an_interval_that_is_longer_than_the_time_waits_after_an_answered_probe_too() {
        let waiting = |timer| following(&write(Name::Intvl, 300), [armed(timer, by_sysctl(5, 2, 9))], 250).later;
        assert_eq!(waiting(Armed { left: 74_000, expires: 74_000, level: Some(4) }), 1, "more left than the time is");
        assert_eq!(waiting(Armed { left: 900, expires: 900, level: Some(4) }), 1, "it was armed with more");
        assert_eq!(waiting(Armed { left: 900, expires: 900, level: Some(2) }), 0, "armed with the time");
        assert_eq!(waiting(Armed { left: 80_000, expires: 80_000, level: Some(4) }), 0, "armed with an older time");
        let short = following(&write(Name::Intvl, 75), [armed(timer(1_799_999), by_sysctl(7000, 60, 9))], 250);
        assert_eq!(short.later, 0, "an interval that is shorter than the time keeps nobody waiting");
    }

    #[test]
    fn those_that_follow_later_say_by_when() {
        // A timer that fires with the nth tick has done its work by the next.
        let ms = |jiffies: u64| (jiffies + 2) * 4 * 1_000_000;
        let by = following(&write(Name::Time, 7200), sockets(), 250).by;
        assert_eq!(by, Some(Deadlines { nearest_ns: ms(250), median_ns: ms(2500), last_ns: ms(25_000) }));
        assert_eq!(following(&write(Name::Probes, 9), sockets(), 250).by, None);
    }

    #[test]
    fn the_latest_writes_are_remembered_and_the_oldest_forgotten() {
        let mut writes = Writes::default();
        let write = |netns: u32, new| Write {
            mono_ns: u64::from(netns),
            netns,
            name: Name::Time,
            old: 7200,
            new,
            refused: None,
            by: None,
        };
        for netns in 1..=REMEMBERED as u32 + 1 {
            writes.note(&write(netns, 600));
        }
        let (before, now) = (by_sysctl(7200, 75, 9), by_sysctl(600, 75, 9));
        let behind = |netns| writes.behind(Some(netns), Stale::default(), Some(&before), &now).is_some();
        assert_eq!((writes.0.len(), behind(1), behind(2)), (REMEMBERED, false, true));
    }
}
