//! Connections whose timer is older than what was written.
use super::*;
use crate::model::{
    event::End,
    sysctl::{Name, Write},
};

const WRITTEN: u64 = 1000;

/// All from the sysctls.
fn by_sysctl(time_s: i32, intvl_s: i32) -> Settings {
    let sysctl = |value| Sourced { value, origin: Origin::Sysctl };
    Settings { time_s: sysctl(time_s), intvl_s: sysctl(intvl_s), ..settings(1) }
}

fn with(settings: Settings, socket: Socket) -> Socket {
    Socket { settings: Some(settings), ..socket }
}

impl Run {
    /// `sysctl[77]` writes in network namespace 7.
    fn write(&mut self, ms: u64, name: Name, old: i64, new: i64) -> Vec<String> {
        self.written(&Write { mono_ns: ms * MS, netns: 7, name, old, new, refused: None, by: Some(task(77, "sysctl")) })
    }

    fn written(&mut self, write: &Write) -> Vec<String> {
        let mut out = Vec::new();
        self.tracker.sysctl(write, None, &mut out);
        self.note(out)
    }

    fn last_end(&self) -> &End {
        self.told.iter().rev().find_map(|event| if let Body::End(_, end) = &event.body { Some(end) } else { None }).unwrap()
    }
}

/// A connection by sysctl 7200 s and 75 s; then the time becomes 600 s.
fn armed_before() -> Run {
    let mut run = Run::new();
    run.see(0, with(by_sysctl(7200, 75), socket(1)), connected());
    assert_eq!(run.write(WRITTEN, Name::Time, 7200, 600), ["net.ipv4.tcp_keepalive_time 7200 -> 600"]);
    run
}

#[test]
fn a_connection_follows_when_its_timer_fires_and_says_so_once() {
    let mut run = armed_before();
    let now = || with(by_sysctl(600, 75), socket(1));
    assert_eq!(run.see(5000, now(), probe(1)), ["A follows sysctl after 4000 ms", "A probe 1"]);
    assert_eq!(run.see(6000, now(), probe(2)), ["A probe 2"]);
}

#[test]
fn a_timer_that_found_the_socket_held_has_not_looked_yet() {
    let mut run = armed_before();
    let now = || with(by_sysctl(600, 75), socket(1));
    assert_eq!(run.see(5000, now(), timer(Outcome::SocketBusy)), ["A timer socket-busy"]);
    assert_eq!(run.see(5050, now(), timer(Outcome::NotIdle)), ["A follows sysctl after 4050 ms", "A timer not-idle"]);
}

#[test]
fn one_that_dies_first_died_under_the_old_value() {
    let mut run = armed_before();
    run.see(5000, dead(1), goodbye());
    let end = run.last_end();
    assert!(end.armed_before_sysctl && end.why.ends_with("armed before the sysctl was written"), "{end:?}");
    let mut run = armed_before();
    run.see(4000, with(by_sysctl(600, 75), socket(1)), probe(1));
    run.see(5000, dead(1), goodbye());
    assert!(!run.last_end().armed_before_sysctl);
}

#[test]
fn what_is_set_on_the_socket_or_off_or_elsewhere_or_refused_never_follows() {
    let off = Settings { keepalive: false, ..by_sysctl(7200, 75) };
    let elsewhere = Socket { netns: Some(8), ..with(by_sysctl(7200, 75), socket(3)) };
    let mut run = Run::new();
    run.see(0, socket(1), connected());
    run.see(0, with(off, socket(2)), connected());
    run.see(0, elsewhere.clone(), connected());
    run.write(WRITTEN, Name::Time, 7200, 600);
    let refused =
        Write { mono_ns: WRITTEN * MS, netns: 8, name: Name::Time, old: 7200, new: 7200, refused: Some(Errno(22)), by: None };
    run.written(&refused);
    assert_eq!(run.see(5000, socket(1), probe(1)), ["A probe 1"]);
    assert_eq!(run.see(5000, elsewhere, probe(1)), ["C probe 1"]);
    for address in [1, 2, 3] {
        let netns = if address == 3 { Some(8) } else { Some(7) };
        run.see(6000, Socket { netns, ..dead(address) }, goodbye());
        assert!(!run.last_end().armed_before_sysctl, "{address}");
    }
}

#[test]
fn written_back_before_the_timer_fires_nothing_was_to_follow() {
    let mut run = armed_before();
    run.write(2000, Name::Time, 600, 7200);
    assert_eq!(run.see(5000, with(by_sysctl(7200, 75), socket(1)), probe(1)), ["A probe 1"]);
}

#[test]
fn an_interval_waits_only_between_two_probes() {
    let mut run = Run::new();
    run.see(0, with(by_sysctl(10, 75), socket(1)), connected());
    run.see(0, with(by_sysctl(10, 75), socket(2)), connected());
    run.see(10_000, with(by_sysctl(10, 75), socket(2)), probe(1));
    run.write(11_000, Name::Intvl, 75, 5);
    // The value in force is another, which is told at the next run; but nothing had been armed with the old one.
    run.see(12_000, dead(1), goodbye());
    assert!(!run.last_end().armed_before_sysctl);
    run.see(12_000, dead(2), goodbye());
    assert!(run.last_end().armed_before_sysctl);
}

#[test]
fn an_option_that_does_not_touch_the_timer_leaves_it_old_and_one_that_overrides_does_not() {
    let set = || What::Set { by: Some(nginx()) };
    let mut run = armed_before();
    let fewer = Settings { probes: Sourced { value: 5, origin: Origin::Socket }, ..by_sysctl(600, 75) };
    assert_eq!(run.see(2000, with(fewer, socket(1)), set()), ["A settings by nginx"]);
    assert_eq!(run.see(5000, with(fewer, socket(1)), probe(1)), ["A follows sysctl after 4000 ms", "A probe 1"]);
    let mut run = armed_before();
    let own = Settings { time_s: Sourced { value: 30, origin: Origin::Socket }, ..by_sysctl(600, 75) };
    assert_eq!(run.see(2000, with(own, socket(1)), set()), ["A settings by nginx"]);
    assert_eq!(run.see(5000, with(own, socket(1)), probe(1)), ["A probe 1"]);
}
