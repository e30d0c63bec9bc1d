//! What is written to the sysctls, and the connections that come to follow.
use super::{Entry, Tracker};
use crate::model::{
    event::{Body, Changed, Event, Outcome, Timer, Via},
    sighting::{Sighting, What},
    sysctl::{Following, Write},
    table::Slot,
};

impl Tracker {
    /// Takes in that a sysctl was written, and what was counted of the connections there.
    pub fn sysctl(&mut self, write: &Write, following: Option<Following>, out: &mut Vec<Event>) {
        self.settle(write.mono_ns, out);
        if write.refused.is_none() && write.old != write.new {
            for Entry { history, stale, .. } in self.table.iter_mut() {
                let there = history.netns() == Some(write.netns) && history.verdict.is_none();
                if let Some(settings) = history.settings().filter(|_| there) {
                    stale.written(write, &settings, history.tally.pending);
                }
            }
            self.writes.note(write);
        }
        out.push(Event { mono_ns: write.mono_ns, body: Body::Sysctl(write.clone(), following) });
    }

    /// The change of settings that a sighting shows. When the timer runs, it looks at the sysctls, and follows what was written
    /// while it was armed.
    pub(super) fn change(&mut self, slot: Slot, sighting: &Sighting) -> Option<Changed> {
        let Sighting { mono_ns, socket, what } = sighting;
        let entry = self.table.get_mut(slot);
        let change = entry.life.change(sighting, &entry.history);
        let Some(settings) = &socket.settings else { return change };
        match what {
            What::Set { .. } => entry.stale.set(settings),
            // It comes back without having looked at anything.
            What::Timer(Timer { outcome: Outcome::SocketBusy, .. }) => return None,
            What::Timer(_) | What::Probe(_) => {
                let stale = std::mem::take(&mut entry.stale);
                let write = self.writes.behind(socket.netns, stale, entry.history.settings().as_ref(), settings);
                if let Some(Write { mono_ns: written_ns, by, .. }) = write {
                    let waited_ms = mono_ns.saturating_sub(*written_ns) / 1_000_000;
                    return Some(Changed { by: *by, via: Some(Via::Sysctl { waited_ms }) });
                }
            }
            _ => {}
        }
        change
    }
}
