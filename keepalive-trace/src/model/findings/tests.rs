use super::*;
use crate::model::{
    listing::{
        Queued,
        samples::{armed, by_socket, by_sysctl, idle_for, listed},
    },
    settings::Settings,
    sighting::Socket,
    wheel::Armed,
};

const NOTHING: Limits = Limits { hz: 250, idle_limit_ms: None, detect_within_ms: None, host: None };
const NLB: Limits = Limits { idle_limit_ms: Some(350_000), ..NOTHING };
const HOST: Limits = Limits { host: Some((1, Sysctls { time_s: 600, intvl_s: 75, probes: 9 })), ..NOTHING };

fn within(seconds: i64) -> Limits {
    Limits { detect_within_ms: Some(seconds * 1000), ..NOTHING }
}

fn off() -> Settings {
    Settings { keepalive: false, ..by_sysctl(7200, 75, 9) }
}

/// Everything found, as text.
fn found(listed: &Listed, limits: &Limits) -> Vec<String> {
    let text = |Found { finding, why, remedy, cure: _ }: Found| format!("{}: {why}. {remedy}.", finding.name());
    lint(listed, limits).into_iter().map(text).collect()
}

#[test]
fn a_connection_idle_for_long_without_keepalive_is_a_zombie_risk() {
    assert_eq!(
        found(&idle_for(900_000, off()), &NOTHING),
        [
            "no-keepalive: idle for 900 s with keepalive off: if the peer is gone, nobody will notice. SO_KEEPALIVE and TCP_KEEPIDLE \
         60 s in app[812]; without SO_KEEPALIVE the sysctls do nothing."
        ]
    );
    assert_eq!(
        found(&idle_for(350_000, off()), &NLB),
        [
            "no-keepalive: idle for 350 s with keepalive off: if the peer is gone, nobody will notice. SO_KEEPALIVE and TCP_KEEPIDLE \
         333 s in app[812]; without SO_KEEPALIVE the sysctls do nothing."
        ]
    );
    assert_eq!((found(&idle_for(599_999, off()), &NOTHING).len(), found(&idle_for(349_999, off()), &NLB).len()), (0, 0));
}

#[test]
fn data_in_flight_is_left_to_retransmission() {
    let busy = Listed { queued: Some(Queued { unacked: 1, unsent: 0 }), ..idle_for(900_000, off()) };
    assert_eq!(lint(&busy, &NOTHING), []);
}

#[test]
fn a_user_timeout_before_the_last_probe_overrides_keepalive() {
    let settings = |user_timeout_ms| Settings { user_timeout_ms, ..by_sysctl(60, 10, 6) };
    assert_eq!(
        found(&listed(settings(30_000)), &NOTHING),
        [
            "user-timeout-overrides: TCP_USER_TIMEOUT 30000 ms ends it before the last of 6 probes has gone unanswered, after 120 s. \
         TCP_USER_TIMEOUT 120000 ms or more, or TCP_USER_TIMEOUT 0 ms for none, in app[812]."
        ]
    );
    assert_eq!((found(&listed(settings(120_000)), &NOTHING).len(), found(&listed(settings(0)), &NOTHING).len()), (0, 0));
}

#[test]
fn a_first_probe_that_the_timer_wheel_may_bring_too_late_is_late_for_the_limit() {
    assert_eq!(
        found(&listed(by_socket(340, 75, 9)), &NLB),
        ["late-for-limit: the first probe can come 356.388 s after the last sign of life (time 340 s), and the limit is 350 s. \
         TCP_KEEPIDLE 333 s in app[812]."]
    );
    assert_eq!(
        found(&listed(by_sysctl(7200, 75, 9)), &NLB),
        [
            "late-for-limit: the first probe can come 7331.076 s after the last sign of life (time 7200 s), and the limit is 350 s. \
         TCP_KEEPIDLE 333 s in app[812], which takes effect at once; or `nsenter -t 812 -n sysctl -w \
         net.ipv4.tcp_keepalive_time=333` (network namespace 7), but armed timers keep their deadlines."
        ]
    );
    assert_eq!(found(&listed(by_socket(333, 75, 9)), &NLB), [""; 0]);
    let at_most = |ms| found(&listed(by_socket(333, 75, 9)), &Limits { idle_limit_ms: Some(ms), ..NOTHING }).len();
    assert_eq!((at_most(349_387), at_most(349_388)), (1, 0));
}

