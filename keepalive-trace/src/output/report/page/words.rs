//! Words of the page.

/// How long something took, as somebody would say it: the two largest units.
pub(super) fn span(ns: u64) -> String {
    let ms = ns / 1_000_000;
    let s = ms / 1000;
    match s {
        0 if ms == 0 => format!("{:.3} ms", ns as f64 / 1e6),
        0 => format!("{ms} ms"),
        1..60 => format!("{:.3} s", ms as f64 / 1000.0),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// `30,412`.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_its_two_largest_units() {
        let second = 1_000_000_000;
        let spans = [12_000, 250_000_000, 4 * second, 751 * second, 7260 * second, 200_000 * second].map(span);
        assert_eq!(spans, ["0.012 ms", "250 ms", "4.000 s", "12 min 31 s", "2 h 1 min", "2 d 7 h"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 30_412, 1_234_567].map(number), ["0", "999", "1,000", "30,412", "1,234,567"]);
    }
}
