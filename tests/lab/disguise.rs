//! A poorer machine than this one, for one program only.
use std::{io, os::unix::process::CommandExt, process::Command};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
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

/// The command will find nothing mounted there.
pub fn unmount(command: &mut Command, folder: &'static str) {
    before_it_runs(command, move || umount2(folder, MntFlags::MNT_DETACH));
}

/// The command will run as root, and without these capabilities.
pub fn drop_capabilities(command: &mut Command, capabilities: &'static [libc::c_ulong]) {
    let drop = move || {
        // SAFETY: plain numbers.
        let dropped = capabilities.iter().all(|capability| unsafe { libc::prctl(libc::PR_CAPBSET_DROP, *capability) } == 0);
        if dropped { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes system calls only.
    unsafe { command.pre_exec(drop) };
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
