//! All connections of a run: who is who, what became of them, and what there is to tell. Memory is bounded by the table's size.
use std::{collections::VecDeque, sync::Arc};

use super::{
    event::{Body, ConnId, Connection, Event, How, Lost, Open, Outcome, Place},
    following::{Stale, Writes},
    history::History,
    holding::{Holding, chosen, holders_of},
    life::Life,
    names::Names,
    owner::{Owner, Owners},
    sighting::{Closed, Sighting, Socket, What},
    state::State,
    table::{Slot, Table},
};

mod connection;
mod early;
mod handshakes;
mod lost;
mod sysctls;

use connection::{connection, opened, remembered, used, used_first};
use early::Early;
pub use early::Whose;
use handshakes::Handshakes;
pub use lost::Census;

/// How many histories are kept unless somebody says otherwise: some 27 MB.
pub const CAPACITY: usize = 100_000;

/// A process that aborts sets the state first and then sends its reset. So long we wait for the reset, nanoseconds: far
/// longer than the kernel takes, unless the process is held up just between.
pub const SETTLE_NS: u64 = 250_000_000;

/// A socket that was listed so soon after its end was closing while it was read, nanoseconds.
const RACE_NS: u64 = 10_000_000;

/// Gives every sighting to its connection, and tells what follows.
#[derive(Debug)]
pub struct Tracker {
    /// Jiffies a second.
    hz: u32,
    /// Whose connections are told.
    wanted: Owners,
    table: Table<Entry>,
    cgroups: Names,
    /// Who holds sockets that are about to be seen for the first time, by socket.
    expected: Vec<Holding>,
    /// Connections on which nothing happens are not told: the kernel side tells of one when something does.
    quiet: bool,
    /// What is seen now are the connections that are there already, and what happens to them meanwhile.
    looking_around: bool,
    /// Connections that are closed and not yet judged, the oldest first.
    unsettled: VecDeque<Unsettled>,
    writes: Writes,
    /// HTTP on connections that are not known yet.
    early: Early,
    handshakes: Handshakes,
    forgotten: u64,
    /// Ends of which it is not known whose they were.
    nameless: u64,
}

#[derive(Debug)]
struct Entry {
    history: History,
    life: Life,
    /// The socket's cgroup, by its number among the tracker's names.
    cgroup: u32,
    /// The socket's when it was seen last.
    state: State,
    /// Its opening was told, and so all else is.
    told: bool,
    /// Of what its armed timer knows nothing yet.
    stale: Stale,
}

#[derive(Debug)]
struct Unsettled {
    slot: Slot,
    at_ns: u64,
    socket: Socket,
    closed: Closed,
}

