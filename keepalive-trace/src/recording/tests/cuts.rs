//! Files that end too early: the recorder was killed, or the machine went down.
use super::*;

/// Holds what a file cut off there must tell: the whole batches before it, and how much of another one there is.
fn cut(recorded: &Recorded, at: usize) {
    let Recorded { bytes, events, ends } = recorded;
    let result = read(&bytes[..at]);
    let Some((whole, count)) = ends.iter().rev().find(|(end, _)| *end <= at) else {
        let error = format!("{:#}", result.unwrap_err());
        let expected = if at == 0 { "x.arrows is empty: " } else { "x.arrows was cut off within its first message" };
        assert!(error.starts_with(expected), "{at}: {error}");
        return;
    };
    let (told, found) = result.unwrap();
    assert!(told == events[..*count], "cut at {at}: {} of {count} events", told.len());
    let ending = if at == bytes.len() { Ending::Rotated } else { Ending::Torn { bytes: (at - whole) as u64 } };
    assert_eq!(found, Found { ending, events: *count as u64, strange: 0 }, "cut at {at}");
}

/// A file, and every place from just before its last batch to its end.
fn last_batch() -> (Recorded, std::ops::RangeInclusive<usize>) {
    let recorded = Recorded::of(&[batch(0)[..2].to_vec(), batch(1)[..3].to_vec()]);
    let places = recorded.ends[1].0 - 1..=recorded.bytes.len();
    (recorded, places)
}

#[test]
fn a_batch_cut_at_any_byte_is_known_to_be_torn() {
    let (Recorded { bytes, ends, .. }, places) = last_batch();
    let (from, to) = (ends[1].0, ends[2].0);
    for at in places.skip(1).take_while(|at| *at < to) {
        let mut frames = Frames::new(&bytes[from..at], true);
        let torn = loop {
            match frames.next().unwrap() {
                frame::Next::Message(_) => {}
                frame::Next::Torn(bytes) => break frames.at + bytes,
                _ => panic!("cut at {at}"),
            }
        };
        assert_eq!(torn, (at - from) as u64, "cut at {at}");
    }
}

#[test]
fn a_file_cut_within_its_last_batch_tells_all_that_came_before() {
    let (recorded, places) = last_batch();
    places.step_by(61).for_each(|at| cut(&recorded, at));
}

#[test]
#[ignore = "takes a minute in a debug build"]
#[expect(clippy::print_stdout, reason = "a figure for whoever asked for it")]
fn a_file_cut_at_any_byte_of_its_last_batch_tells_all_that_came_before() {
    let (recorded, places) = last_batch();
    println!("{} places", places.clone().count());
    places.for_each(|at| cut(&recorded, at));
}

#[test]
fn a_file_cut_anywhere_tells_the_batches_before() {
    let recorded = Recorded::of(&[batch(0), batch(1), batch(2), batch(3)]);
    let mut dice = Dice(0x5eed);
    for (end, _) in &recorded.ends {
        for at in end - 1..=end + 1 {
            cut(&recorded, at);
        }
    }
    for _ in 0..1000 {
        cut(&recorded, dice.roll(recorded.bytes.len() + 1));
    }
}

#[test]
fn a_file_without_its_mark_of_the_end_has_stopped_all_the_same() {
    let mut writer = writer(&header());
    batch(0).iter().for_each(|event| assert!(writer.add(event).unwrap()));
    let bytes = end(writer, Some((99, batch(0).len() as u64)));
    for missing in 0..=frame::END.len() {
        let (told, found) = read(&bytes[..bytes.len() - missing]).unwrap();
        assert_eq!((told, found.ending), (batch(0), Ending::Stopped { mono_ns: 99 }));
    }
}

#[test]
fn files_that_were_put_together_are_not_taken_for_one() {
    let one = Recorded::of(&[batch(0)]);
    let twice = [&*one.bytes, &*one.bytes].concat();
    let (told, found) = read(&twice).unwrap();
    assert_eq!(told, one.events);
    let Ending::Damaged { at_byte, why } = found.ending else { panic!("{:?}", found.ending) };
    assert_eq!(at_byte, one.bytes.len() as u64);
    assert!(why.contains("read one by one"), "{why}");
}
