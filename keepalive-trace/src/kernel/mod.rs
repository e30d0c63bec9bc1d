//! The live kernel: what it has, the probes in it, and the events that come out of them.
pub mod btf;
pub mod cgroups;
pub mod check;
mod descriptor;
pub mod facts;
pub mod filters;
pub mod hits;
pub mod layout;
pub mod losses;
pub mod namespaces;
pub mod owner;
mod pace;
pub mod probes;
pub mod record;
pub mod sockets;
pub mod stream;
pub mod sysctls;
pub mod walk;
