//! What the running kernel's BTF says about everything we read or hook. Never the kernel's version: members move within
//! stable branches too.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Context as _;
use keepalive_trace_ebpf::{ABSENT, HEAD_BYTES, Offsets};

use super::{
    btf::{Btf, BtfError, kind},
    facts,
    targets::Targets,
};

mod names;

use names::REASONS;
pub use names::{HOOKS, MORE_HOOKS, STRUCTS};
use names::{MORE_TARGETS, TYPED_TASK};

const REASON_PREFIX: &str = "SK_RST_REASON_";
/// The enum's end marker: it counts the reasons and is none.
const REASON_END: &str = "MAX";
const PROBES: &str = "net.ipv4.sysctl_tcp_keepalive_probes";
/// Of an int, where [`PROBES`] is one.
const INT_BYTES: u32 = 4;
const CGROUP_WORD: &str = "sock.sk_cgrp_data.val";
/// Members that one lookup may visit: some twenty times what `struct net` needs.
const VISITS: usize = 1 << 16;

/// What the running kernel's BTF says about everything we read or hook.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Byte offsets; what the kernel can do without is [`ABSENT`] where it is lacking or of another size than we read.
    pub offsets: Offsets,
    /// Index of `tcp_send_active_reset`'s parameter of type `enum sk_rst_reason`; none where the kernel has no reasons.
    pub reason_arg: Option<u32>,
    /// The kernel's own names of the reset reasons by value, without `SK_RST_REASON_`; empty where it has none.
    pub reset_reasons: BTreeMap<u32, Arc<str>>,
    /// What programs attach to.
    pub targets: Targets,
    /// Those of [`HOOKS`] and [`MORE_HOOKS`] that the kernel has as functions.
    pub functions: BTreeSet<&'static str>,
    /// Whether `sysctl_tcp_keepalive_probes` is an int, as before 5.10 and on Android's 5.10, and not a byte.
    pub probes_is_int: bool,
    /// Whether a socket's cgroup is a word with tag bits, as before 5.15, and not a pointer.
    pub cgroup_is_word: bool,
    /// Whether programs can have the current task as a typed pointer, as since 5.11.
    pub has_typed_task: bool,
    /// Whether the kernel counts the kprobe programs that it skips, as it does since it can tell of missed kprobes at all.
    pub counts_skipped_kprobes: bool,
}

/// The layout of the kernel that runs.
///
/// # Errors
///
/// There is no BTF, or it fails as in [`layout`].
pub fn of_running_kernel() -> anyhow::Result<Layout> {
    layout(&facts::btf()?).with_context(|| format!("cannot use {}", facts::BTF))
}

/// Reads the layout from raw BTF, the content of /sys/kernel/btf/vmlinux.
///
/// # Errors
///
/// The bytes are no sound BTF of this machine's byte order, or the kernel lacks a member that nothing works without.
pub fn layout(btf: &[u8]) -> Result<Layout, BtfError> {
    let wanted: Vec<&str> = [&STRUCTS[..], &HOOKS[..], &MORE_HOOKS[..], &MORE_TARGETS[..], &[REASONS, TYPED_TASK]].concat();
    let btf = Btf::parse(btf, &wanted)?;
    Ok(Layout {
        offsets: offsets(&btf)?,
        targets: Targets::of(&btf, &[&HOOKS[..], &MORE_HOOKS[..], &MORE_TARGETS[..]].concat()),
        probes_is_int: probes_bytes(&btf)? == INT_BYTES,
        cgroup_is_word: cgroup_path(&btf) == CGROUP_WORD,
        has_typed_task: btf.named(kind::FUNC, TYPED_TASK).next().is_some(),
        reason_arg: reason_arg(&btf)?,
        reset_reasons: reset_reasons(&btf),
        counts_skipped_kprobes: field(&btf, "bpf_link_info.perf_event.kprobe.missed").is_ok(),
        functions: HOOKS.into_iter().chain(MORE_HOOKS).filter(|name| btf.named(kind::FUNC, name).next().is_some()).collect(),
    })
}