#[test]
fn an_armed_timer_an_interval_and_a_limit_too_short_are_late_too() {
    let timer = Armed { left: 1_000_000, expires: 0, level: Some(5) };
    let why = |listed: &Listed, limits: &Limits| lint(listed, limits).first().map(|found| found.why.clone()).unwrap_or_default();
    assert_eq!(
        why(&armed(timer, by_socket(60, 10, 6)), &NLB),
        "the armed timer can fire when it has been idle for 4131.076 s, and the limit is 350 s"
    );
    assert_eq!(
        why(&listed(by_socket(300, 400, 9)), &NLB),
        "the next probe can come 416.388 s after the first, and the limit is 350 s"
    );
    let short = Limits { idle_limit_ms: Some(1000), ..NOTHING };
    assert_eq!(
        found(&listed(by_socket(1, 1, 3)), &short),
        ["late-for-limit: the first probe can come 1.036 s after the last sign of life (time 1 s), and the limit is 1 s. no \
         TCP_KEEPIDLE keeps it, 1 s being the least: raise the limit."]
    );
}

#[test]
fn a_timer_that_was_armed_before_the_sysctl_was_lowered_is_told_by_what_is_left_or_by_its_level() {
    let timer = Armed { left: 1_700_000, expires: 0, level: Some(5) };
    assert_eq!(
        found(&armed(timer, by_sysctl(60, 10, 6)), &NOTHING),
        ["armed-before-sysctl: the timer fires within 6931.076 s and was armed for longer than net.ipv4.tcp_keepalive_time is \
         now, 60 s. TCP_KEEPIDLE 60 s in app[812] re-arms it at once; else it follows when it fires, within 6931.076 s."]
    );
    let nearly = Armed { left: 1000, ..timer };
    assert_eq!(lint(&armed(nearly, by_sysctl(60, 10, 6)), &NOTHING).len(), 1);
    assert_eq!(lint(&armed(Armed { level: None, ..nearly }, by_sysctl(60, 10, 6)), &NOTHING), []);
    assert_eq!(lint(&armed(timer, by_socket(60, 10, 6)), &NOTHING), []);
}

#[test]
fn a_timer_armed_for_the_interval_after_a_probe_is_not_older_than_the_sysctl() {
    let timer = Armed { left: 18_000, expires: 0, level: Some(3) };
    assert_eq!(lint(&armed(timer, by_sysctl(5, 75, 9)), &NOTHING), []);
}

#[test]
fn sysctls_of_a_namespace_that_differ_from_the_hosts_are_named() {
    assert_eq!(
        found(&listed(by_sysctl(7200, 75, 5)), &HOST),
        [
            "netns-differs: net.ipv4.tcp_keepalive_time is 7200 s here and 600 s on the host and net.ipv4.tcp_keepalive_probes is 5 \
         probes here and 9 probes on the host. `nsenter -t 812 -n sysctl -w net.ipv4.tcp_keepalive_time=600 \
         net.ipv4.tcp_keepalive_probes=9` (network namespace 7)."
        ]
    );
    let on_host = Limits { host: HOST.host.map(|(_, sysctls)| (7, sysctls)), ..HOST };
    assert_eq!(
        (lint(&listed(by_sysctl(7200, 75, 5)), &on_host).len(), lint(&listed(by_socket(7200, 1, 5)), &HOST).len()),
        (0, 0)
    );
}

#[test]
fn detection_slower_than_allowed_is_answered_by_values_that_are_quick_enough() {
    assert_eq!(
        found(&listed(by_sysctl(7200, 75, 9)), &within(30)),
        [
            "slow-detection: keepalive can take 8024.508 s to notice a dead peer, and that shall take 30 s at most. TCP_KEEPIDLE 14 \
         s, TCP_KEEPINTVL 4 s and TCP_KEEPCNT 3 in app[812]: at most 27.028 s."
        ]
    );
    assert_eq!(
        found(&listed(off()), &within(3)),
        [
            "slow-detection: keepalive never notices a dead peer, and that shall take 3 s at most. SO_KEEPALIVE, TCP_KEEPIDLE 1 s, \
         TCP_KEEPINTVL 1 s and TCP_KEEPCNT 1 in app[812]: at most 2.068 s."
        ]
    );
    assert_eq!(
        found(&listed(by_sysctl(1, 1, 1)), &within(1)),
        [
            "slow-detection: keepalive can take 2.068 s to notice a dead peer, and that shall take 1 s at most. keepalive can't be \
         that fast, 2.068 s being the least: allow more, or ask the peer in the application's protocol."
        ]
    );
}

