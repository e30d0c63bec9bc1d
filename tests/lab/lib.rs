//! The lab: everything that provokes the kernel's keepalive for real, and everything that watches it without the tracer.
//!
//! All of it happens on loopback, in network namespaces that the lab makes for itself, so nothing here needs a second
//! host or a tool beyond a bare kernel. The provocations are [`pair`], [`peer`], [`busy`], [`forge`], [`kill`] and [`network`], and
//! [`role`] has processes of its own where it matters who holds a socket. The independent witnesses are [`capture`] (the wire),
//! [`application`] (the errno), [`counters`] (TcpExt), [`timer`] and [`diag`] (what `ss -o` shows). [`tracer`] is the one who stands
//! trial, and [`listing`] and [`recorded`] too; [`schema`] is what they have promised to say.

pub mod application;
pub mod bpf;
pub mod busy;
pub mod capture;
pub mod cgroup;
pub mod clock;
pub mod counters;
pub mod detour;
pub mod diag;
pub mod disguise;
pub mod event;
pub mod finding;
pub mod firewall;
pub mod fleet;
pub mod forge;
pub mod hammer;
pub mod kill;
pub mod leftovers;
pub mod listing;
pub mod mounts;
pub mod netlink;
pub mod netns;
pub mod network;
pub mod packet;
pub mod pair;
pub mod peer;
pub mod puppet;
pub mod recorded;
pub mod role;
pub mod schema;
pub mod server;
pub mod silence;
pub mod sockopt;
pub mod stage;
pub mod sysctl;
pub mod timer;
pub mod tracer;
pub mod wire;
pub mod worker;

/// True, with a word on stderr, where a test can't run because making a network namespace is not allowed.
#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a test that can't run says so")]
pub(crate) fn skipped(test: &str) -> bool {
    let Err(error) = netns::Netns::new() else { return false };
    eprintln!("skip {test}: {error:#}");
    true
}
