//! The live kernel: what it has, the probes in it, and the events that come out of them.
pub mod btf;
pub mod check;
pub mod facts;
pub mod filters;
pub mod hits;
pub mod layout;
pub mod losses;
pub mod probes;
pub mod record;
pub mod stream;
