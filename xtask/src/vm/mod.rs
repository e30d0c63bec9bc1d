//! Virtual machines: a kernel, a handful of files, a command, a verdict.
mod console;
mod cpio;
mod initramfs;
mod qemu;

pub use console::Line;
pub use initramfs::{Given, Initramfs, pack};
pub use qemu::{Clock, MEMORY, MORE_MEMORY, Vm};
