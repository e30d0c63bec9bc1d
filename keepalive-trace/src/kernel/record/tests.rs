use zerocopy::FromZeros as _;

use super::*;
use crate::model::settings::Origin;

fn reader() -> Reader {
    let reasons = BTreeMap::from([(15, "TCP_KEEPALIVE_TIMEOUT".into())]);
    Reader { hz: 250, reasons, cgroups: Cgroups::default() }
}

fn record() -> Record {
    let mapped = |last: u8| zerocopy::transmute!([0_u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last]);
    Record {
        family: AF_INET,
        laddr: mapped(1),
        raddr: mapped(2),
        lport: 40000,
        rport: 443,
        state: 1,
        kind: kind::PROBE,
        has: has::SETTINGS | has::SYSCTL | has::CLOCKS | has::RET | has::NEXT | has::LATE,
        flags: flag::KEEPOPEN,
        sock_time: 250,
        sysctl_time: 1_800_000,
        sysctl_intvl: 18_750,
        sysctl_probes: 9,
        ack_age: 251,
        data_age: 9999,
        next: 18_750,
        late: 1,
        probes_out: 1,
        ..Record::new_zeroed()
    }
}

fn read(record: &Record) -> (Socket, What) {
    let Sighting { socket, what, .. } = reader().sighting(record).unwrap();
    (socket, what)
}

#[test]
fn jiffies_become_seconds_and_each_value_names_its_origin() {
    let (socket, what) = read(&record());
    let settings = socket.settings.unwrap();
    assert_eq!(settings.time_s, Sourced { value: 1, origin: Origin::Socket });
    assert_eq!(settings.intvl_s, Sourced { value: 75, origin: Origin::Sysctl });
    assert_eq!(settings.probes, Sourced { value: 9, origin: Origin::Sysctl });
    assert_eq!(socket.idle_ms, Some(1004));
    let probe = Probe { n: Some(2), result: Some(ProbeResult::Sent), next_ms: Some(75_000), late_ms: Some(4), wheel_ms: None };
    assert_eq!(what, What::Probe(probe));
}

#[test]
fn what_the_kernel_lacks_stays_unknown() {
    let (socket, what) = read(&Record { has: 0, ..record() });
    assert_eq!((socket.settings, socket.idle_ms, socket.netns, socket.cookie), (None, None, None, None));
    assert_eq!(what, What::Probe(Probe { n: None, result: None, next_ms: None, late_ms: None, wheel_ms: None }));
    let (_, what) = read(&Record { has: 0, kind: kind::CLOSED, old_state: 1, ..record() });
    assert_eq!(what, What::Closed(Closed { from: State::ESTABLISHED, ..Closed::default() }));
}

#[test]
fn whoever_was_never_heard_was_never_idle() {
    assert_eq!(read(&Record { state: State::SYN_SENT.0, ..record() }).0.idle_ms, None);
    let failed = Record { kind: kind::CLOSED, state: State::CLOSE.0, old_state: State::SYN_SENT.0, ..record() };
    assert_eq!(read(&failed).0.idle_ms, None);
    assert!(read(&Record { old_state: State::ESTABLISHED.0, ..failed }).0.idle_ms.is_some());
}

#[test]
fn a_name_ends_where_it_ends_whatever_stood_there_before() {
    let words = |bytes: &[u8; 16]| zerocopy::transmute!(*bytes);
    assert_eq!(comm(words(b"heir\0er/0\0\0\0\0\0\0\0")), Comm::from("heir"));
    assert_eq!(comm(words(b"fifteen-letters\0")), Comm::from("fifteen-letters"));
}

#[test]
fn an_ipv4_mapped_connection_has_ipv4_addresses_on_an_ipv6_socket() {
    let (socket, _) = read(&Record { family: AF_INET6, ..record() });
    assert_eq!(socket.family, Family::V6);
    assert_eq!(socket.local.to_string(), "127.0.0.1:40000");
}

#[test]
fn numbers_that_mean_nothing_are_refused_and_unknown_reasons_keep_their_number() {
    let mut reader = reader();
    assert_eq!(reader.sighting(&Record { family: 77, ..record() }), None);
    assert_eq!(reader.sighting(&Record { kind: 77, ..record() }), None);
    assert_eq!(reader.sighting(&Record { kind: kind::TIMER, outcome: 77, ..record() }), None);
    let reset = reader.reset(&Record { reason: 77, has: has::REASON, ..record() }, None);
    assert_eq!(reset.reason.as_deref(), Some("reason-77"));
    let reset = reader.reset(&Record { reason: 15, has: has::REASON, ..record() }, None);
    assert_eq!(reset.reason.as_deref(), Some("TCP_KEEPALIVE_TIMEOUT"));
}

#[test]
fn a_fin_is_not_taken_for_an_unread_byte() {
    let left = |old_state, unread| {
        let record = Record { kind: kind::CLOSED, has: has::LEFT, old_state, unread, ..record() };
        let What::Closed(Closed { left: Some(left), .. }) = read(&record).1 else { panic!("not closed") };
        left.unread
    };
    assert_eq!([left(1, 6), left(8, 6), left(8, 1), left(8, 0)], [6, 5, 0, 0]);
}

#[test]
fn with_data_under_way_what_is_out_is_not_taken_for_keepalive() {
    for kind in [kind::SNAPSHOT, kind::PEER_RESET] {
        let record = Record { kind, ..record() };
        assert_eq!(read(&record).0.probes_out, Some(1));
        assert_eq!(read(&Record { unsent: 9, ..record }).0.probes_out, None);
        assert_eq!(read(&Record { unacked: 1, ..record }).0.probes_out, None);
    }
}
