use super::*;

#[test]
fn every_event_comes_back_as_it_was() {
    let mut writer = writer(&header());
    let mut wanted = Vec::new();
    for round in 0..3 {
        for event in samples::all() {
            if writer.add(&event).unwrap() {
                wanted.push(event);
            }
        }
        if round < 2 {
            writer.flush().unwrap();
        }
    }
    let bytes = end(writer, Some((99, wanted.len() as u64)));
    let (events, found) = read(&bytes).unwrap();
    assert_eq!(events, wanted);
    assert_eq!(found, Found { ending: Ending::Stopped { mono_ns: 99 }, events: wanted.len() as u64, strange: 0 });
    assert_eq!(Reader::of(Path::new("x"), 0, &*bytes).unwrap().header, header());
}

#[test]
fn a_recording_of_nothing_is_whole() {
    let stopped = end(writer(&header()), Some((5, 0)));
    assert_eq!(read(&stopped).unwrap(), (vec![], Found { ending: Ending::Stopped { mono_ns: 5 }, events: 0, strange: 0 }));
    let rotated = end(writer(&header()), None);
    assert_eq!(read(&rotated).unwrap(), (vec![], Found { ending: Ending::Rotated, events: 0, strange: 0 }));
}

#[test]
fn more_words_and_rows_than_a_number_can_count_come_back_in_order() {
    const EVENTS: u32 = 70_000;
    let Event { body: Body::Owner(connection) | Body::Open(connection, _), .. } = batch(0).remove(0) else {
        panic!("no opening")
    };
    let event = |number: u32| {
        let mut connection = connection.clone();
        connection.local.set_ip(std::net::Ipv4Addr::from(number).into());
        // Some words come again, in this batch and in later ones.
        connection.cgroup = Some(format!("/{}", number % 50_000).into());
        connection.id.0 = number.into();
        Event { mono_ns: number.into(), body: Body::Owner(connection) }
    };
    let mut writer = writer(&header());
    for number in 0..EVENTS {
        assert!(writer.add(&event(number)).unwrap());
    }
    let bytes = end(writer, Some((99, EVENTS.into())));
    let mut next = 0;
    let reader = Reader::of(Path::new("x"), 0, &*bytes).unwrap();
    let found = reader.read(
        |told| {
            assert_eq!(*told, event(next));
            next += 1;
            Ok(())
        },
        |_| {},
    );
    assert_eq!(found.unwrap(), Found { ending: Ending::Stopped { mono_ns: 99 }, events: EVENTS.into(), strange: 0 });
}
