//! Against the layouts of seven kernels, made by `cargo xtask fixture`.
use super::*;

mod broken;

macro_rules! fixtures {
    ($($kernel:literal),*) => {
        [$(($kernel, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/btf/", $kernel, ".btf")))),*]
    };
}

const FIXTURES: [(&str, &[u8]); 7] = fixtures!["5.10.262", "6.1.176", "6.1.192", "6.12.107", "6.12.118", "6.18.15", "7.3.4"];

/// What `bpftool btf dump` says about the whole BTF of these kernels. The fixtures of two older ones lack what came to be looked
/// up later, and these kernels cannot be had any more.
const BY_BPFTOOL: &str = "
                      5.10.262   6.1.176   6.1.192  6.12.107  6.12.118   6.18.15     7.3.4
    keepalive_timer        416       408      1176       448      1184       448      1176
    timer_expires           16        16        16        16        16        16        16
    timer_pprev              8         8         8         8         8         8         8
    timer_flags             32        32        32        32        32        32        32
    daddr                    0         0         0         0         0         0         0
    saddr                    4         4         4         4         4         4         4
    daddr6                  56        56        56        56        56        56        56
    saddr6                  72        72        72        72        72        72        72
    dport                   12        12        12        12        12        12        12
    sport                  784       804       804       798       806       814       830
    family                  16        16        16        16        16        16        16
    state                   18        18        18        18        18        18        18
    flags                   96        96        96        96        96        96        96
    cookie                  88        88        88        88        88        88        88
    hash                     8         8         8         8         8         8         8
    net                     48        48        48        48        48        48        48
    owned                  140       156       156       324       324       324       320
    cgroup                 664       648       648       672       672       680       688
    probes_out            1237      1245      1285      1245      1293      1253      1285
    user_timeout          1288      1292      1332      1292      1340      1292      1324
    lrcvtime              1256      1264      1304      1264      1312      1264      1296
    rcv_tstamp            1476      1476      1516      1476      1524      1716      1824
    keepalive_time        2112      2112      2152      2236      2236      2212      2324
    keepalive_intvl       2116      2116      2156      2240      2240      2216      2328
    keepalive_probes      1695      1695      1735      1933      1933      1909      1989
    packets_out           1676      1676      1716      1732      1732      1676      1788
    write_seq             1812      1812      1852      1636      1636      1572      1668
    snd_nxt               1436      1436      1476      1716      1716      1660      1772
    mstamp                1624      1624      1664      1704      1704      1648      1760
    lsndtime              1480      1480      1520      1644      1644      1580      1676
    clock_cache           1616      1616      1656      1696      1696      1640      1752
    protocol               540       516       516       574       574       532       540
    err                    568       544       544       284       284       284       284
    socket                 640       624       624       288       288       288       288
    lingertime             544       520       520       576       576       584       592
    snd_una               1468      1468      1508      1720      1720      1664      1776
    snd_wnd               1532      1532      1572      1444      1492      1444      1476
    rcv_nxt               1424      1424      1464      1712      1712      1656      1768
    copied_seq            1428      1428      1468      1472      1520      1472      1504
    linger2               2120      2120      2160      2244      2244      2220      2332
    net_inum               144       144       144       136       136       176       280
    net_count                4       148       148       140       140       180       192
    net_statistics         408         -       408         -       440       528       808
    sysctl_time            968      1112      1112      1220      1220      1396      1588
    sysctl_intvl           972      1116      1116      1224      1224      1400      1592
    sysctl_probes          976      1120      1120      1228      1228      1404      1596
    cgroup_kn              248       248       248       256       256       256       296
    kernfs_id              104       104       104        96        96        96        96
    cgroup_parent          192       192       192       192       192       184       184
    task_tgid             2236         -      2420         -      2436      2708      2876
    task_flags              36         -        44         -        44        44        44
    task_leader           2296         -      2480         -      2496      2768      2936
    task_comm             2736         -      2976         -      2976      3248      3408
    file_inode              32         -        32         -        40        32        32
    file_private           200         -       200         -        32        24        24
    inode_mode               0         -         0         -         0         0         0
    socket_sk               24         -        24         -        24        24        24
    ctl_procname             0         -         0         -         0         0         0
    ctl_data                 8         -         8         -         8         8         8
";

#[test]
fn skipped_kprobe_programs_are_counted_by_the_newer_kernels() {
    let counting: Vec<_> = FIXTURES.iter().filter(|(_, bytes)| layout(bytes).unwrap().counts_skipped_kprobes).collect();
    assert_eq!(counting.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["6.12.107", "6.12.118", "6.18.15", "7.3.4"]);
}

fn fixture(kernel: &str) -> Vec<u8> {
    FIXTURES.iter().find(|(name, _)| *name == kernel).map(|(_, bytes)| bytes.to_vec()).unwrap()
}

fn of(kernel: &str) -> Layout {
    layout(&fixture(kernel)).unwrap()
}

fn sentence(bytes: &[u8]) -> String {
    layout(bytes).unwrap_err().to_string()
}

/// The bytes with one name replaced by another of its length, wherever it is used.
fn renamed(kernel: &str, from: &str, to: &str) -> Vec<u8> {
    let mut bytes = fixture(kernel);
    let at = string_offset(&bytes, from);
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    bytes
}

fn get_word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn set_word(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
}

/// Where a name is in the file.
fn string_offset(bytes: &[u8], name: &str) -> usize {
    let strings = 24 + get_word(bytes, 16) as usize;
    let quoted = [&[0], name.as_bytes(), &[0]].concat();
    strings + 1 + bytes[strings..].windows(quoted.len()).position(|window| window == quoted).unwrap()
}

/// Where the record of a member is in the file: its name, type and offset, a word each.
fn member_record(bytes: &[u8], name: &str, offset: u32) -> usize {
    let strings = 24 + get_word(bytes, 16) as usize;
    let name = (string_offset(bytes, name) - strings) as u32;
    let records = (24..strings - 8).step_by(4);
    records.into_iter().find(|&at| get_word(bytes, at) == name && get_word(bytes, at + 8) & 0xff_ffff == offset * 8).unwrap()
}

/// What a fixture does not hold is `-`.
fn absent(cell: &str) -> String {
    if cell == "-" { ABSENT.to_string() } else { cell.to_owned() }
}

#[test]
fn every_kernel_has_the_offsets_that_bpftool_shows() {
    let mut rows = BY_BPFTOOL.lines().filter(|line| !line.trim().is_empty()).map(str::split_whitespace);
    let kernels: Vec<_> = rows.next().unwrap().collect();
    let rows: Vec<Vec<_>> = rows.map(Iterator::collect).collect();
    assert_eq!(kernels, FIXTURES.map(|(kernel, _)| kernel));
    for (column, kernel) in (1..).zip(kernels) {
        let expected: Vec<_> = rows.iter().map(|row| format!("{}: {}", row[0], absent(row[column]))).collect();
        let shown = format!("Offsets {{ {} }}", expected.join(", "));
        assert_eq!(format!("{:?}", of(kernel).offsets), shown, "{kernel}");
    }
}

#[test]
fn what_programs_attach_to_keeps_its_number_in_what_aya_is_given() {
    for (kernel, bytes) in FIXTURES {
        let whole = aya::Btf::parse(bytes, aya::Endianness::default()).unwrap();
        let (functions, targets) = (of(kernel).functions, of(kernel).targets.to_btf().unwrap());
        let number = |btf: &aya::Btf, name: &str| btf.id_by_type_name_kind(name, aya_obj::btf::BtfKind::Func).unwrap();
        assert!(functions.len() >= 3, "{kernel}: {functions:?}");
        for name in functions {
            assert_eq!(number(&targets, name), number(&whole, name), "{kernel}: {name}");
        }
    }
}

#[test]
fn typed_tasks_came_after_5_10() {
    let having = FIXTURES.map(|(kernel, _)| of(kernel).has_typed_task);
    // The fixtures of two kernels that can't be had any more do not hold it.
    assert_eq!(having, [false, false, true, false, true, true, true]);
}

#[test]
fn the_reset_reason_is_found_by_its_type_at_whatever_place() {
    let found = FIXTURES.map(|(kernel, _)| of(kernel).reason_arg);
    assert_eq!(found, [None, None, None, Some(2), Some(1), Some(2), Some(1)]);
}

#[test]
fn reset_reasons_have_the_kernels_names() {
    assert_eq!(of("6.1.192").reset_reasons, BTreeMap::new());
    for kernel in ["6.12.107", "6.12.118", "6.18.15", "7.3.4"] {
        let reasons = of(kernel).reset_reasons;
        assert_eq!(reasons.keys().copied().collect::<Vec<_>>(), Vec::from_iter(0..=24), "{kernel}");
        assert_eq!(*reasons[&0], *"NOT_SPECIFIED");
        assert_eq!(*reasons[&15], *"TCP_KEEPALIVE_TIMEOUT");
        assert_eq!(*reasons[&24], *"ERROR");
    }
}

#[test]
fn a_function_that_the_kernel_inlined_is_not_listed() {
    let all = BTreeSet::from_iter(HOOKS.into_iter().chain(MORE_HOOKS));
    for kernel in ["5.10.262", "6.1.192", "6.12.118", "6.18.15", "7.3.4"] {
        assert_eq!(of(kernel).functions, all, "{kernel}");
    }
    for (name, other) in [("tcp_shutdown", "tcp_shutd0wn"), ("tcp_set_keepalive", "tcp_set_keepal1ve")] {
        let without = layout(&renamed("7.3.4", name, other)).unwrap().functions;
        assert_eq!(all.difference(&without).collect::<Vec<_>>(), [&name]);
    }
}

/// As on Android's 5.10: the same struct, with another type for one member.
#[test]
fn the_number_of_probes_may_be_an_int() {
    let mut bytes = fixture("5.10.262");
    let offset_in_ipv4 = |sysctl: u32| sysctl - (of("5.10.262").offsets.sysctl_time - 328);
    let Offsets { sysctl_time, sysctl_probes, .. } = of("5.10.262").offsets;
    let [time, probes] = [("sysctl_tcp_keepalive_time", sysctl_time), ("sysctl_tcp_keepalive_probes", sysctl_probes)]
        .map(|(name, offset)| member_record(&bytes, name, offset_in_ipv4(offset)));
    assert!(!of("5.10.262").probes_is_int);
    let int = get_word(&bytes, time + 4);
    set_word(&mut bytes, probes + 4, int);
    let with_int = layout(&bytes).unwrap();
    assert_eq!((with_int.probes_is_int, with_int.offsets), (true, of("5.10.262").offsets));
    // Neither of the two: a pair of bytes.
    let port = member_record(&bytes, "inet_sport", of("5.10.262").offsets.sport);
    let short = get_word(&bytes, port + 4);
    set_word(&mut bytes, probes + 4, short);
    assert!(sentence(&bytes).contains("sysctl_tcp_keepalive_probes"), "{}", sentence(&bytes));
}

#[test]
fn the_old_timer_counts_only_where_the_new_one_is_lacking() {
    assert_eq!(of("6.12.118").offsets.keepalive_timer, 1184);
    let without = layout(&renamed("6.12.118", "icsk_keepalive_timer", "icsk_keepalive_tymer")).unwrap();
    assert_eq!(without.offsets.keepalive_timer, 448);
    let neither = renamed("6.18.15", "sk_timer", "sk_tymer");
    assert_eq!(sentence(&neither), "the kernel's BTF has no member sock.sk_timer");
    let mut other = fixture("6.12.118");
    let (timer, rto) = (member_record(&other, "icsk_keepalive_timer", 0), member_record(&other, "icsk_rto", 1224));
    other.copy_within(rto + 4..rto + 8, timer + 4);
    assert_eq!(sentence(&other), "inet_connection_sock.icsk_keepalive_timer is not a struct timer_list");
}

#[test]
fn what_nothing_works_without_is_named_when_it_is_lacking() {
    let without = renamed("7.3.4", "keepalive_time", "keepalive_tyme");
    assert_eq!(sentence(&without), "the kernel's BTF has no member tcp_sock.keepalive_time");
    let without = renamed("5.10.262", "lrcvtime", "lrcvtyme");
    assert_eq!(sentence(&without), "the kernel's BTF has no member inet_connection_sock.icsk_ack.lrcvtime");
    let without = renamed("6.1.176", "tcp_sock", "tcp_sick");
    assert_eq!(sentence(&without), "the kernel's BTF has no struct tcp_sock");
}

#[test]
fn what_can_be_done_without_is_absent_when_it_is_lacking() {
    let without = |name, other| layout(&renamed("7.3.4", name, other)).unwrap().offsets;
    assert_eq!(without("tcp_mstamp", "tcp_mstomp").mstamp, ABSENT);
    assert_eq!(without("sk_cgrp_data", "sk_cgrp_dota").cgroup, ABSENT);
    assert_eq!(without("cgroup_subsys_state", "cgroup_subsys_stote").cgroup_parent, 184);
    assert_eq!(without("parent", "porent").cgroup_parent, ABSENT);
    assert_eq!(without("kernfs_node", "kernfs_nude").kernfs_id, ABSENT);
}

#[test]
fn a_cgroup_that_does_not_begin_with_self_has_no_parent_for_us() {
    let mut bytes = fixture("6.18.15");
    let own = member_record(&bytes, "self", 0);
    set_word(&mut bytes, own + 8, 64 * 8);
    assert_eq!(layout(&bytes).unwrap().offsets.cgroup_parent, ABSENT);
}

#[test]
fn a_member_of_another_size_is_refused() {
    let mut bytes = fixture("6.12.107");
    let (probes, time) = (member_record(&bytes, "keepalive_probes", 1933), member_record(&bytes, "keepalive_time", 2236));
    bytes.copy_within(time + 4..time + 8, probes + 4);
    assert_eq!(sentence(&bytes), "tcp_sock.keepalive_probes is 4 bytes, 1 expected");
}

#[test]
fn a_bitfield_is_refused() {
    let mut bytes = fixture("6.12.107");
    let probes = member_record(&bytes, "keepalive_probes", 1933);
    let offset = get_word(&bytes, probes + 8);
    set_word(&mut bytes, probes + 8, offset | 8 << 24);
    assert_eq!(sentence(&bytes), "tcp_sock.keepalive_probes is a bitfield");
    set_word(&mut bytes, probes + 8, offset + 1);
    assert_eq!(sentence(&bytes), "tcp_sock.keepalive_probes is a bitfield");
}
