//! A crowd of every kind, in processes of its own, in three namespaces.
use std::{net::SocketAddr, thread::sleep, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    diag::{self, Timer},
    listing::{self, Listing, Socket},
    netns::Netns,
    pair::{Connection, Family, Plan},
    role::{Actor, Held},
};

use super::{has_the_deadline, sums_up};
use crate::bench::Bench;

/// Of each namespace: time, interval, probes.
const SYSCTLS: [[i64; 3]; 3] = [[7200, 75, 9], [600, 30, 5], [5000, 7, 100]];
const NAMES: [&str; 3] = ["tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_keepalive_probes"];
const OPTIONS: [&str; 3] = ["TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"];
/// Connections to each listener; 516 sockets in all.
const EACH: usize = 21;

/// A listener, what it is set to, and so what its connections' servers inherit.
struct Inheritance {
    family: Family,
    keepalive: bool,
    /// Of [`OPTIONS`]; 0 is not set.
    options: [i32; 3],
    user_timeout: i32,
}

const NOTHING: [i32; 3] = [0; 3];
const INHERITED: [Inheritance; 4] = [
    Inheritance { family: Family::V4, keepalive: false, options: NOTHING, user_timeout: 0 },
    Inheritance { family: Family::V4, keepalive: true, options: [0, 0, 4], user_timeout: 45_000 },
    Inheritance { family: Family::V6, keepalive: true, options: NOTHING, user_timeout: 0 },
    Inheritance { family: Family::V6, keepalive: true, options: [345, 67, 8], user_timeout: 0 },
];

/// A socket as it was set up; the values are for its owner's getsockopt to say.
struct Wanted {
    end: Connection,
    is_listener: bool,
    state: &'static str,
    /// Of time, interval, probes: whether it was set on the socket, or inherited from the listener.
    own: [bool; 3],
}

/// One namespace with its two processes and their sockets.
struct Quarter {
    netns: Netns,
    client: Actor,
    server: Actor,
    clients: Vec<Wanted>,
    servers: Vec<Wanted>,
}

/// Every combination comes up: the options by the number's bits, their values by the number.
fn options(number: usize) -> [i32; 3] {
    let n = number as i32;
    let values = [100 + n, 10 + n % 50, 2 + n % 100];
    [0, 1, 2].map(|bit| if number >> bit & 1 == 1 { values[bit] } else { 0 })
}

/// Sets them, SO_KEEPALIVE first or last.
fn set(actor: &mut Actor, number: usize, keepalive: bool, options: [i32; 3]) -> Result<()> {
    let first = number.is_multiple_of(2);
    if keepalive && first {
        actor.set("SO_KEEPALIVE", 1)?;
    }
    for (option, value) in OPTIONS.into_iter().zip(options).filter(|(_, value)| *value != 0) {
        actor.set(option, value)?;
    }
    if keepalive && !first {
        actor.set("SO_KEEPALIVE", 1)?;
    }
    Ok(())
}

impl Quarter {
    fn settle(sysctls: [i64; 3]) -> Result<Self> {
        let netns = Netns::new()?;
        NAMES.into_iter().zip(sysctls).try_for_each(|(name, value)| netns.sysctl(name, value))?;
        let (client, server) = (Actor::enter("crowd-client", &netns)?, Actor::enter("crowd-server", &netns)?);
        let mut quarter = Self { netns, client, server, clients: Vec::new(), servers: Vec::new() };
        for (place, inherited) in INHERITED.iter().enumerate() {
            let there = quarter.listen(inherited)?;
            (0..EACH).try_for_each(|number| quarter.connect(inherited, there, place * EACH + number))?;
        }
        Ok(quarter)
    }

