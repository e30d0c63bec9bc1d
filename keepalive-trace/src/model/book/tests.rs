use std::net::SocketAddr;

use super::*;
use crate::model::{
    event::{Attach, Connection, End, Family, How, Open, Reset},
    state::State,
};

const SECOND: u64 = 1_000_000_000;

fn connection(id: u64) -> Connection {
    Connection {
        id: ConnId(id),
        cookie: None,
        family: Family::V4,
        local: SocketAddr::from(([10, 0, 0, 5], 51334)),
        remote: SocketAddr::from(([10, 0, 0, 9], 5432)),
        netns: Some(7),
        cgroup: None,
        owner: None,
        state: State::ESTABLISHED,
        settings: None,
        idle_ms: None,
        probes_out: Some(0),
    }
}

fn open(id: u64, second: u64) -> Event {
    let open = Open { how: How::Accept, connect_us: None };
    Event { mono_ns: second * SECOND, body: Body::Open(connection(id), open) }
}

fn end(id: u64, second: u64, verdict: Verdict) -> Event {
    let end = End {
        verdict,
        errno: None,
        probes_sent: 0,
        unanswered: 0,
        age_ms: None,
        armed_before_sysctl: false,
        why: "So it was.".to_owned(),
        http: None,
    };
    Event { mono_ns: second * SECOND, body: Body::End(connection(id), end) }
}

fn reset(id: u64, second: u64) -> Event {
    let reset = Reset { reason: None, cause: None, task: None };
    Event { mono_ns: second * SECOND, body: Body::Reset(connection(id), reset) }
}

fn start() -> Start {
    Start {
        version: "0.1.0".to_owned(),
        host: "db1".to_owned(),
        kernel: "6.18.15".to_owned(),
        hz: 250,
        attach: Some(Attach::Kprobe),
        cmdline: String::new(),
        sysctls: None,
        wall_offset_ns: 0,
    }
}

fn book(choice: Choice, events: &[Event]) -> Report {
    let mut book = Book::new(choice, true, usize::MAX);
    book.begin(start(), 0);
    events.iter().for_each(|event| book.note(event));
    book.end(Vec::new(), None);
    book.report()
}

#[test]
fn what_is_said_of_a_connection_after_its_end_opens_nothing() {
    let told = [open(1, 1), end(1, 2, Verdict::PeerClose), reset(1, 3), open(2, 60), reset(1, 61)];
    let report = book(Choice::default(), &told);
    assert_eq!((report.connections, report.histories.len()), (2, 2));
    assert_eq!(report.histories[1].history.last_ns, 3 * SECOND);
}

#[test]
fn a_connection_whose_opening_is_missing_is_told_from_what_there_is() {
    let report = book(Choice::default(), &[end(1, 5, Verdict::KeepaliveTimeout)]);
    assert_eq!((report.connections, report.verdicts.get(&Verdict::KeepaliveTimeout)), (1, Some(&1)));
    assert_eq!(report.histories[0].history.how, How::FirstEvent);
}

#[test]
fn only_what_was_chosen_is_counted_and_told() {
    let told = [open(1, 1), open(2, 1), end(1, 2, Verdict::KeepaliveTimeout), end(2, 3, Verdict::PeerClose), open(3, 4)];
    let dead = Choice { verdicts: vec![Some(Verdict::KeepaliveTimeout)], ..Choice::default() };
    assert_eq!(book(dead, &told).histories.iter().map(|told| told.history.id.0).collect::<Vec<_>>(), [1]);
    let living = Choice { verdicts: vec![None], ..Choice::default() };
    assert_eq!(book(living, &told).histories.iter().map(|told| told.history.id.0).collect::<Vec<_>>(), [3]);
    let elsewhere = Choice { hosts: vec!["db2".to_owned()], ..Choice::default() };
    let report = book(elsewhere, &told);
    assert_eq!((report.connections, report.events()), (0, 5));
}