/// Spreads a number's bits over all of it, and maps no two numbers to one: the finalizer of MurmurHash3.
fn spread(number: u64) -> u64 {
    let number = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ number >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

impl Tracker {
    pub fn new(hz: u32, capacity: usize, wanted: Owners) -> Self {
        let table = Table::new(capacity);
        Self {
            hz,
            wanted,
            table,
            cgroups: Names::default(),
            expected: Vec::new(),
            quiet: false,
            looking_around: false,
            unsettled: VecDeque::new(),
            writes: Writes::default(),
            early: Early::default(),
            handshakes: Handshakes::default(),
            forgotten: 0,
            nameless: 0,
        }
    }

    /// The kernel side is in quiet mode: connections that are there already are told when something happens on them, too.
    pub fn keep_quiet(&mut self) {
        self.quiet = true;
    }

    /// Takes in what was seen; appends what there is to tell. Sightings come in the order of their times.
    pub fn see(&mut self, sighting: &Sighting, out: &mut Vec<Event>) {
        if sighting.socket.remote.port() == 0 {
            self.see_nameless(sighting, out);
        } else {
            self.see_named(sighting, out);
        }
    }

    /// The kernel has taken the peer from the socket already, as it does in `tcp_disconnect`: the run of the hook that sees the end
    /// before that was skipped. It is the connection that the socket was; where that is not known, it is counted as lost.
    fn see_nameless(&mut self, sighting: &Sighting, out: &mut Vec<Event>) {
        let address = sighting.socket.address;
        let Some(slot) = self.table.find(address).filter(|slot| !self.table.is_ended(*slot)) else {
            self.nameless += u64::from(matches!(sighting.what, What::Closed(_)));
            return;
        };
        let history = &self.table.get(slot).history;
        let socket = Socket { local: history.local(), remote: history.remote(), ..sighting.socket.clone() };
        self.see_named(&Sighting { socket, ..sighting.clone() }, out);
    }

    fn see_named(&mut self, sighting: &Sighting, out: &mut Vec<Event>) {
        self.settle(sighting.mono_ns, out);
        let Some(slot) = self.connection(sighting, out) else { return };
        let at = sighting.mono_ns;
        if self.quiet && sighting.what == What::Snapshot {
            return;
        }
        self.introduce(slot, at, &sighting.socket, out);
        let entry = self.table.get_mut(slot);
        let reply = entry.life.answer(sighting, &entry.history, self.hz);
        if let Some(reply) = reply {
            self.tell(slot, at, &sighting.socket, |connection| Body::Reply(connection, reply), out);
        }
        if let Some(change) = self.change(slot, sighting) {
            self.tell(slot, at, &sighting.socket, |connection| Body::Settings(connection, change), out);
        }
        let entry = self.table.get_mut(slot);
        if let Some(news) = entry.life.news(sighting, &entry.history) {
            self.tell(slot, at, &sighting.socket, |connection| news.of(connection), out);
        }
        match &sighting.what {
            What::Closed(closed) => self.close(slot, at, &sighting.socket, closed, out),
            // What an end waited for.
            What::Reset(_) | What::Timer(_) => self.settle_slot(slot, out),
            _ => {}
        }
        self.table.touch(slot);
    }

    /// Judges those that have waited long enough by now, nanoseconds of CLOCK_MONOTONIC.
    pub fn settle(&mut self, now_ns: u64, out: &mut Vec<Event>) {
        while let Some(due) = self.next_settling()
            && due <= now_ns
            && let Some(unsettled) = self.unsettled.pop_front()
        {
            self.judge(unsettled, out);
        }
    }

    /// When [`Self::settle`] has something to do.
    pub fn next_settling(&self) -> Option<u64> {
        self.unsettled.front().map(|unsettled| unsettled.at_ns.saturating_add(SETTLE_NS))
    }

    /// Learns who holds sockets now, nanoseconds of CLOCK_MONOTONIC: all that hold any of them, by socket, then by pid.
    pub fn held(&mut self, holdings: &[Holding], now_ns: u64, out: &mut Vec<Event>) {
        for held in holdings.chunk_by(|one, other| one.socket == other.socket) {
            let Some(address) = held.first().map(|holding| holding.socket) else { continue };
            let Some(slot) = self.table.find(address) else { continue };
            let Entry { history, state, .. } = self.table.get(slot);
            if let Some(owner) = chosen(&self.wanted, held, used(history)) {
                let socket = remembered(history, address, *state);
                self.own(slot, Some(owner), now_ns, &socket, out);
            }
        }
    }

    /// Somebody found out who it is.
    fn own(&mut self, slot: Slot, owner: Option<Owner>, at_ns: u64, socket: &Socket, out: &mut Vec<Event>) {
        let history = &mut self.table.get_mut(slot).history;
        if owner.is_some() && owner != history.owner() {
            history.set_owner(owner);
            self.tell(slot, at_ns, socket, Body::Owner, out);
        }
    }

    /// The first look around begins: the next sightings are of connections that are there already, held by these, and of what
    /// happens to them meanwhile.
    pub fn expect_holders(&mut self, holdings: Vec<Holding>) {
        self.expected = holdings;
        self.looking_around = true;
    }

    /// From now on, what is not known yet is new, or was overlooked.
    pub fn looked_around(&mut self) {
        self.expected = Vec::new();
        self.looking_around = false;
    }

    /// What was lost since the last call: histories forgotten for lack of room, and ends of which it is not known whose they were.
    pub fn take_lost(&mut self) -> impl Iterator<Item = Lost> + use<> {
        let forgotten = Lost { count: std::mem::take(&mut self.forgotten), place: Place::ConnectionTable };
        let nameless = Lost { count: std::mem::take(&mut self.nameless), place: Place::SkippedRun };
        [forgotten, nameless].into_iter().filter(|lost| lost.count > 0)
    }

    /// Whose connections are told.
    pub fn wanted(&self) -> &Owners {
        &self.wanted
    }

    /// All histories that are left and were told of, with their cgroups.
    pub fn histories(&self) -> impl Iterator<Item = (&History, Option<Arc<str>>)> {
        let told = self.table.iter().filter(|entry| entry.told);
        told.map(|entry| (&entry.history, self.cgroups.name(entry.cgroup).cloned()))
    }

    /// The connection that was seen: known, or new and opened now. None for what an ended one leaves behind.
    fn connection(&mut self, sighting: &Sighting, out: &mut Vec<Event>) -> Option<Slot> {
        let Sighting { mono_ns, socket, what } = sighting;
        let found = self.table.find(socket.address);
        let same = found.filter(|slot| self.table.get(*slot).history.is_between(socket.netns, socket.local, socket.remote));
        if let Some(slot) = same {
            if self.table.is_ended(slot) {
                if self.is_late(slot, sighting) {
                    return self.last_words(slot, sighting, out);
                }
            } else if what.is_late() && !self.table.get(slot).told {
                if *mono_ns <= self.table.get(slot).history.opened_ns {
                    return Some(self.adopt(slot, sighting, out));
                }
                // It began after the walk: the one that the walk has found ended, and was only counted.
                self.table.end(slot);
            } else if !matches!(what, What::Connected { .. })
                || self.table.get(slot).state == State::SYN_SENT
                // The walk found it, and how it began was not told then.
                || what.is_late() && *mono_ns <= self.table.get(slot).history.opened_ns
            {
                self.table.get_mut(slot).state = socket.state;
                self.own(slot, what.holder(), *mono_ns, socket, out);
                return Some(slot);
            }
        }
        // The socket is another connection's now, so the one before has ended, and nobody saw it.
        if let Some(slot) = found.filter(|slot| !self.table.is_ended(*slot)) {
            let before = remembered(&self.table.get(slot).history, socket.address, State::CLOSE);
            self.finish(slot, *mono_ns, &before, &Closed::unseen(), out);
        }
        if matches!(what, What::Acked) {
            return None;
        }
        Some(self.open(sighting, out))
    }

    /// In quiet mode: something happens on a connection that a walk has found. What the walk has seen of its settings stays, so
    /// that a change since then shows.
    fn adopt(&mut self, before: Slot, sighting: &Sighting, out: &mut Vec<Event>) -> Slot {
        let found = self.table.get_mut(before);
        let (settings, stale) = (found.history.settings(), std::mem::take(&mut found.stale));
        self.table.end(before);
        let socket = Socket { settings: settings.or(sighting.socket.settings), ..sighting.socket.clone() };
        let slot = self.open(&Sighting { socket, ..sighting.clone() }, out);
        self.table.get_mut(slot).stale = stale;
        slot
    }

    fn open(&mut self, sighting: &Sighting, out: &mut Vec<Event>) -> Slot {
        let Sighting { mono_ns, socket, what } = sighting;
        let (how, connect_us) = match what {
            What::Snapshot => (How::Snapshot, None),
            What::Connected { connect_us, .. } => (How::Connect, *connect_us),
            What::Closed(Closed { from: State::SYN_SENT, .. }) => (How::Connect, None),
            What::Accepted { .. } => (How::Accept, None),
            // Its timer ran, or it was set, just before the look around came to it.
            What::Probe(_) | What::Timer(_) | What::Set { .. } if self.looking_around => (How::Snapshot, None),
            _ => (How::FirstEvent, None),
        };
        if let Some(us) = connect_us {
            self.handshakes.took(socket.netns, socket.remote.ip(), u32::try_from(us).unwrap_or(u32::MAX));
        }
        let owner = match what {
            What::Closed(Closed { by, unaccepted: false, .. }) => by.map(Owner::alone),
            // The process that sets an option holds the socket, until a look at the open files says more.
            What::Set { by } => by.map(Owner::alone),
            _ => what.holder(),
        };
        let mut first = socket.connection(ConnId(spread(spread(socket.address) ^ mono_ns)), owner);
        let held = holders_of(&self.expected, socket.address);
        first.owner = chosen(&self.wanted, held, used_first(&first)).or(first.owner);
        // One that has no more time to wait is judged before it is forgotten.
        if let Some(slot) = self.table.next_to_go() {
            self.settle_slot(slot, out);
        }
        let (history, event) = opened(first, *mono_ns, Open { how, connect_us });
        let is_there_already = how == How::Snapshot && self.quiet;
        let told = !is_there_already && self.wanted.wants(history.owner().as_ref().map(|owner| &owner.task));
        let cgroup = socket.cgroup.as_ref().map_or(0, |path| self.cgroups.number(path));
        let entry = Entry { history, life: Life::default(), cgroup, state: socket.state, told, stale: Stale::default() };
        let (slot, evicted) = self.table.insert(socket.address, entry);
        // Of what was not asked for, nobody misses anything.
        self.forgotten += u64::from(evicted.is_some_and(|evicted| evicted.told));
        if told {
            out.push(event);
        }
        for (at, passed) in self.early.take(socket) {
            self.pass_on(slot, socket.address, at.max(*mono_ns), &passed, out);
        }
        slot
    }

    /// Of a connection that turns out to be wanted only now, the opening is told now; and its history begins with that, as it
    /// does for whoever has only the events.
    fn introduce(&mut self, slot: Slot, at_ns: u64, socket: &Socket, out: &mut Vec<Event>) {
        let Entry { history, told, .. } = self.table.get_mut(slot);
        if *told || history.verdict.is_some() || !self.wanted.wants(history.owner().as_ref().map(|owner| &owner.task)) {
            return;
        }
        let known = Open { how: history.how, connect_us: history.connect_us().map(u64::from) };
        let at_ns = if self.quiet { history.opened_ns } else { at_ns };
        let first = Connection {
            settings: history.settings(),
            probes_out: Some(history.tally.pending),
            ..socket.connection(history.id, history.owner())
        };
        let event;
        (*history, event) = opened(first, at_ns, known);
        *told = true;
        out.push(event);
    }

    fn close(&mut self, slot: Slot, at_ns: u64, socket: &Socket, closed: &Closed, out: &mut Vec<Event>) {
        let entry = self.table.get_mut(slot);
        // Whoever closes held it to the end, but for the one that closes a listener with what nobody had accepted.
        if let Some(task) = closed.by.filter(|_| !closed.unaccepted) {
            let holders = entry.history.owner().filter(|owner| owner.task.pid == task.pid).map_or(1, |owner| owner.holders);
            entry.history.set_owner(Some(Owner { task, holders }));
        }
        if entry.life.awaits_more(closed) {
            self.table.end(slot);
            self.unsettled.push_back(Unsettled { slot, at_ns, socket: socket.clone(), closed: closed.clone() });
            return;
        }
        self.finish(slot, at_ns, socket, closed, out);
    }

    fn settle_slot(&mut self, slot: Slot, out: &mut Vec<Event>) {
        if let Some(index) = self.unsettled.iter().rposition(|unsettled| unsettled.slot == slot)
            && let Some(unsettled) = self.unsettled.remove(index)
        {
            self.judge(unsettled, out);
        }
    }

    fn judge(&mut self, Unsettled { slot, at_ns, socket, closed }: Unsettled, out: &mut Vec<Event>) {
        self.finish(slot, at_ns, &socket, &closed, out);
    }

    /// The one end that a connection has.
    fn finish(&mut self, slot: Slot, at_ns: u64, socket: &Socket, closed: &Closed, out: &mut Vec<Event>) {
        let entry = self.table.get(slot);
        if entry.history.verdict.is_some() {
            return;
        }
        if self.quiet && !entry.told && closed.is_unseen() {
            // Its end was one of those that are only counted.
            self.table.end(slot);
            return;
        }
        self.introduce(slot, at_ns, socket, out);
        let Self { table, handshakes, .. } = self;
        let entry = table.get(slot);
        let at_ns = entry.history.last_ns.max(at_ns);
        let peer_us = || handshakes.would_take(socket.netns, socket.remote.ip());
        let mut end = entry.life.end(closed, socket, peer_us, &entry.history, at_ns);
        if entry.stale.any() {
            end.armed_before_sysctl = true;
            end.why += "; its timer had been armed before the sysctl was written";
        }
        self.tell(slot, at_ns, socket, |connection| Body::End(connection, end), out);
        // Nothing more follows from it.
        self.table.get_mut(slot).life = Life::default();
        if !self.table.is_ended(slot) {
            self.table.end(slot);
        }
    }

    /// Writes an event into its connection's history, and hands it out where its opening was.
    fn tell(&mut self, slot: Slot, at_ns: u64, socket: &Socket, body: impl FnOnce(Connection) -> Body, out: &mut Vec<Event>) {
        let entry = self.table.get_mut(slot);
        let cgroup = self.cgroups.name(entry.cgroup).cloned();
        // An event is large: it is made where it stays.
        out.push(Event { mono_ns: at_ns, body: body(connection(socket, &entry.history, cgroup)) });
        out.last().into_iter().for_each(|event| entry.history.apply(event));
        if !entry.told {
            out.pop();
        }
    }

    /// What may still be seen of a socket that has closed: its own reset, the end of the timer's run in which it closed, and
    /// somebody who accepts what is dead already.
    fn is_late(&self, slot: Slot, Sighting { mono_ns, socket, what }: &Sighting) -> bool {
        match what {
            What::Probe(_) | What::Connected { .. } => false,
            // The snapshot and the closing CPU race for a moment.
            What::Snapshot => {
                let history = &self.table.get(slot).history;
                history.verdict.is_none() || mono_ns.saturating_sub(history.last_ns) < RACE_NS
            }
            What::Timer(timer) => timer.outcome == Outcome::FinWait2 || socket.state == State::CLOSE,
            What::Accepted { .. } | What::Set { .. } => socket.state == State::CLOSE,
            What::Acked | What::Reset(_) | What::PeerReset | What::Aborted { .. } | What::Closed(_) => true,
        }
    }

    /// Of an ended connection: what is still told, or still counts for its verdict.
    fn last_words(&mut self, slot: Slot, Sighting { mono_ns, socket, what }: &Sighting, out: &mut Vec<Event>) -> Option<Slot> {
        self.own(slot, what.holder(), *mono_ns, socket, out);
        let entry = self.table.get(slot);
        let told = matches!(what, What::Reset(_) | What::Timer(_));
        let counts = !matches!(what, What::Closed(_)) && entry.history.verdict.is_none();
        (told || counts).then_some(slot)
    }
}

#[cfg(test)]
mod tests;
