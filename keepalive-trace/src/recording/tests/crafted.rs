//! Files that somebody made up on purpose: their checksums are right, and what is behind them is not.
use std::time::{Duration, Instant};

use super::*;

/// Numbers that break things.
const EVIL: [u64; 12] = [0, 1, 7, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// Changes a few places: mostly of the metadata, where lengths and places are.
fn spoil(recorded: &Recorded, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = recorded.bytes.clone();
    for _ in 0..=dice.roll(4) {
        let (from, _) = recorded.ends[dice.roll(recorded.ends.len() - 1)];
        let at = if dice.roll(4) == 0 { dice.roll(bytes.len()) } else { from + dice.roll(600) }.min(bytes.len() - 9);
        match dice.roll(3) {
            0 => bytes[at] ^= 1 << dice.roll(8),
            1 => bytes[at] = EVIL[dice.roll(EVIL.len())] as u8,
            _ => {
                let size = 1 << (1 + dice.roll(3));
                let at = at / size * size;
                bytes[at..at + size].copy_from_slice(&EVIL[dice.roll(EVIL.len())].to_le_bytes()[..size]);
            }
        }
    }
    bytes
}

fn spoiled(seed: u64, turns: usize, limit: Duration) -> usize {
    let recorded = Recorded::of(&[batch(0)[..2].to_vec(), batch(1)[..2].to_vec()]);
    let mut dice = Dice(seed);
    let began = Instant::now();
    for turn in 0..turns {
        if began.elapsed() >= limit {
            return turn;
        }
        let bytes = spoil(&recorded, &mut dice);
        drop(unsealed(&bytes).map(told));
        drop(unsealed(&bytes).map(reported));
    }
    turns
}

#[test]
fn whatever_the_messages_claim_nobody_falls() {
    spoiled(0xc4af7ed, 800, Duration::from_secs(2));
}

#[test]
fn a_column_of_half_numbers_is_damage() {
    let events: Vec<Event> = (0..10).flat_map(batch).collect();
    let mut recorded = Recorded::of(&[events]);
    let mut refused = 0;
    // Whatever looks like a packed column's claim of its own length: one byte more.
    for at in (recorded.ends[0].0..recorded.bytes.len() - 16).step_by(8) {
        let claim = u64::from_le_bytes(recorded.bytes[at..at + 8].try_into().unwrap());
        if (100..2000).contains(&claim) && claim.is_multiple_of(2) {
            recorded.bytes[at] += 1;
            let (told, found) = told(unsealed(&recorded.bytes).unwrap()).unwrap();
            refused += usize::from(told.is_empty() && matches!(found.ending, Ending::Damaged { .. }));
            recorded.bytes[at] -= 1;
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
#[ignore = "takes minutes"]
#[expect(clippy::print_stdout, reason = "a figure for whoever asked for it")]
fn whatever_the_messages_claim_nobody_falls_for_minutes() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    let turns = spoiled(seed, usize::MAX, Duration::from_secs(180));
    println!("{turns} files from seed {seed}");
}
