//! Which connections somebody wants to hear of.
use std::{path::PathBuf, str::FromStr};

use ipnet::IpNet;

/// An empty list selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub local_ports: Vec<PortRange>,
    pub remote_ports: Vec<PortRange>,
    pub local_addresses: Vec<IpNet>,
    pub remote_addresses: Vec<IpNet>,
    /// Only IPv4 sockets.
    pub ipv4: bool,
    /// Only IPv6 sockets.
    pub ipv6: bool,
    /// Inodes, paths like /proc/PID/ns/net, or names of `ip netns`.
    pub netns: Vec<String>,
    /// Folders in cgroupfs, or paths from its root.
    pub cgroups: Vec<PathBuf>,
}

/// A port, or a range of them like 8000-8999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is not a port (0 to 65535)"));
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first > last {
            return Err(format!("the range {first}-{last} is backwards"));
        }
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_alone_and_as_ranges_and_backwards_ones_are_refused() {
        assert_eq!("443".parse(), Ok(PortRange { first: 443, last: 443 }));
        assert_eq!("8000-8999".parse(), Ok(PortRange { first: 8000, last: 8999 }));
        assert_eq!("9-8".parse::<PortRange>(), Err("the range 9-8 is backwards".to_owned()));
        assert_eq!("http".parse::<PortRange>(), Err("`http` is not a port (0 to 65535)".to_owned()));
        assert!("65536".parse::<PortRange>().is_err());
    }
}