#[test]
fn a_user_timeout_that_is_too_long_has_to_go_for_quick_detection() {
    let settings = Settings { user_timeout_ms: 60_000, ..by_sysctl(10, 10, 3) };
    let slow = lint(&listed(settings), &within(30)).into_iter().find(|found| found.finding == Finding::SlowDetection);
    assert_eq!(slow.unwrap().cure, [Knob::KeepIdle(14), Knob::KeepIntvl(4), Knob::KeepCnt(3), Knob::UserTimeoutMs(0)]);
}

#[test]
fn sysctls_that_nobody_wants_are_dangerous() {
    assert_eq!(
        found(&listed(by_sysctl(7200, 0, 0)), &NOTHING),
        [
            "dangerous-sysctl: net.ipv4.tcp_keepalive_intvl=0 sends a probe every tick and ends the connection within milliseconds \
         and net.ipv4.tcp_keepalive_probes=0 ends idle connections without a probe. `nsenter -t 812 -n sysctl -w \
         net.ipv4.tcp_keepalive_intvl=75 net.ipv4.tcp_keepalive_probes=9` (network namespace 7), the kernel's default; armed \
         timers keep their deadlines."
        ]
    );
    let dangers = |settings| lint(&listed(settings), &NOTHING).iter().map(|found| found.finding).collect::<Vec<_>>();
    assert_eq!(dangers(by_sysctl(-1, 75, 9)), [Finding::DangerousSysctl]);
    assert_eq!(dangers(by_sysctl(60, -1, 9)), [Finding::DangerousSysctl]);
    assert_eq!(dangers(by_sysctl(0, 75, 9)), [Finding::DangerousSysctl]);
    assert_eq!(dangers(Settings { user_timeout_ms: 200_000, ..by_sysctl(60, 10, 0) }), []);
}

#[test]
fn an_unknown_owner_and_an_unknown_namespace_are_left_out_of_the_remedy() {
    let unknown = |netns| {
        let listed = listed(by_sysctl(7200, 75, 0));
        Listed { owner: None, socket: Socket { netns, ..listed.socket }, ..listed }
    };
    let remedy = |netns| lint(&unknown(netns), &HOST).pop().map(|found| found.remedy).unwrap_or_default();
    assert!(remedy(None).starts_with("`sysctl -w net.ipv4.tcp_keepalive_probes=9`, "));
    assert!(remedy(Some(7)).starts_with("`sysctl -w net.ipv4.tcp_keepalive_probes=9` inside network namespace 7, "));
}

#[test]
fn listeners_handshakes_and_orphans_have_no_findings() {
    let all = Limits { idle_limit_ms: Some(1), detect_within_ms: Some(1), ..HOST };
    let bad = idle_for(9_000_000, by_sysctl(7200, 0, 0));
    let with = |state, orphan| Listed { socket: Socket { state, orphan, ..bad.socket.clone() }, ..bad.clone() };
    for state in [State(10), State::SYN_SENT, State::SYN_RECV, State::CLOSE, State(12), State(6)] {
        assert_eq!(lint(&with(state, false), &all), [], "{state}");
    }
    assert_eq!(lint(&with(State::FIN_WAIT2, true), &all), []);
    assert!(!lint(&with(State::FIN_WAIT2, false), &all).is_empty());
}

#[test]
fn without_the_clocks_rate_nothing_is_said_of_deadlines() {
    let all = Limits { hz: 0, idle_limit_ms: Some(1000), detect_within_ms: Some(1000), host: None };
    assert_eq!(lint(&armed(Armed { left: 1 << 40, expires: 0, level: None }, by_sysctl(60, 75, 9)), &all), []);
    assert_eq!(lint(&idle_for(9_000_000, off()), &all).len(), 1);
}

#[test]
fn each_finding_has_its_name() {
    assert_eq!(
        Finding::ALL.map(Finding::name),
        [
            "no-keepalive",
            "user-timeout-overrides",
            "late-for-limit",
            "armed-before-sysctl",
            "netns-differs",
            "slow-detection",
            "dangerous-sysctl"
        ]
    );
}