fn offsets(btf: &Btf<'_>) -> Result<Offsets, BtfError> {
    let need = |path, bytes| field(btf, path)?.bytes(btf, path, bytes);
    let maybe = |path, bytes| or_absent(need(path, bytes));
    let head = |path, bytes| need(path, bytes).and_then(|offset| in_head(path, offset, bytes));
    let maybe_head = |path, bytes| or_absent(head(path, bytes));
    Ok(Offsets {
        keepalive_timer: keepalive_timer(btf)?,
        timer_expires: need("timer_list.expires", 8)?,
        timer_pprev: need("timer_list.entry.pprev", 8)?,
        timer_flags: maybe("timer_list.flags", 4)?,

        daddr: head("sock.__sk_common.skc_daddr", 4)?,
        saddr: head("sock.__sk_common.skc_rcv_saddr", 4)?,
        daddr6: maybe_head("sock.__sk_common.skc_v6_daddr", 16)?,
        saddr6: maybe_head("sock.__sk_common.skc_v6_rcv_saddr", 16)?,
        dport: head("sock.__sk_common.skc_dport", 2)?,
        sport: need("inet_connection_sock.icsk_inet.inet_sport", 2)?,
        family: head("sock.__sk_common.skc_family", 2)?,
        state: head("sock.__sk_common.skc_state", 1)?,
        flags: head("sock.__sk_common.skc_flags", 8)?,
        cookie: maybe_head("sock.__sk_common.skc_cookie", 8)?,
        hash: head("sock.__sk_common.skc_hash", 4)?,
        net: head("sock.__sk_common.skc_net.net", 8)?,
        owned: maybe("sock.sk_lock.owned", 4)?,
        cgroup: socket_cgroup(btf)?,

        probes_out: need("inet_connection_sock.icsk_probes_out", 1)?,
        user_timeout: need("inet_connection_sock.icsk_user_timeout", 4)?,
        lrcvtime: need("inet_connection_sock.icsk_ack.lrcvtime", 4)?,
        rcv_tstamp: need("tcp_sock.rcv_tstamp", 4)?,
        keepalive_time: need("tcp_sock.keepalive_time", 4)?,
        keepalive_intvl: need("tcp_sock.keepalive_intvl", 4)?,
        keepalive_probes: need("tcp_sock.keepalive_probes", 1)?,
        packets_out: need("tcp_sock.packets_out", 4)?,
        write_seq: need("tcp_sock.write_seq", 4)?,
        snd_nxt: need("tcp_sock.snd_nxt", 4)?,
        mstamp: maybe("tcp_sock.tcp_mstamp", 8)?,
        lsndtime: need("tcp_sock.lsndtime", 4)?,
        clock_cache: maybe("tcp_sock.tcp_clock_cache", 8)?,

        protocol: maybe("sock.sk_protocol", 2)?,
        err: maybe("sock.sk_err", 4)?,
        socket: maybe("sock.sk_socket", 8)?,
        lingertime: maybe("sock.sk_lingertime", 8)?,
        snd_una: maybe("tcp_sock.snd_una", 4)?,
        snd_wnd: maybe("tcp_sock.snd_wnd", 4)?,
        rcv_nxt: need("tcp_sock.rcv_nxt", 4)?,
        copied_seq: maybe("tcp_sock.copied_seq", 4)?,
        linger2: maybe("tcp_sock.linger2", 4)?,

        net_inum: need("net.ns.inum", 4)?,
        net_count: net_count(btf)?,
        net_statistics: maybe("net.mib.net_statistics", 8)?,
        sysctl_time: need("net.ipv4.sysctl_tcp_keepalive_time", 4)?,
        sysctl_intvl: need("net.ipv4.sysctl_tcp_keepalive_intvl", 4)?,
        sysctl_probes: field(btf, PROBES).and_then(|field| field.bytes(btf, PROBES, probes_bytes(btf)?))?,

        cgroup_kn: maybe("cgroup.kn", 8)?,
        kernfs_id: maybe("kernfs_node.id", 8)?,
        cgroup_parent: cgroup_parent(btf)?,

        task_tgid: maybe("task_struct.tgid", 4)?,
        task_flags: maybe("task_struct.flags", 4)?,
        task_leader: maybe("task_struct.group_leader", 8)?,
        task_comm: maybe("task_struct.comm", 16)?,
        file_inode: maybe("file.f_inode", 8)?,
        file_private: maybe("file.private_data", 8)?,
        inode_mode: maybe("inode.i_mode", 2)?,
        socket_sk: maybe("socket.sk", 8)?,

        ctl_procname: maybe("ctl_table.procname", 8)?,
        ctl_data: maybe("ctl_table.data", 8)?,
    })
}

