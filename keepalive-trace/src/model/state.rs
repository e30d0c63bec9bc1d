//! TCP's states.
use std::fmt;

/// A TCP state, by the kernel's name without TCP_.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State(pub u8);

impl State {
    pub const ESTABLISHED: Self = Self(1);
    pub const SYN_SENT: Self = Self(2);
    pub const SYN_RECV: Self = Self(3);
    pub const FIN_WAIT1: Self = Self(4);
    pub const FIN_WAIT2: Self = Self(5);
    pub const CLOSE: Self = Self(7);
    pub const CLOSE_WAIT: Self = Self(8);
    pub const LAST_ACK: Self = Self(9);
    pub const LISTEN: Self = Self(10);
    pub const CLOSING: Self = Self(11);

    /// Those of connections, from their first packet to their last.
    pub const CONNECTIONS: [Self; 8] = [
        Self::ESTABLISHED,
        Self::SYN_SENT,
        Self::SYN_RECV,
        Self::FIN_WAIT1,
        Self::FIN_WAIT2,
        Self::CLOSE_WAIT,
        Self::LAST_ACK,
        Self::CLOSING,
    ];

    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 13] = [
            "ESTABLISHED",
            "SYN_SENT",
            "SYN_RECV",
            "FIN_WAIT1",
            "FIN_WAIT2",
            "TIME_WAIT",
            "CLOSE",
            "CLOSE_WAIT",
            "LAST_ACK",
            "LISTEN",
            "CLOSING",
            "NEW_SYN_RECV",
            "BOUND_INACTIVE",
        ];
        NAMES.get(usize::from(self.0).checked_sub(1)?).copied()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "state-{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_the_kernels_name_and_an_unknown_one_its_number() {
        assert_eq!(State(1).to_string(), "ESTABLISHED");
        assert_eq!(State(13).to_string(), "BOUND_INACTIVE");
        assert_eq!((State(0).to_string(), State(14).to_string()), ("state-0".to_owned(), "state-14".to_owned()));
    }
}
