//! What the kernel side sends, told apart and understood.
use keepalive_trace_ebpf::Record;
use zerocopy::FromBytes as _;

use super::{http::Passing, record::Reader};
use crate::model::{
    sighting::{Sighting, What},
    sysctl::Write,
};

/// What comes out of the ring.
#[derive(Debug)]
pub enum Seen {
    Socket(Sighting),
    Sysctl(Write),
    Http(Passing),
}

impl Seen {
    /// None where the bytes make no sense.
    pub fn read(item: &[u8], reader: &mut Reader) -> Option<Self> {
        if let Ok(record) = Record::read_from_bytes(item) {
            return reader.sighting(&record).map(Self::Socket);
        }
        let write = keepalive_trace_ebpf::Write::read_from_bytes(item).ok()?;
        reader.written(&write).map(Self::Sysctl)
    }

    pub fn mono_ns(&self) -> u64 {
        match self {
            Self::Socket(sighting) => sighting.mono_ns,
            Self::Sysctl(write) => write.mono_ns,
            Self::Http(passing) => passing.mono_ns(),
        }
    }

    /// Who connects, accepts or closes has said who he is. All else happens to a socket, whoever holds it by then.
    pub fn asks_for_owner(&self) -> bool {
        let Self::Socket(sighting) = self else { return false };
        match &sighting.what {
            What::Connected { .. } | What::Accepted { .. } | What::Acked => false,
            What::Closed(closed) => closed.errno.is_some(),
            What::Snapshot | What::Set { .. } | What::Probe(_) | What::Timer(_) => true,
            What::Reset(_) | What::PeerReset | What::Aborted { .. } => true,
        }
    }
}
