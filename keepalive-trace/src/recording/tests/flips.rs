//! Files that are not as they were written: bad memory, bad disks, bad cables.
use super::*;

/// How many of the events a changed file tells. Those are the first ones, and where some are missing, that is said.
fn holds(recorded: &Recorded, changed: &[u8], what: &str) -> usize {
    let (told, found) = match read(changed) {
        Ok(result) => result,
        Err(error) => {
            let error = format!("{error:#}");
            assert!(error.starts_with("x.arrows ") && !error.contains('\n'), "{what}: {error}");
            return 0;
        }
    };
    assert!(recorded.events.starts_with(&told), "{what}: an event that nobody wrote");
    assert_eq!((found.events, found.strange), (told.len() as u64, 0), "{what}");
    let said = matches!(found.ending, Ending::Torn { .. } | Ending::Damaged { .. });
    assert!(said || told.len() == recorded.events.len(), "{what}: {:?} after {} events", found.ending, told.len());
    told.len()
}

#[test]
fn a_flipped_bit_never_makes_an_event_that_was_not_written() {
    let recorded = Recorded::of(&[batch(0)[..3].to_vec(), batch(1)[..3].to_vec(), batch(2)[..3].to_vec()]);
    let one = |turns: std::ops::Range<u64>| {
        let mut most = 0;
        let mut bytes = recorded.bytes.clone();
        let mut dice = Dice(0xf11b + turns.start);
        for _ in turns {
            let (at, bit) = (dice.roll(bytes.len()), dice.roll(8));
            bytes[at] ^= 1 << bit;
            most = most.max(holds(&recorded, &bytes, &format!("bit {bit} of byte {at}")));
            bytes[at] ^= 1 << bit;
        }
        most
    };
    let most = std::thread::scope(|scope| {
        let others = scope.spawn(|| one(0..1500));
        one(1500..3000).max(others.join().unwrap())
    });
    assert!(most >= 6, "{most}");
}

#[test]
fn every_flip_in_the_frame_around_a_message_is_noticed() {
    let recorded = Recorded::of(&[batch(0)[..1].to_vec(), batch(1)[..1].to_vec()]);
    let mut bytes = recorded.bytes.clone();
    for (from, _) in recorded.ends.iter().take(2) {
        for bit in 0..64 {
            bytes[from + bit / 8] ^= 1 << (bit % 8);
            let told = holds(&recorded, &bytes, &format!("bit {bit} of the message at {from}"));
            assert!(told < 2, "bit {bit} of the message at {from}");
            bytes[from + bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_piece_that_reads_as_zeros_or_is_gone_or_comes_twice_is_noticed() {
    let recorded = Recorded::of(&[batch(0), batch(1), batch(2)]);
    let mut dice = Dice(0x2e05);
    for _ in 0..120 {
        let from = dice.roll(recorded.bytes.len());
        let to = (from + 1 + dice.roll(4096)).min(recorded.bytes.len());
        let (before, piece, after) = (&recorded.bytes[..from], &recorded.bytes[from..to], &recorded.bytes[to..]);
        let zeros = vec![0; piece.len()];
        for changed in [[before, &zeros, after].concat(), [before, after].concat(), [before, piece, piece, after].concat()] {
            if changed != recorded.bytes {
                holds(&recorded, &changed, &format!("bytes {from} to {to}"));
            }
        }
    }
}

#[test]
fn a_length_that_becomes_the_mark_of_the_end_hides_nothing() {
    let recorded = Recorded::of(&[batch(0), batch(1)]);
    let mut bytes = recorded.bytes.clone();
    let from = recorded.ends[1].0;
    bytes[from..from + 8].copy_from_slice(&frame::END);
    let (told, found) = read(&bytes).unwrap();
    assert_eq!(told, batch(0));
    assert!(matches!(found.ending, Ending::Damaged { .. }), "{:?}", found.ending);
}
