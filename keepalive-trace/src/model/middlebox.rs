//! How long well-known middleboxes remember an idle connection, by their makers' own word. Most can be told otherwise.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Middlebox {
    pub name: &'static str,
    /// After so many idle seconds it has forgotten the connection, unless it was told another limit.
    pub idle_limit_s: u32,
    /// Where that is documented.
    pub source: &'static str,
}

const fn known(name: &'static str, idle_limit_s: u32, source: &'static str) -> Middlebox {
    Middlebox { name, idle_limit_s, source }
}

/// By name.
pub const ALL: [Middlebox; 9] = [
    known("aws-gateway-lb", 350, "https://docs.aws.amazon.com/elasticloadbalancing/latest/gateway/update-idle-timeout.html"),
    known("aws-nat-gateway", 350, "https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html"),
    known("aws-network-firewall", 350, "https://docs.aws.amazon.com/network-firewall/latest/APIReference/API_FlowTimeouts.html"),
    known("aws-nlb", 350, "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html"),
    known("azure-load-balancer", 240, "https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-idle-timeout"),
    known("azure-nat-gateway", 240, "https://learn.microsoft.com/azure/nat-gateway/nat-gateway-resource"),
    known("gcp-cloud-nat", 1200, "https://cloud.google.com/compute/docs/reference/rest/v1/routers"),
    known("gcp-firewall", 600, "https://cloud.google.com/compute/docs/troubleshooting/general-tips"),
    known("ipvs", 900, "https://github.com/torvalds/linux/blob/master/net/netfilter/ipvs/ip_vs_proto_tcp.c"),
];

pub fn find(name: &str) -> Option<&'static Middlebox> {
    ALL.iter().find(|middlebox| middlebox.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_middlebox_is_found_by_its_whole_name_only() {
        assert_eq!(find("aws-nlb").map(|middlebox| middlebox.idle_limit_s), Some(350));
        assert_eq!((find("aws"), find("")), (None, None));
    }

    #[test]
    fn each_is_listed_once_in_order_and_says_where_its_limit_stands() {
        assert!(ALL.is_sorted_by(|one, next| one.name < next.name));
        assert!(ALL.iter().all(|middlebox| middlebox.source.starts_with("https://") && middlebox.idle_limit_s > 0));
    }
}