/// The kernel side reads the beginning of a socket at once, and looks for these members there.
fn in_head(path: &'static str, offset: u32, bytes: u32) -> Result<u32, BtfError> {
    if offset as usize + bytes as usize > HEAD_BYTES {
        return Err(BtfError::Far(path, offset));
    }
    Ok(offset)
}

/// The timer has its own member since 6.19, and since some release of several older branches. `sk_timer` stays behind, for
/// other protocols: only where the new member is lacking is it the keepalive timer.
fn keepalive_timer(btf: &Btf<'_>) -> Result<u32, BtfError> {
    const NEW: &str = "inet_connection_sock.icsk_keepalive_timer";
    const OLD: &str = "sock.sk_timer";
    let (path, found) = match field(btf, NEW) {
        Err(BtfError::NoMember(_)) => (OLD, field(btf, OLD)),
        found => (NEW, found),
    };
    let found = found?;
    let ty = btf.resolve(found.type_id)?;
    if ty.kind != kind::STRUCT || !ty.name.is("timer_list") {
        return Err(BtfError::NoTimer(path));
    }
    found.bytes(btf, path, ty.size_or_type)
}

/// In `ns_common` since 5.11, and under another name since 6.18.
fn net_count(btf: &Btf<'_>) -> Result<u32, BtfError> {
    const PATHS: [&str; 3] = ["net.ns.__ns_ref", "net.ns.count", "net.count"];
    for path in PATHS {
        match or_absent(field(btf, path).and_then(|field| field.bytes(btf, path, 4)))? {
            ABSENT => {}
            offset => return Ok(offset),
        }
    }
    Ok(ABSENT)
}

/// A byte since 5.10, but an int in kernels of Android's 5.10.
fn probes_bytes(btf: &Btf<'_>) -> Result<u32, BtfError> {
    let size = btf.size(field(btf, PROBES)?.type_id)?;
    if matches!(size, 1 | INT_BYTES) { Ok(size) } else { Err(BtfError::Size(PROBES, size, 1)) }
}

