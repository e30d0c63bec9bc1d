//! What an application is told when its connection breaks.
use std::fmt;

/// An error number of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub u16);

impl Errno {
    pub const PIPE: Self = Self(32);
    pub const CONNABORTED: Self = Self(103);
    pub const CONNRESET: Self = Self(104);
    pub const TIMEDOUT: Self = Self(110);
    pub const CONNREFUSED: Self = Self(111);

    /// Its name as in C, for those that TCP can leave in `sk_err`.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "EPERM",
            12 => "ENOMEM",
            13 => "EACCES",
            22 => "EINVAL",
            32 => "EPIPE",
            71 => "EPROTO",
            90 => "EMSGSIZE",
            92 => "ENOPROTOOPT",
            95 => "EOPNOTSUPP",
            99 => "EADDRNOTAVAIL",
            100 => "ENETDOWN",
            101 => "ENETUNREACH",
            103 => "ECONNABORTED",
            104 => "ECONNRESET",
            105 => "ENOBUFS",
            110 => "ETIMEDOUT",
            111 => "ECONNREFUSED",
            112 => "EHOSTDOWN",
            113 => "EHOSTUNREACH",
            _ => return None,
        })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno-{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_name_in_c_and_an_unknown_one_its_number() {
        assert_eq!(Errno::TIMEDOUT.to_string(), "ETIMEDOUT");
        assert_eq!(Errno(4000).to_string(), "errno-4000");
    }
}
