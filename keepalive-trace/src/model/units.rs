//! Numbers with their units, unambiguous.

/// Milliseconds, as seconds with their unit.
pub fn seconds(ms: i64) -> String {
    format!("{:.3} s", ms as f64 / 1000.0)
}

/// The same, where it may be unknown.
pub fn seconds_or_unknown(ms: Option<i64>) -> String {
    ms.map_or_else(|| "unknown".to_owned(), seconds)
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
    fn one_is_singular() {
        assert_eq!([counted(0, "probe"), counted(1, "probe"), counted(2, "probe")], ["0 probes", "1 probe", "2 probes"]);
    }
}
