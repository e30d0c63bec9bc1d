//! How each value is read.
use std::time::Duration;

use ipnet::IpNet;

use crate::model::middlebox;

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

/// A time, or a middlebox by its name.
pub(super) fn idle_limit(text: &str) -> Result<Duration, String> {
    if let Some(known) = middlebox::find(text) {
        return Ok(Duration::from_secs(known.idle_limit_s.into()));
    }
    duration(text).map_err(|_| {
        let known: Vec<_> = middlebox::ALL.iter().map(|known| format!("{} ({} s)", known.name, known.idle_limit_s)).collect();
        format!("not a time like 350s or 4m, and none of {}", known.join(", "))
    })
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
