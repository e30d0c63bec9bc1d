//! Debian's order of version numbers (deb-version(7)).
use std::cmp::Ordering;

/// Which of two versions is newer.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left) = epoch(left);
    let (right_epoch, right) = epoch(right);
    let (left, left_revision) = left.rsplit_once('-').unwrap_or((left, ""));
    let (right, right_revision) = right.rsplit_once('-').unwrap_or((right, ""));
    left_epoch
        .cmp(&right_epoch)
        .then_with(|| part(left.as_bytes(), right.as_bytes()))
        .then_with(|| part(left_revision.as_bytes(), right_revision.as_bytes()))
}

fn epoch(version: &str) -> (u32, &str) {
    let split = version.split_once(':').and_then(|(epoch, rest)| Some((epoch.parse().ok()?, rest)));
    split.unwrap_or((0, version))
}

/// Turns of text and number; `~` sorts before everything, even before the end.
fn part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !(left.is_empty() && right.is_empty()) {
        let (left_text, right_text) = (text(&mut left), text(&mut right));
        for place in 0..left_text.len().max(right_text.len()) {
            match weight(left_text.get(place)).cmp(&weight(right_text.get(place))) {
                Ordering::Equal => {}
                order => return order,
            }
        }
        match number(&mut left).cmp(&number(&mut right)) {
            Ordering::Equal => {}
            order => return order,
        }
    }
    Ordering::Equal
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

fn text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (taken, left) = rest.split_at(rest.iter().position(u8::is_ascii_digit).unwrap_or(rest.len()));
    *rest = left;
    taken
}

fn number(rest: &mut &[u8]) -> u64 {
    let (taken, left) = rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len()));
    *rest = left;
    taken.iter().fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_dpkg_sorts_them() {
        let rising = [
            "5.10.223-1",
            "5.10.237-1",
            "6.1.9-1",
            "6.1.176-1",
            "6.12~rc1-1",
            "6.12-1",
            "6.12.117-1~bpo12+1",
            "6.12.117-1",
            "6.12.117-1+b1",
            "7.2.13-1",
            "7.3.4-1~bpo13+1",
            "7.3.4-1",
            "1:1.0-1",
        ];
        for pair in rising.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{} < {}", pair[0], pair[1]);
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{} > {}", pair[1], pair[0]);
        }
        assert_eq!(compare("6.1.176-1", "6.1.176-1"), Ordering::Equal);
    }
}
