//! What the programs share: the ring to user space, the counters, the filters' sets, and the loader's globals.
use core::{intrinsics::AtomicOrdering, mem::MaybeUninit};

use aya_ebpf::{
    helpers::bpf_ringbuf_query,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, PerCpuHashMap, RingBuf},
};
use keepalive_trace_ebpf::{ABSENT, CGROUP_SLOTS_BITS, Config, EndKey, Offsets, PORT_WORDS, Record, WAKE_NS, Write, counter};

use crate::http::{Flow, Newborn};

/// Set by the loader. Read field by field, always through [`offset!`].
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = zerocopy::transmute!([0xff_u8; size_of::<Offsets>()]);

/// Set by the loader.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config {
    hz: 0,
    has_reason: 0,
    filters: 0,
    exact_replies: 0,
    listed_states: 0,
    http: 0,
    quiet: 0,
    probes_is_int: 0,
    cgroup_is_word: 0,
    typed_task: 0,
};

/// The running kernel's offset of a field. Volatile: the loader puts the value there after compilation.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a valid, aligned static that nobody writes while the program runs.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::OFFSETS.$field) }
    };
}
pub(crate) use offset;

/// A value of the loader's configuration.
macro_rules! config {
    ($field:ident) => {
        // SAFETY: a valid, aligned static that nobody writes while the program runs.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::CONFIG.$field) }
    };
}
pub(crate) use config;

/// What one run of `tcp_keepalive_timer` has done so far. Nested calls run on the same CPU, in the same softirq.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Run {
    /// Set between entry and exit.
    pub active: u32,
    /// The run's socket passed the filters.
    pub wanted: u32,
    /// [`step`] bits.
    pub steps: u32,
    /// `sk_lock.owned` at entry: 0, or another number where a process held the socket.
    pub owned: u32,
    /// `tcp_mstamp` at entry, microseconds: unchanged at exit when the handler gave up at once.
    pub mstamp: u64,
    /// Jiffies at entry.
    pub jiffies: u64,
    /// The timer's deadline at entry, jiffies, the low half.
    pub expires: u32,
    /// The second argument of `tcp_write_wakeup`: the index of the kernel's own counter of probes.
    pub mib: u32,
    /// The socket, as it was before the run did anything.
    pub record: Record,
}

/// Nested calls seen within a [`Run`].
pub mod step {
    /// `tcp_write_wakeup` entered.
    pub const WAKEUP: u32 = 1 << 0;
    /// `tcp_write_wakeup` returned.
    pub const WAKEUP_RETURNED: u32 = 1 << 1;
    /// `tcp_send_active_reset`.
    pub const RESET: u32 = 1 << 2;
    /// `tcp_done`.
    pub const DONE: u32 = 1 << 3;
}

/// A write to a keepalive sysctl that is not over yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pending {
    /// The value's address: in the `struct net` that it belongs to.
    pub data: u64,
    /// [`keepalive_trace_ebpf::name`].
    pub name: u32,
    /// What it was before.
    pub old: i32,
}

#[map]
static RING: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

#[map]
static RUN: PerCpuArray<Run> = PerCpuArray::with_max_entries(1, 0);

/// A record too large for the stack, of a program that has no ring to write into.
#[map]
pub static SCRATCH: PerCpuArray<Record> = PerCpuArray::with_max_entries(1, 0);

/// How many connections ended in order without a record, of one cgroup on one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CgroupEnds {
    /// Id of the cgroup; 0: free.
    pub cgroup: u64,
    /// By [`keepalive_trace_ebpf::orderly`], from 0.
    pub counts: [u64; 3],
}

/// The cgroups of which connections end most of the time, in one entry: the reader takes all of them at once.
#[map]
pub static CGROUP_ENDS: PerCpuArray<[CgroupEnds; 1 << CGROUP_SLOTS_BITS]> = PerCpuArray::with_max_entries(1, 0);

/// The same of all other cgroups, by [`EndKey`].
#[map]
pub static ENDS: PerCpuHashMap<EndKey, u64> = PerCpuHashMap::with_max_entries(1024, 0);

/// Not 0 once a keepalive sysctl was written: from then on runs of timers are told, since they may follow it.
#[map]
static SYSCTLS_WRITTEN: Array<u32> = Array::with_max_entries(1, 0);

/// The socket of the `setsockopt()` in progress, by thread.
#[map]
pub static CALLS: HashMap<u64, u64> = HashMap::with_max_entries(1024, 0);

/// The write to a sysctl in progress, by thread.
#[map]
pub static WRITES: HashMap<u64, Pending> = HashMap::with_max_entries(1024, 0);

/// Sockets that wait for the answer to a probe. Whoever finds no room has its answer told later, by the socket's own clock.
#[map]
pub static WAITING: HashMap<u64, u8> = HashMap::with_max_entries(16_384, 0);

#[map]
pub static PORTS: Array<u64> = Array::with_max_entries(2 * PORT_WORDS, 0);

/// The key's first four bytes name the end, in the machine's byte order; then an address, IPv4 as `::ffff:a.b.c.d`.
#[map]
pub static ADDRESSES: LpmTrie<[u8; 20], u8> = LpmTrie::with_max_entries(1024, 1 /* BPF_F_NO_PREALLOC */);

#[map]
pub static NETNS: HashMap<u32, u8> = HashMap::with_max_entries(64, 0);

#[map]
pub static CGROUPS: HashMap<u64, u8> = HashMap::with_max_entries(64, 0);

/// When the reader was woken last: CLOCK_MONOTONIC, nanoseconds. CPUs may race for it: that costs a wake-up too many.
#[map]
static WOKEN: Array<u64> = Array::with_max_entries(1, 0);

