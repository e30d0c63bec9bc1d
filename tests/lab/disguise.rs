//! A poorer machine than this one, for one program only.
use std::{io, os::unix::process::CommandExt, process::Command};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Who owns nothing on most systems.
const NOBODY: u32 = 65534;

/// The command will find this folder empty.
pub fn hide_folder(command: &mut Command, folder: &'static str) {
    before_it_runs(command, move || mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), None::<&str>));
}

/// The command will find this file empty.
pub fn hide_file(command: &mut Command, file: &'static str) {
    before_it_runs(command, move || mount(Some("/dev/null"), file, None::<&str>, MsFlags::MS_BIND, None::<&str>));
}

/// The command will run without any privilege.
pub fn drop_privileges(command: &mut Command) {
    command.uid(NOBODY).gid(NOBODY);
}

/// Hides something in a mount namespace of the command's own.
fn before_it_runs(command: &mut Command, hide: impl Fn() -> nix::Result<()> + Send + Sync + 'static) {
    let in_private = move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        Ok(hide()?)
    };
    // SAFETY: between fork and exec it makes system calls only; paths this short are copied to the stack.
    unsafe { command.pre_exec(in_private) };
}
