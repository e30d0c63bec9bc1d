//! Who is at work, and what a process holds: tasks, and their open files.
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task,
    generated::{bpf_get_current_comm, bpf_get_current_task_btf},
};

use crate::{
    fields::load,
    maps::{config, offset, present},
    sock::{Sock, read},
};

/// In `task_struct.flags`: a thread of the kernel's own.
const PF_KTHREAD: u32 = 0x0020_0000;

/// In `inode.i_mode`: the file type, and that of sockets.
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// The process that runs here: its thread group id, and the name of the group's first thread; none for the kernel's own
/// threads. In a softirq that is a bystander: ask only where a process is known to be at work.
#[inline(always)]
pub fn current_process() -> Option<(u32, [u64; 2])> {
    if config!(typed_task) != 0 {
        return current_by_loads();
    }
    // SAFETY: no arguments, no effect.
    let task = Task(unsafe { bpf_get_current_task() });
    if task.is_of_kernel()? {
        return None;
    }
    let ids = bpf_get_current_pid_tgid();
    let (group, thread) = ((ids >> 32) as u32, ids as u32);
    if group != thread {
        return Some((group, task.leader()?.comm()?));
    }
    // Mostly it is the first thread itself, whose name costs less to ask for than to look up.
    let mut comm = [0; 2];
    // SAFETY: the helper fills exactly these bytes.
    unsafe { bpf_get_current_comm((&raw mut comm).cast(), size_of_val(&comm) as u32) };
    Some((group, comm))
}

/// The same where the kernel hands over a typed pointer, as it does since 5.11.
#[inline(always)]
fn current_by_loads() -> Option<(u32, [u64; 2])> {
    // SAFETY: no arguments, no effect.
    let task = unsafe { bpf_get_current_task_btf() }.cast::<u8>().cast_const();
    if load::<u32>(task, offset!(task_flags))? & PF_KTHREAD != 0 {
        return None;
    }
    let leader: *const u8 = load(task, offset!(task_leader))?;
    let comm = offset!(task_comm);
    present(comm)?;
    Some((load(task, offset!(task_tgid))?, [load(leader, comm)?, load(leader, comm.wrapping_add(8))?]))
}

/// A `struct task_struct`.
#[derive(Clone, Copy)]
pub struct Task(u64);

impl Task {
    pub fn at(address: u64) -> Self {
        Self(address)
    }

    /// As [`current_process`], of any task.
    #[inline(always)]
    pub fn process(self) -> Option<(u32, [u64; 2])> {
        if self.is_of_kernel()? {
            return None;
        }
        Some((read(self.0, offset!(task_tgid))?, self.leader()?.comm()?))
    }

    #[inline(always)]
    fn is_of_kernel(self) -> Option<bool> {
        read::<u32>(self.0, offset!(task_flags)).map(|flags| flags & PF_KTHREAD != 0)
    }

    #[inline(always)]
    fn leader(self) -> Option<Self> {
        read(self.0, offset!(task_leader)).map(Self)
    }

    #[inline(always)]
    fn comm(self) -> Option<[u64; 2]> {
        read(self.0, offset!(task_comm))
    }
}

/// A `struct file`.
#[derive(Clone, Copy)]
pub struct File(u64);

impl File {
    pub fn at(address: u64) -> Self {
        Self(address)
    }

    /// The socket that it is, if it is one.
    #[inline(always)]
    pub fn sock(self) -> Option<Sock> {
        let inode: u64 = read(self.0, offset!(file_inode))?;
        if read::<u16>(inode, offset!(inode_mode))? & S_IFMT != S_IFSOCK {
            return None;
        }
        let socket: u64 = read(self.0, offset!(file_private))?;
        let sk: u64 = read(socket, offset!(socket_sk))?;
        (sk != 0).then(|| Sock::at(sk))
    }
}
