//! What holds whatever is seen, in whatever order: also what no kernel would ever show.
use std::collections::BTreeMap;

use proptest::{option, prelude::*, sample::select};

use super::*;

/// Sockets of a few addresses, between a few ends, in a few states.
fn sockets() -> impl Strategy<Value = Socket> {
    let states = select(vec![0, 1, 1, 1, 1, 2, 3, 4, 5, 7, 7, 8, 9, 11, 200]);
    let clock = option::of((0_u32..3000, 0_u32..3000).prop_map(|(now, acked)| Clock { now, acked, moved: 0 }));
    let netns = select(vec![None, Some(7), Some(7), Some(7), Some(8)]);
    let settings = option::of((0..3_i32).prop_map(settings));
    let seen = (option::of(0..5_u32), option::of(0..9000_u64), clock);
    (1..4_u16, 0..2_u16, states, any::<bool>(), netns, settings, seen).prop_map(
        |(address, port, state, orphan, netns, settings, (probes_out, idle_ms, clock))| Socket {
            remote: SocketAddr::from(([10, 0, 0, 9], 5432 + port)),
            state: State(state),
            ..Socket { orphan, netns, settings, probes_out, idle_ms, clock, ..socket(address) }
        },
    )
}

fn tasks() -> impl Strategy<Value = Option<Task>> {
    option::of(select(vec![nginx(), task(5, "worker"), task(99, "ss")]))
}

fn ends() -> impl Strategy<Value = What> {
    let left = option::of((0..3_u32, 0..3_u32, 0..3_u32, any::<[bool; 2]>()).prop_map(
        |(unacked, unsent, unread, [no_linger2, linger_zero])| Left {
            window: unread,
            ..Left { unacked, unsent, unread, no_linger2, linger_zero, ..Left::default() }
        },
    ));
    let errno = option::of(select(vec![Errno::PIPE, Errno::CONNABORTED, Errno::CONNRESET, Errno::TIMEDOUT, Errno::CONNREFUSED]));
    let from = select(vec![0, 1, 1, 2, 3, 4, 5, 8, 9, 11, 200]);
    (from, errno, any::<[bool; 2]>(), tasks(), option::of(0..9_000_000_u64), left).prop_map(
        |(from, errno, [in_timer, time_wait], by, trying_us, left)| {
            What::Closed(Closed { from: State(from), errno, in_timer, time_wait, by, trying_us, left, unaccepted: false })
        },
    )
}

fn whats() -> impl Strategy<Value = What> {
    let results = select(vec![None, Some(0), Some(0), Some(-1), Some(1)]);
    let outcomes = [
        Outcome::DataInFlight,
        Outcome::UnsentData,
        Outcome::NotIdle,
        Outcome::SocketBusy,
        Outcome::KeepaliveOff,
        Outcome::FinWait2,
    ];
    let causes = select(vec![None, None, Some(Verdict::KeepaliveTimeout), Some(Verdict::UserTimeout)]);
    let reasons = select(vec![None, Some("TCP_ABORT_ON_MEMORY"), Some("TCP_ABORT_ON_CLOSE")]);
    prop_oneof![
        1 => Just(What::Snapshot),
        2 => (option::of(0..9000_u64), tasks()).prop_map(|(connect_us, opener)| What::Connected { connect_us, opener, late: false }),
        2 => tasks().prop_map(|by| What::Accepted { by, late: false }),
        2 => tasks().prop_map(|by| What::Set { by }),
        8 => (option::of(0..12_u32), results).prop_map(|(n, result)| {
            What::Probe(Probe { n, result: result.map(ProbeResult::of), next_ms: None, late_ms: None, wheel_ms: None })
        }),
        3 => select(outcomes.to_vec()).prop_map(timer),
        3 => Just(What::Acked),
        3 => (reasons, causes, tasks()).prop_map(|(reason, cause, task)| {
            What::Reset(Reset { reason: reason.map(Into::into), cause, task })
        }),
        2 => Just(What::PeerReset),
        1 => tasks().prop_map(|by| What::Aborted { by }),
        4 => ends(),
    ]
}