/// Since 5.15 there is a pointer; before, a word that holds the pointer and tag bits.
fn cgroup_path(btf: &Btf<'_>) -> &'static str {
    const POINTER: &str = "sock.sk_cgrp_data.cgroup";
    if matches!(field(btf, POINTER), Err(BtfError::NoMember(_))) { CGROUP_WORD } else { POINTER }
}

fn socket_cgroup(btf: &Btf<'_>) -> Result<u32, BtfError> {
    let path = cgroup_path(btf);
    or_absent(field(btf, path).and_then(|field| field.bytes(btf, path, 8)))
}

/// The kernel side takes a pointer to the parent's `self` for a pointer to the parent: true only while `self` comes first.
fn cgroup_parent(btf: &Btf<'_>) -> Result<u32, BtfError> {
    const PATH: &str = "cgroup.self.parent";
    match or_absent(field(btf, "cgroup.self").map(|own| own.bit_offset))? {
        0 => or_absent(field(btf, PATH).and_then(|field| field.bytes(btf, PATH, 8))),
        _ => Ok(ABSENT),
    }
}

fn reason_arg(btf: &Btf<'_>) -> Result<Option<u32>, BtfError> {
    let Some(function) = btf.named(kind::FUNC, "tcp_send_active_reset").next() else { return Ok(None) };
    let proto = btf.get(function.size_or_type)?;
    if proto.kind != kind::FUNC_PROTO {
        return Ok(None);
    }
    for (index, [_, type_id]) in (0..).zip(proto.records()) {
        let ty = btf.resolve(type_id)?;
        if ty.kind == kind::ENUM && ty.name.is(REASONS) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn reset_reasons(btf: &Btf<'_>) -> BTreeMap<u32, Arc<str>> {
    let mut reasons = BTreeMap::new();
    for [name, value] in btf.named(kind::ENUM, REASONS).flat_map(|ty| ty.records()) {
        let name = btf.name(name).map(|name| String::from_utf8_lossy(name.bytes())).unwrap_or_default();
        if let Some(name) = name.strip_prefix(REASON_PREFIX)
            && name != REASON_END
        {
            reasons.insert(value, name.into());
        }
    }
    reasons
}

/// What the kernel lacks, or has in another form, becomes [`ABSENT`]; BTF that is broken stays an error.
fn or_absent(offset: Result<u32, BtfError>) -> Result<u32, BtfError> {
    match offset {
        Err(BtfError::NoStruct(_) | BtfError::NoMember(_) | BtfError::Bitfield(_) | BtfError::Size(..) | BtfError::Far(..)) => {
            Ok(ABSENT)
        }
        other => other,
    }
}

/// Where a member is, within the struct that its path began with.
#[derive(Clone, Copy)]
struct Field {
    bit_offset: u32,
    /// Width of a bitfield; 0 for all else.
    bits: u32,
    type_id: u32,
}

impl Field {
    /// Its byte offset, if it is what we are about to read.
    fn bytes(self, btf: &Btf<'_>, path: &'static str, expected: u32) -> Result<u32, BtfError> {
        if self.bits != 0 || !self.bit_offset.is_multiple_of(8) {
            return Err(BtfError::Bitfield(path));
        }
        match btf.size(self.type_id)? {
            size if size == expected => Ok(self.bit_offset / 8),
            size => Err(BtfError::Size(path, size, expected)),
        }
    }
}

/// Looks a dotted path up, such as `net.ns.inum`: a struct, then its members. Anonymous structs and unions are looked
/// through, as C does. Of several structs of the name, the one that has the members counts.
fn field(btf: &Btf<'_>, path: &'static str) -> Result<Field, BtfError> {
    let (name, members) = path.split_once('.').ok_or(BtfError::NoMember(path))?;
    let (mut visits, mut lack) = (VISITS, BtfError::NoStruct(name));
    for owner in btf.named(kind::STRUCT, name) {
        let mut found = Some(Field { bit_offset: 0, bits: 0, type_id: owner.id });
        for name in members.split('.') {
            let Some(base) = found else { break };
            found = member(btf, base, name, &mut visits)?;
        }
        if let Some(found) = found {
            return Ok(found);
        }
        lack = BtfError::NoMember(path);
    }
    Err(lack)
}

/// The member of that name in the struct or union that `base` is. It does not recurse, and `visits` bounds its work: types
/// may refer to one another in any way.
fn member(btf: &Btf<'_>, base: Field, name: &str, visits: &mut usize) -> Result<Option<Field>, BtfError> {
    let mut open = vec![base];
    while let Some(base) = open.pop() {
        let owner = btf.resolve(base.type_id)?;
        if !matches!(owner.kind, kind::STRUCT | kind::UNION) {
            continue;
        }
        let tangled = BtfError::Tangled(owner.id);
        for [member, type_id, offset] in owner.records() {
            *visits = visits.checked_sub(1).ok_or(tangled)?;
            // With the flag set, the upper byte of an offset is the width of a bitfield.
            let (offset, bits) = if owner.info >> 31 == 1 { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
            let bit_offset = base.bit_offset.checked_add(offset).ok_or(tangled)?;
            let found = Field { bit_offset, bits, type_id };
            let member = btf.name(member).ok_or(BtfError::NoName(owner.id))?;
            if member.is(name) {
                return Ok(Some(found));
            }
            if member.is_empty() {
                open.push(found);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