    fn listen(&mut self, as_wanted: &Inheritance) -> Result<SocketAddr> {
        let Inheritance { family, keepalive, options, user_timeout } = *as_wanted;
        let there = self.server.listen(Plan::new(family).server_address(), [0; 3])?;
        self.server.set_listener("SO_KEEPALIVE", keepalive.into())?;
        self.server.set_listener("TCP_USER_TIMEOUT", user_timeout)?;
        for (option, value) in OPTIONS.into_iter().zip(options).filter(|(_, value)| *value != 0) {
            self.server.set_listener(option, value)?;
        }
        let nobody = SocketAddr::new(if there.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() }, 0);
        let end = Connection::between(self.netns.id(), there, nobody);
        self.servers.push(Wanted { end, is_listener: true, state: "LISTEN", own: options.map(|value| value != 0) });
        Ok(there)
    }

    fn connect(&mut self, inherited: &Inheritance, there: SocketAddr, number: usize) -> Result<()> {
        let mapped = there.is_ipv4() && number % 3 == 1;
        let family = if mapped { Family::Mapped } else { inherited.family };
        let local = self.client.connect(SocketAddr::new(Plan::new(family).client_address().ip(), there.port()), [0; 3])?;
        self.server.accept()?;
        let end = Connection::between(self.netns.id(), local, there);
        let set_here = options(number);
        set(&mut self.client, number, !number.is_multiple_of(5), set_here)?;
        if number % 6 == 1 {
            self.client.set("TCP_USER_TIMEOUT", 1000 + number as i32)?;
        }
        let set_there = if number % 4 == 3 { options(number / 4) } else { NOTHING };
        set(&mut self.server, number, number % 8 == 3, set_there)?;
        let half_closed = number % 7 == 2;
        if half_closed {
            self.client.shutdown()?;
        }
        let states = if half_closed { ["FIN_WAIT2", "CLOSE_WAIT"] } else { ["ESTABLISHED"; 2] };
        let inherits = |place: usize| set_there[place] != 0 || inherited.options[place] != 0;
        let client = Wanted { end, is_listener: false, state: states[0], own: set_here.map(|value| value != 0) };
        self.clients.push(client);
        let server = Wanted { end: end.other_end(), is_listener: false, state: states[1], own: [0, 1, 2].map(inherits) };
        self.servers.push(server);
        Ok(())
    }

    /// What the kernel lists when every FIN is acknowledged, which its peer takes a while for: then nothing more will change.
    fn at_rest(&self) -> Result<diag::Listing> {
        for _ in 0..100 {
            let shown = diag::list(&self.netns)?;
            if shown.sockets.iter().all(|socket| socket.timer != Timer::Retransmit) {
                return Ok(shown);
            }
            sleep(Duration::from_millis(20));
        }
        bail!("a FIN is not acknowledged")
    }

    /// Holds what is listed of this namespace against what its processes and the kernel say.
    fn hold(&mut self, listing: &Listing, shown: &diag::Listing) -> Result<()> {
        let listed = listing.sockets.iter().filter(|socket| socket.netns == self.netns.inode()).count();
        assert_eq!(listed, self.clients.len() + self.servers.len());
        for (actor, name, wanted) in
            [(&mut self.client, "crowd-client", &self.clients), (&mut self.server, "crowd-server", &self.servers)]
        {
            let held = actor.survey()?;
            ensure!(held.len() == wanted.len(), "{} sockets are held, {} were made", held.len(), wanted.len());
            for wanted in wanted {
                let socket = listing.of(&wanted.end)?;
                let remote = (!wanted.is_listener).then_some(wanted.end.remote);
                let held = held.iter().find(|held| (held.local, held.remote) == (wanted.end.local, remote));
                is_as_its_owner_has_it(socket, wanted, held.context("its owner does not know it")?)?;
                assert_eq!((socket.pid, socket.comm.as_deref()), (Some(actor.pid()), Some(name)), "{socket:?}");
                let kernel = shown.of(wanted.end.local, wanted.end.remote).context("the kernel shows no such socket")?;
                is_as_the_kernel_shows_it(socket, kernel, shown)?;
            }
        }
        Ok(())
    }
}

fn is_as_its_owner_has_it(socket: &Socket, wanted: &Wanted, held: &Held) -> Result<()> {
    let Held { local, remote: _, keepalive, time_s, intvl_s, probes, user_timeout_ms } = *held;
    assert_eq!((socket.ip, socket.local()?, socket.remote()?), (wanted.end.ip, local, wanted.end.remote), "{socket:?}");
    let listed = (socket.keepalive, socket.time_s, socket.intvl_s, socket.probes, socket.user_timeout_ms);
    assert_eq!(listed, (keepalive, time_s, intvl_s, probes, user_timeout_ms), "{socket:?}");
    assert_eq!((socket.state.as_str(), socket.holders), (wanted.state, None), "{socket:?}");
    let origins = wanted.own.map(|own| if own { "socket" } else { "sysctl" });
    assert_eq!([&socket.origin.time, &socket.origin.intvl, &socket.origin.probes], origins, "{socket:?}");
    let notices = keepalive && !wanted.is_listener;
    assert_eq!((socket.timer_left_ms.is_some(), socket.detect_ms.is_some()), (notices, notices), "{socket:?}");
    if notices && user_timeout_ms == 0 {
        // The wheel makes each wait longer, by an eighth and a few jiffies at most.
        let shortest = u64::try_from(time_s + intvl_s * i64::from(probes))? * 1000;
        let longest = shortest + shortest / 7 + 20 * (1 + u64::from(probes));
        assert!(socket.detect_ms.is_some_and(|ms| (shortest..=longest).contains(&ms)), "{shortest}..={longest}: {socket:?}");
    }
    Ok(())
}

fn is_as_the_kernel_shows_it(socket: &Socket, shown: &diag::Shown, listed: &diag::Listing) -> Result<()> {
    assert_eq!((socket.ip, socket.cookie), (shown.ip, Some(shown.cookie)), "{socket:?}");
    let queued = (socket.unacked.unwrap_or_default(), socket.unsent.unwrap_or_default());
    assert_eq!(queued, (0, 0), "{socket:?}");
    match shown.timer {
        Timer::Keepalive => {
            assert_eq!(socket.probes_out, Some(shown.retrans.into()), "{socket:?}");
            has_the_deadline(socket, shown, listed)
        }
        _ => {
            assert_eq!((shown.timer, socket.timer_left_ms, socket.window()), (Timer::None, None, None), "{socket:?}");
            Ok(())
        }
    }
}

pub fn five_hundred_sockets_are_listed_as_their_owners_and_the_kernel_have_them(_: &Bench) -> Result<()> {
    let mut quarters = SYSCTLS.into_iter().map(Quarter::settle).collect::<Result<Vec<_>>>()?;
    let shown = quarters.iter().map(Quarter::at_rest).collect::<Result<Vec<_>>>()?;
    let listing = listing::list(&["--listen"])?;
    assert!(listing.sockets.len() > 500, "{} sockets", listing.sockets.len());
    let in_its_time = |socket: &Socket| (listing.began..=listing.ended).contains(&socket.mono_ns);
    assert!(listing.sockets.iter().all(in_its_time), "read at another time than it ran");
    sums_up(&listing)?;
    quarters.iter_mut().zip(&shown).try_for_each(|(quarter, shown)| quarter.hold(&listing, shown))
}
