//! How each value is read.
use std::time::Duration;

use ipnet::IpNet;

use crate::model::{event::ConnId, middlebox, verdict::Verdict};

/// An address alone is a block of one.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "not an IPv4 or IPv6 address, nor a CIDR block like 10.0.0.0/8".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time: give seconds, or like 90s, 5m, 1h".to_owned();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// Past which a recording goes on in another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Bytes(u64),
    Age(Duration),
}

/// A size like 64MB (10^6) or 64MiB (2^20), or a time like 1h.
pub(super) fn rotation(text: &str) -> Result<Limit, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1000,
        "kib" | "k" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" | "g" => 1 << 30,
        _ => {
            return match duration(text) {
                Ok(age) if !unit.is_empty() && age >= Duration::from_secs(1) => Ok(Limit::Age(age)),
                _ => Err("not a size like 64MB or 1GiB, nor a time like 1h of a second at least".to_owned()),
            };
        }
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)) {
        Some(bytes @ 65_536..) => Ok(Limit::Bytes(bytes)),
        _ => Err("a size of 64KiB at least".to_owned()),
    }
}

/// As JSON lines have it.
pub(super) fn conn(text: &str) -> Result<ConnId, String> {
    match u64::from_str_radix(text, 16) {
        Ok(id) if text.len() <= 16 => Ok(ConnId(id)),
        _ => Err("not a connection's id, which is up to 16 hex digits".to_owned()),
    }
}

pub(super) fn verdict(text: &str) -> Result<Option<Verdict>, String> {
    if text == "open" {
        return Ok(None);
    }
    let known = Verdict::ALL.into_iter().find(|verdict| verdict.name() == text);
    known.map(Some).ok_or_else(|| format!("no such verdict; there are {}", verdict_names()))
}

pub(super) fn verdicts() -> String {
    format!("Only connections that ended like this; several with commas: {}", verdict_names())
}

fn verdict_names() -> String {
    let names: Vec<_> = Verdict::ALL.into_iter().map(Verdict::name).chain(["open"]).collect();
    names.join(", ")
}

/// A moment, nanoseconds since 1970. Without a zone it is this machine's; without a date, today's.
pub(super) fn moment(text: &str) -> Result<i64, String> {
    const WRONG: &str = "not a moment like 2026-01-31T10:00:00Z, \"2026-01-31 10:00\", 10:00, nor a time ago like 90m";
    let now = jiff::Zoned::now();
    let civil = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(now.time_zone().clone()).ok();
    let today = || now.date().to_datetime(text.parse::<jiff::civil::Time>().ok()?).to_zoned(now.time_zone().clone()).ok();
    let ago = || now.checked_sub(duration(text.trim_start_matches('-')).ok()?).ok();
    let timestamp = text.parse::<jiff::Timestamp>().ok();
    let found = timestamp.or_else(|| today().or_else(civil).or_else(ago).map(|zoned| zoned.timestamp()));
    let ns = found.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
    ns.ok_or_else(|| WRONG.to_owned())
}

pub(super) fn speed(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('x').parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("not a number above 0".to_owned()),
    }
}

/// A time, or a middlebox by its name.
pub(super) fn idle_limit(text: &str) -> Result<Duration, String> {
    if let Some(known) = middlebox::find(text) {
        return Ok(Duration::from_secs(known.idle_limit_s.into()));
    }
    duration(text).map_err(|_| format!("not a time like 350s or 4m, and none of {}", middleboxes()))
}

/// All that are known by name.
fn middleboxes() -> String {
    let known: Vec<_> = middlebox::ALL.iter().map(|known| format!("{} ({} s)", known.name, known.idle_limit_s)).collect();
    known.join(", ")
}

pub(super) fn sockets_help() -> String {
    format!(
        "Example: sudo keepalive-trace sockets --lint --idle-limit aws-nlb\n\
         Middleboxes known by name: {}.\n\
         Only sockets that can have a keepalive timer are listed: no time-wait sockets and no half-open requests.\n\
         Exit code 1 with --lint --fail where there is a finding.",
        middleboxes()
    )
}

pub(super) fn ring_bytes(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes) => Ok(bytes),
        _ => Err("not a power of two between 4096 and 1073741824".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_rotates_by_size_or_age() {
        assert_eq!(rotation("64MB"), Ok(Limit::Bytes(64_000_000)));
        assert_eq!(rotation("1GiB"), Ok(Limit::Bytes(1 << 30)));
        assert_eq!(rotation("1h"), Ok(Limit::Age(Duration::from_secs(3600))));
        assert!(["64", "1KB", "0s", "much", "99999999999999999999GB"].iter().all(|text| rotation(text).is_err()));
    }

    #[test]
    fn a_moment_is_a_date_a_time_of_today_or_so_long_ago() {
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(1_000_000_000));
        let hour = moment("-1h").unwrap() + 3_600_000_000_000;
        assert!((hour - moment("0s").unwrap()).abs() < 10_000_000_000);
        assert!(moment("2026-01-31 10:00").unwrap() > moment("2026-01-31 09:59:59").unwrap());
        assert!(moment("10:00").is_ok() && moment("teatime").is_err());
    }

    #[test]
    fn verdicts_are_known_by_name_and_open_is_none() {
        assert_eq!((verdict("open"), verdict("peer-close")), (Ok(None), Ok(Some(Verdict::PeerClose))));
        assert!(verdict("murder").unwrap_err().contains("keepalive-timeout, user-timeout"));
        assert_eq!(conn("00000000000000ab"), Ok(ConnId(0xab)));
        assert!(conn("xyz").is_err() && conn("").is_err());
    }

    #[test]
    fn an_address_is_a_block_of_one() {
        assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(network("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert!(network("10.0.0.0/33").is_err());
    }

    #[test]
    fn a_duration_is_seconds_unless_it_names_its_unit() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("-1").is_err());
        assert!(duration("soon").is_err());
    }
}
