//! Numbers with their units, unambiguous.

/// Milliseconds, as seconds with their unit.
pub fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03} s", ms / 1000, ms % 1000)
}

/// The same, where it may be unknown.
pub fn seconds_or_unknown(ms: Option<i64>) -> String {
    ms.map_or_else(|| "unknown".to_owned(), seconds)
}

/// Microseconds: as milliseconds below a second.
pub fn short(us: u64) -> String {
    match us {
        ..1_000_000 => format!("{}.{:03} ms", us / 1000, us % 1000),
        _ => seconds(i64::try_from(us / 1000).unwrap_or(i64::MAX)),
    }
}

/// `1 probe`, `3 probes`.
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_never_mistaken_for_milliseconds() {
        assert_eq!(seconds(3996), "3.996 s");
        assert_eq!(seconds_or_unknown(None), "unknown");
    }

    #[test]
    fn short_times_are_milliseconds_and_long_ones_seconds() {
        assert_eq!([short(18), short(999_999), short(1_500_000)], ["0.018 ms", "999.999 ms", "1.500 s"]);
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([counted(0, "probe"), counted(1, "probe"), counted(2, "probe")], ["0 probes", "1 probe", "2 probes"]);
    }
}
