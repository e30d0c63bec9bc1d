//! What holds of any events at all.
use proptest::{prelude::*, sample::select};

use super::*;
use crate::model::event::ConnId;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn any_events_come_back_as_they_were_over_any_batches(
        seen in proptest::collection::vec((events::event(), proptest::bool::weighted(0.2)), 0..16),
        offset in select(vec![0, 1_700_000_000_000_000_000, i64::MIN, i64::MAX, -1]),
        texts in any::<[String; 3]>(),
    ) {
        let mut header = header();
        header.start.wall_offset_ns = offset;
        [header.start.host, header.start.kernel, header.start.cmdline] = texts;
        let mut writer = writer(&header);
        for (event, flush) in &seen {
            prop_assert!(writer.add(event).unwrap());
            if *flush {
                writer.flush().unwrap();
            }
        }
        let bytes = end(writer, None);
        prop_assert_eq!(&Reader::of(Path::new("x"), 0, &*bytes).unwrap().header, &header);
        let (told, found) = read(&bytes).unwrap();
        prop_assert!(told.iter().eq(seen.iter().map(|(event, _)| event)), "{:?}\ncame back as\n{:?}", seen, told);
        prop_assert_eq!(found, Found { ending: Ending::Rotated, events: seen.len() as u64, strange: 0 });
    }

    #[test]
    fn a_report_of_what_is_looked_at_alone_is_the_report_of_everything(
        seen in proptest::collection::vec((events::event(), 0..3_u64), 0..64),
    ) {
        let header = header();
        let mut writer = writer(&header);
        // A few connections that much happens to, in the order in which it does.
        let seen: Vec<Event> = seen.into_iter().enumerate().map(|(nth, (mut event, id))| {
            event.mono_ns = nth as u64 * 1_000_000_000;
            match &mut event.body {
                Body::Open(it, _) | Body::Owner(it) | Body::Settings(it, _) | Body::Probe(it, _) | Body::Timer(it, _)
                | Body::Reply(it, _) | Body::Reset(it, _) | Body::Http(it, _) | Body::End(it, _) => it.id = ConnId(id),
                _ => {}
            }
            event
        }).collect();
        for event in &seen {
            prop_assert!(writer.add(event).unwrap());
        }
        let bytes = end(writer, None);
        let read = reported(Reader::of(Path::new("x"), 0, &*bytes).unwrap()).unwrap();
        let noted = booked(&header, |book| { seen.iter().for_each(|event| book.note(event)); Ok(()) }).unwrap();
        prop_assert_eq!(format!("{read:#?}"), format!("{noted:#?}"));
    }

    #[test]
    fn bytes_at_random_are_refused_in_one_sentence(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        let error = format!("{:#}", read(&bytes).unwrap_err());
        prop_assert!(error.starts_with("x.arrows ") && !error.contains('\n'), "{}", error);
    }
}
