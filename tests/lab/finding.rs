//! What the tool finds wrong with a socket or a namespace, and what it says would cure it.
use serde::Deserialize;

/// One finding, as it stands in a line.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[expect(missing_docs, reason = "the keys are those of the published schema, and are described there")]
pub struct Finding {
    pub finding: String,
    pub why: String,
    pub remedy: String,
}

/// The socket options that a remedy can name with a number.
const OPTIONS: [&str; 4] = ["TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"];

impl Finding {
    /// The socket options that the remedy names, with the values that it gives them, in its order: `TCP_KEEPIDLE 314 s` and the
    /// like. Where it gives one twice, the second is another way and not here.
    pub fn options(&self) -> Vec<(&str, i32)> {
        let words: Vec<&str> = self.remedy.split_whitespace().map(bare).collect();
        let mut found: Vec<(&str, i32)> = Vec::new();
        for (place, &word) in words.iter().enumerate() {
            let next = words.get(place + 1).copied().unwrap_or_default();
            let value = match word {
                "SO_KEEPALIVE" if next != "off" => Some(1),
                _ if OPTIONS.contains(&word) => next.parse().ok(),
                _ => None,
            };
            let known = found.iter().any(|(option, _)| *option == word);
            found.extend(value.filter(|_| !known).map(|value| (word, value)));
        }
        found
    }

    /// The sysctls of `net.ipv4` that the remedy has written, and to what: `sysctl -w net.ipv4.tcp_keepalive_time=60`.
    pub fn sysctls(&self) -> Vec<(&str, i64)> {
        let words = self.remedy.split_whitespace().map(bare);
        let pairs = words.filter_map(|word| word.strip_prefix("net.ipv4.")?.split_once('='));
        pairs.filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect()
    }
}

/// Without the marks around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(remedy: &str) -> Finding {
        let [finding, why] = ["late-for-limit", ""].map(str::to_owned);
        Finding { finding, why, remedy: remedy.to_owned() }
    }

    #[test]
    fn a_remedy_s_numbers_are_those_after_the_knobs_names() {
        let both = advice(
            "TCP_KEEPIDLE 314 s and TCP_KEEPINTVL 30 s in psql[7], at once; or `nsenter -t 7 -n sysctl -w net.ipv4.tcp_keepalive_time=314`",
        );
        assert_eq!(both.options(), [("TCP_KEEPIDLE", 314), ("TCP_KEEPINTVL", 30)]);
        assert_eq!(both.sysctls(), [("tcp_keepalive_time", 314)]);
        let either = advice("TCP_USER_TIMEOUT 25000 ms or more, or TCP_USER_TIMEOUT 0 ms for none, in x[1]");
        assert_eq!(either.options(), [("TCP_USER_TIMEOUT", 25_000)]);
        assert!(advice("SO_KEEPALIVE off and on in x[1] re-arms it").options().is_empty());
        assert_eq!(advice("SO_KEEPALIVE and TCP_KEEPIDLE 60 s; without SO_KEEPALIVE nothing").options().len(), 2);
        let sysctls = advice("`sysctl -w net.ipv4.tcp_keepalive_intvl=75 net.ipv4.tcp_keepalive_probes=9`, the default");
        assert_eq!(sysctls.sysctls(), [("tcp_keepalive_intvl", 75), ("tcp_keepalive_probes", 9)]);
        assert!(sysctls.options().is_empty());
    }
}