/// In the order of their times: some close together, some far enough apart for every wait to be over.
fn sightings() -> impl Strategy<Value = Vec<Sighting>> {
    let gaps = select(vec![1, 1000, MS, 20 * MS, 300 * MS]);
    proptest::collection::vec((gaps, sockets(), whats()), 0..200).prop_map(|seen| {
        let mut mono_ns = 0;
        let at = |(gap, socket, what)| {
            mono_ns += gap;
            Sighting { mono_ns, socket, what }
        };
        seen.into_iter().map(at).collect()
    })
}

fn audiences() -> impl Strategy<Value = Owners> {
    let pids = select(vec![vec![], vec![812], vec![5, 99]]);
    pids.prop_map(|pids| Owners { pids, comms: Vec::new() })
}

/// What was told, from the first sighting to the last end. Now and then somebody looks who holds what.
fn told(sightings: &[Sighting], capacity: usize, wanted: &Owners) -> (Tracker, Vec<Event>) {
    let mut tracker = Tracker::new(HZ, capacity, wanted.clone());
    let mut events = Vec::new();
    for (turn, sighting) in sightings.iter().enumerate() {
        tracker.see(sighting, &mut events);
        if turn % 7 == 6 {
            let Socket { address, netns, local, remote, .. } = &sighting.socket;
            let holding = |pid| Holding {
                socket: *address,
                netns: *netns,
                local_port: local.port(),
                remote_port: remote.port(),
                task: task(pid, "holder"),
            };
            tracker.held(&[holding(5), holding(700)][..1 + turn % 2], sighting.mono_ns, &mut events);
        }
    }
    tracker.settle(u64::MAX, &mut events);
    (tracker, events)
}

/// What somebody who has only the events makes of them.
fn retold(events: &[Event]) -> BTreeMap<ConnId, History> {
    let mut histories = BTreeMap::new();
    for event in events {
        let Some(connection) = event.body.connection() else { continue };
        histories.entry(connection.id).or_insert_with(|| History::begin(connection, event.mono_ns)).apply(event);
    }
    histories
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn every_connection_has_one_opening_then_its_events_and_at_most_one_end(
        sightings in sightings(), wanted in audiences(), capacity in select(vec![1, 2, 1000]),
    ) {
        let (tracker, events) = told(&sightings, capacity, &wanted);
        let mut ends = BTreeMap::new();
        for event in &events {
            let id = event.body.connection().unwrap().id;
            match event.body {
                Body::Open(..) => prop_assert_eq!(ends.insert(id, 0), None, "opened twice"),
                Body::End(..) => *ends.get_mut(&id).expect("it ends before it opens") += 1,
                _ => prop_assert!(ends.contains_key(&id), "not opened: {:?}", event),
            }
        }
        prop_assert!(ends.values().all(|count| *count <= 1), "two ends");
        prop_assert!(tracker.histories().count() <= capacity);
    }

    #[test]
    fn the_same_sightings_tell_the_same(sightings in sightings(), wanted in audiences(), capacity in select(vec![2, 1000])) {
        let [one, other] = [(), ()].map(|()| told(&sightings, capacity, &wanted));
        prop_assert_eq!(one.1, other.1);
        let essences = |tracker: &Tracker| format!("{:?}", tracker.histories().map(|(it, _)| essence(it)).collect::<Vec<_>>());
        prop_assert_eq!(essences(&one.0), essences(&other.0));
    }

    #[test]
    fn whoever_has_only_the_events_has_the_same_histories(
        sightings in sightings(), wanted in audiences(), capacity in select(vec![2, 1000]),
    ) {
        let (tracker, events) = told(&sightings, capacity, &wanted);
        let retold = retold(&events);
        for (history, _) in tracker.histories() {
            let retold = retold.get(&history.id).expect("nothing was told of it");
            prop_assert_eq!(essence(retold), essence(history));
        }
    }

    #[test]
    fn times_in_no_order_at_all_are_no_reason_to_fall(sightings in sightings(), times in any::<u64>()) {
        let mut tracker = Tracker::new(0, 3, Owners::default());
        let mut events = Vec::new();
        for (turn, mut sighting) in (0..).zip(sightings) {
            sighting.mono_ns = times.rotate_left(turn).wrapping_mul(sighting.mono_ns);
            tracker.see(&sighting, &mut events);
        }
        tracker.settle(u64::MAX, &mut events);
        prop_assert_eq!(tracker.next_settling(), None);
    }
}
