use std::collections::{BTreeMap, HashMap};

use keepalive_trace::model::history::History;

use super::*;

fn plan(seed: u64, hostile: bool) -> Plan {
    Plan { seed, host: "web-1".to_owned(), connections: 400, events: 40_000, hostile }
}

#[test]
fn the_same_plan_gives_the_same_events_and_another_seed_gives_others() {
    let events = |seed| Generator::new(plan(seed, false)).take(5000).collect::<Vec<_>>();
    assert!(events(3) == events(3));
    assert!(events(3) != events(4));
}

#[test]
fn the_histories_of_its_events_are_those_that_were_meant() {
    for (seed, hostile) in [(1, false), (2, false), (3, true)] {
        let mut generator = Generator::new(plan(seed, hostile));
        let mut histories: HashMap<_, History> = HashMap::new();
        let mut told: BTreeMap<Verdict, u64> = BTreeMap::new();
        let (mut events, mut last) = (0, 0);
        for event in generator.by_ref() {
            assert!(event.mono_ns >= last, "{event:?} comes too late");
            last = event.mono_ns;
            let Some(connection) = event.body.connection() else {
                events += u64::from(!matches!(event.body, Body::Start(_)));
                continue;
            };
            events += 1;
            let is_open = matches!(event.body, Body::Open(..));
            assert_ne!(histories.contains_key(&connection.id), is_open, "{event:?}");
            let history = histories.entry(connection.id).or_insert_with(|| History::begin(connection, event.mono_ns));
            assert_eq!(history.verdict, None, "{event:?} comes after the end");
            if !is_open {
                assert_eq!(Some(history.tally.pending), connection.probes_out, "{event:?}");
            }
            if let Body::Reply(_, reply) = &event.body {
                assert_eq!((reply.n, reply.missed + 1), (Some(history.tally.pending), history.tally.pending), "{event:?}");
            }
            history.apply(&event);
            if let Body::End(_, end) = &event.body {
                *told.entry(end.verdict).or_default() += 1;
                assert_eq!(history.tally.probes(), end.probes_sent, "{event:?}");
                assert_eq!(history.tally.unanswered, end.unanswered, "{event:?}");
            }
        }
        assert_eq!(events, 40_000);
        assert_eq!((histories.len(), generator.opened), (400, 400));
        let mut ended: BTreeMap<Verdict, u64> = BTreeMap::new();
        for verdict in histories.values().filter_map(|history| history.verdict) {
            *ended.entry(verdict).or_default() += 1;
        }
        assert_eq!((&ended, &told), (&generator.verdicts, &generator.verdicts));
        assert!(ended.values().sum::<u64>() > 100, "{ended:?}");
    }
}

#[test]
fn every_verdict_comes_as_it_was_meant_and_every_kind_of_event_comes() {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let plan = Plan { connections: 8000, events: 300_000, ..plan(5, false) };
    let mut generator = Generator::new(plan);
    for event in generator.by_ref() {
        let kind = match event.body {
            Body::Start(_) => "start",
            Body::Open(..) => "open",
            Body::Owner(_) => "owner",
            Body::Settings(..) => "settings",
            Body::Probe(..) => "probe",
            Body::Timer(..) => "timer",
            Body::Reply(..) => "reply",
            Body::Reset(..) => "reset",
            Body::Http(..) => "http",
            Body::End(..) => "end",
            Body::Namespace(_) => "namespace",
            Body::Sysctl(..) => "sysctl",
            Body::Uneventful(_) => "uneventful",
            Body::Lost(_) => "lost",
            Body::Stop(_) => "stop",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let names: Vec<&str> = kinds.keys().copied().collect();
    assert_eq!(names, ["end", "open", "owner", "probe", "reply", "reset", "settings", "start", "sysctl", "timer"], "{kinds:?}");
    assert_eq!(generator.verdicts.len(), 15, "{:?}", generator.verdicts);
}

#[test]
#[expect(clippy::print_stdout, reason = "figures are this program's output")]
fn an_event_of_a_quiet_host_takes_few_bytes() {
    // One of these hosts has 14 events a second for ten minutes, the other one every ten seconds for 40.
    for (connections, events, most) in [(600, 9_100, 100), (12, 250, 200)] {
        let path = std::env::temp_dir().join(format!("keepalive-trace-quiet-{connections}-{}", std::process::id()));
        let plan = Plan { connections, events, ..plan(1, false) };
        let Recorded { events, bytes, took } = record_at(plan, &path, Pace::Every(Duration::from_millis(800))).unwrap();
        fs::remove_file(&path).unwrap();
        let each = bytes / events;
        println!("{connections} connections, {events} events in {} s: {bytes} bytes, {each} an event", took.as_secs());
        assert!(each <= most, "{each} bytes an event of {connections} connections");
    }
}
