//! The settings in force on a socket, and where each comes from.

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Set on the socket (TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT), or inherited from its listener.
    Socket,
    /// The sysctl of the socket's network namespace.
    Sysctl,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Sysctl => "sysctl",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T: Copy + Default + PartialEq> Sourced<T> {
    /// The kernel's rule everywhere: a socket's own value where it is not 0, else the namespace's.
    pub fn pick(socket: T, sysctl: T) -> Self {
        if socket == T::default() {
            return Self { value: sysctl, origin: Origin::Sysctl };
        }
        Self { value: socket, origin: Origin::Socket }
    }
}

/// Mirrors `keepalive_time_when`, `keepalive_intvl_when` and `keepalive_probes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// Seconds; 0 and negative are possible, since the sysctl accepts them.
    pub time_s: Sourced<i32>,
    /// Seconds, likewise.
    pub intvl_s: Sourced<i32>,
    pub probes: Sourced<u32>,
    /// TCP_USER_TIMEOUT, milliseconds; 0 means none.
    pub user_timeout_ms: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_option_overrides_the_sysctl() {
        assert_eq!(Sourced::pick(5, 7200), Sourced { value: 5, origin: Origin::Socket });
    }

    #[test]
    fn zero_on_the_socket_means_the_sysctl_even_where_that_is_negative() {
        assert_eq!(Sourced::pick(0, -1), Sourced { value: -1, origin: Origin::Sysctl });
    }
}