/// Connections on which HTTP was seen, by socket. Whoever finds no room has each message told as if it were the first.
#[map]
pub static FLOWS: HashMap<u64, Flow> = HashMap::with_max_entries(65_536, 0);

/// What came to a listener last, on each CPU.
#[map]
pub static NEWBORN: PerCpuArray<Newborn> = PerCpuArray::with_max_entries(1, 0);

/// Not 0 once a TLS greeting was told. The reader puts 0 there when he wants to hear of another.
#[map]
pub static GREETED: Array<u32> = Array::with_max_entries(1, 0);

/// The heads of HTTP messages: in a ring of their own, so that no flood of them drives out what happens to connections.
#[map]
pub static HEADS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// When the reader was woken last for a head.
#[map]
static WOKEN_FOR_HEADS: Array<u64> = Array::with_max_entries(1, 0);

/// Unread bytes in the ring past which the reader is woken again soon.
const WAKE_AT: u64 = 64 * 1024;
/// How soon, nanoseconds. A reader that is behind is awake already: to wake it once more with each record costs as much as the record.
const WAKE_AGAIN_NS: i64 = 1_000_000;
const BPF_RB_AVAIL_DATA: u64 = 0;
const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;

/// This CPU's slot for the run in progress.
pub fn run() -> Option<&'static mut Run> {
    let run = RUN.get_ptr_mut(0)?;
    // SAFETY: this CPU's own slot; softirqs don't nest, so nobody else uses it before we are done.
    Some(unsafe { &mut *run })
}

pub fn count(which: u32) {
    add(which, 1);
}

pub fn add(which: u32, number: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(which) {
        add_to(value, number);
    }
}

/// Adds to a counter of this CPU in one instruction: a softirq may come between any two.
#[inline(always)]
pub fn add_to(value: *mut u64, number: u64) {
    // SAFETY: an aligned word of a map, which lives as long as the program.
    unsafe { core::intrinsics::atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(value, number) };
}

/// A keepalive sysctl has another value now.
#[inline(always)]
pub fn sysctl_was_written() {
    if let Some(written) = SYSCTLS_WRITTEN.get_ptr_mut(0) {
        // SAFETY: an aligned word of a map.
        unsafe { written.write_volatile(1) };
    }
}

/// Whether a keepalive sysctl was written in this run.
#[inline(always)]
pub fn sysctls_were_written() -> bool {
    // SAFETY: an aligned word of a map.
    SYSCTLS_WRITTEN.get_ptr(0).is_some_and(|written| unsafe { written.read_volatile() } != 0)
}

/// Fills a record in the ring itself and hands it over; a full ring is counted. Inlined: the verifier lets no function have an
/// argument that is undefined, as half of an empty `Option` is.
#[inline(always)]
pub fn emit(fill: impl FnOnce(&mut Record)) {
    let Some(mut entry) = RING.reserve::<Record>(0) else {
        count(counter::RING_FULL);
        return;
    };
    let record = zeroed(&mut entry);
    fill(record);
    let flags = wake_up(record.mono_ns);
    entry.submit(flags);
}

/// Hands over a write to a sysctl; a full ring is counted.
pub fn emit_write(write: Write) {
    let Some(mut entry) = RING.reserve::<Write>(0) else {
        count(counter::RING_FULL);
        return;
    };
    entry.write(write);
    entry.submit(wake_up(write.mono_ns));
}

/// Word by word: what the compiler makes of `new_zeroed` is a call for every byte.
#[inline(always)]
pub fn zeroed(record: &mut MaybeUninit<Record>) -> &mut Record {
    let words = record.as_mut_ptr().cast::<u64>();
    for index in 0..size_of::<Record>() / size_of::<u64>() {
        // SAFETY: a record consists of so many words, and is aligned like them.
        unsafe { words.wrapping_add(index).write_volatile(0) };
    }
    // SAFETY: every byte is set, and all bytes 0 make a record.
    unsafe { record.assume_init_mut() }
}

/// A wake-up costs ten times what a record costs. The first record after a pause wakes the reader; he then comes by himself
/// until [`WAKE_NS`] have passed in which nothing came.
#[inline(always)]
fn wake_up(now: u64) -> u64 {
    if wakes(now, &RING, &WOKEN) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }
}

/// The same for the ring of heads.
#[inline(always)]
pub fn wake_heads(now: u64) -> u64 {
    if wakes(now, &HEADS, &WOKEN_FOR_HEADS) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }
}

#[inline(always)]
fn wakes(now: u64, ring: &'static RingBuf, woken: &'static Array<u64>) -> bool {
    let Some(woken) = woken.get_ptr_mut(0) else { return true };
    // SAFETY: an aligned word of a map, which lives as long as the program.
    let last = unsafe { woken.read_volatile() };
    // SAFETY: a plain query of a map that exists.
    let unread = || unsafe { bpf_ringbuf_query((&raw const *ring).cast_mut().cast(), BPF_RB_AVAIL_DATA) };
    // Negative for the late record of a beginning. The record that made it worth telling comes next.
    let since = now.wrapping_sub(last).cast_signed();
    if since < WAKE_NS.cast_signed() && (since < WAKE_AGAIN_NS || unread() < WAKE_AT) {
        return false;
    }
    // SAFETY: as above.
    unsafe { woken.write_volatile(now) };
    true
}

/// A field's offset, or none where this kernel lacks the field.
#[inline(always)]
pub fn present(offset: u32) -> Option<usize> {
    (offset != ABSENT).then_some(offset as usize)
}
