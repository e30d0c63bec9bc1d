use super::*;
use crate::model::{
    owner::Comm,
    settings::{Origin, Sourced},
};

fn nginx() -> Task {
    Task { pid: 812, comm: Comm::from("nginx") }
}

fn settings() -> Settings {
    let socket = |value| Sourced { value, origin: Origin::Socket };
    Settings {
        keepalive: true,
        time_s: socket(1),
        intvl_s: socket(1),
        probes: Sourced { value: 3, origin: Origin::Sysctl },
        user_timeout_ms: 0,
    }
}

fn closed(from: State) -> Closed {
    Closed { from, left: Some(Left { window: 64_000, ..Left::default() }), by: Some(nginx()), ..Closed::default() }
}

fn failed(from: State, errno: Errno, left: Left) -> Closed {
    Closed { from, errno: Some(errno), left: Some(left), ..Closed::default() }
}

fn reset(state: State, orphan: bool, reason: Option<&str>) -> Signs {
    let reset = ResetSign { reason: reason.map(Into::into), state, orphan, task: Some(nginx()) };
    Signs { reset: Some(reset), ..Signs::default() }
}

fn peer_reset(on_probe: Option<u32>, orphan: bool) -> Signs {
    Signs { peer_reset: Some(PeerReset { on_probe, orphan }), ..Signs::default() }
}

/// The verdict and its sentence.
fn told(signs: &Signs, closed: &Closed, orphan: bool) -> (Verdict, String) {
    told_with(settings(), signs, closed, orphan)
}

fn told_with(settings: Settings, signs: &Signs, closed: &Closed, orphan: bool) -> (Verdict, String) {
    let evidence = Evidence { signs, closed, orphan, settings: Some(settings), idle_ms: Some(4088), unanswered: 3, dropped: 0 };
    let verdict = judge(&evidence);
    (verdict, why(verdict, &evidence))
}

fn verdict(signs: &Signs, closed: &Closed, orphan: bool) -> Verdict {
    told(signs, closed, orphan).0
}

#[test]
fn what_the_timer_says_counts_whatever_the_error() {
    let signs = Signs { timer: Some(Verdict::KeepaliveTimeout), ..Signs::default() };
    let (verdict, why) = told(&signs, &failed(State::ESTABLISHED, Errno::TIMEDOUT, Left::default()), false);
    assert_eq!(verdict, Verdict::KeepaliveTimeout);
    assert_eq!(why, "3 of 3 keepalive probes went unanswered, nothing heard for 4.088 s: the kernel reset the connection");
    let none = Settings { probes: Sourced { value: 0, origin: Origin::Sysctl }, ..settings() };
    let (_, why) = told_with(none, &signs, &closed(State::ESTABLISHED), false);
    assert_eq!(why, "tcp_keepalive_probes is 0: the kernel gives up as soon as the connection is idle, without a probe");
}

#[test]
fn what_stayed_unacknowledged_tells_the_timeouts_apart() {
    let timeout = |left, orphan| verdict(&Signs::default(), &failed(State::ESTABLISHED, Errno::TIMEDOUT, left), orphan);
    let sent = Left { unacked: 14, window: 64_000, ..Left::default() };
    assert_eq!(timeout(sent, false), Verdict::RetransmitTimeout);
    assert_eq!(timeout(sent, true), Verdict::OrphanTimeout);
    assert_eq!(timeout(Left { window: 0, ..sent }, false), Verdict::ZeroWindowTimeout);
    assert_eq!(timeout(Left { unsent: 9, ..Left::default() }, false), Verdict::ZeroWindowTimeout);
    assert_eq!(timeout(Left::default(), false), Verdict::Unknown);
    let hasty = Settings { user_timeout_ms: 2500, ..settings() };
    let (_, why) = told_with(hasty, &Signs::default(), &failed(State::ESTABLISHED, Errno::TIMEDOUT, sent), false);
    let expected = "14 bytes were sent and never acknowledged, and TCP_USER_TIMEOUT of 2.500 s ended it; keepalive had no say while data was in flight";
    assert_eq!(why, expected);
}

#[test]
fn a_soft_error_in_place_of_the_timeout_changes_nothing() {
    let left = Left { unacked: 14, window: 64_000, ..Left::default() };
    assert_eq!(verdict(&Signs::default(), &failed(State::ESTABLISHED, Errno(113), left), false), Verdict::RetransmitTimeout);
}

#[test]
fn a_handshake_that_fails_was_never_a_connection() {
    for errno in [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno(113)] {
        assert_eq!(
            verdict(&Signs::default(), &failed(State::SYN_SENT, errno, Left::default()), false),
            Verdict::NeverEstablished
        );
    }
    let given_up = |unacked| Closed {
        trying_us: Some(1_500_000),
        left: Some(Left { unacked, ..Left::default() }),
        ..closed(State::SYN_SENT)
    };
    let (verdict, why) = told(&Signs::default(), &given_up(1), false);
    assert_eq!(verdict, Verdict::NeverEstablished);
    assert_eq!(why, "nginx[812] closed while the handshake was under way after 1.500 s");
    let (_, why) = told(&Signs::default(), &given_up(0), false);
    assert!(why.starts_with("connect() failed on this host before a SYN was sent"), "{why}");
}

#[test]
fn a_reset_that_answers_data_does_not_speak_of_probes() {
    let broken = failed(State::ESTABLISHED, Errno::CONNRESET, Left { unacked: 14, ..Left::default() });
    let (verdict, why) = told(&peer_reset(None, false), &broken, false);
    assert_eq!(verdict, Verdict::PeerReset);
    assert_eq!(why, "the peer sent RST, idle for 4.088 s; it answers what was sent after the last probe");
}

#[test]
fn a_last_goodbye_with_its_fin_still_unsent_waits_for_the_reset() {
    let unsent = Closed { left: Some(Left { unsent: 9, ..Left::default() }), ..closed(State::LAST_ACK) };
    assert!(awaits_more(&Signs::default(), &unsent));
    let (verdict, why) = told(&reset(State::CLOSE, false, None), &unsent, false);
    assert_eq!(verdict, Verdict::LocalAbort);
    assert_eq!(why, "nginx[812] closed by disconnecting with 9 bytes unsent, so the kernel sent RST");
    assert!(!awaits_more(&Signs::default(), &Closed { left: None, ..closed(State::LAST_ACK) }), "all was acknowledged");
}

#[test]
fn a_peers_reset_is_told_by_what_it_answers_and_by_who_still_cares() {
    let broken = failed(State::ESTABLISHED, Errno::CONNRESET, Left::default());
    assert_eq!(verdict(&peer_reset(Some(2), false), &broken, false), Verdict::PeerResetOnProbe);
    assert_eq!(verdict(&peer_reset(None, false), &broken, false), Verdict::PeerReset);
    assert_eq!(verdict(&Signs::default(), &broken, false), Verdict::PeerReset, "its tracepoint was missed");
    assert_eq!(verdict(&peer_reset(None, true), &closed(State::FIN_WAIT2), true), Verdict::LocalClose);
    assert_eq!(verdict(&peer_reset(None, true), &closed(State::LAST_ACK), true), Verdict::PeerClose);
}

#[test]
fn whoever_sent_the_first_fin_has_closed() {
    let goodbye = Closed { time_wait: true, ..closed(State::FIN_WAIT2) };
    assert_eq!(told(&Signs::default(), &goodbye, true), (Verdict::LocalClose, "nginx[812] closed first, with FIN".to_owned()));
    let last = told(&Signs::default(), &closed(State::LAST_ACK), true);
    assert_eq!(last, (Verdict::PeerClose, "the peer closed first, with FIN, then nginx[812] closed".to_owned()));
}

#[test]
fn an_abort_says_what_made_the_kernel_reset() {
    let aborted = |closed: &Closed, reason| told(&reset(State::CLOSE, false, reason), closed, false);
    let unread = Closed { left: Some(Left { unread: 6, ..Left::default() }), ..closed(State::ESTABLISHED) };
    for reason in [None, Some("TCP_ABORT_ON_CLOSE")] {
        let sentence = "nginx[812] closed with 6 bytes unread, so the kernel sent RST instead of FIN".to_owned();
        assert_eq!(aborted(&unread, reason), (Verdict::LocalAbort, sentence));
    }
    let linger = Closed { left: Some(Left { linger_zero: true, ..Left::default() }), ..closed(State::ESTABLISHED) };
    assert!(aborted(&linger, Some("TCP_STATE")).1.contains("SO_LINGER 0"));
    assert!(aborted(&closed(State::ESTABLISHED), None).1.contains("disconnecting"));
    let impatient = Closed { left: Some(Left { no_linger2: true, ..Left::default() }), ..closed(State::FIN_WAIT2) };
    let (verdict, why) = told(&reset(State::CLOSE, true, None), &impatient, true);
    assert!(verdict == Verdict::LocalAbort && why.contains("TCP_LINGER2 below 0"), "{why}");
    let (verdict, why) = told(&Signs::default(), &closed(State::ESTABLISHED), false);
    assert!(verdict == Verdict::LocalAbort && why.contains("TCP_REPAIR"), "{why}");
}

#[test]
fn an_orphan_that_finds_no_room_is_told_apart_from_one_that_was_aborted() {
    for reason in [None, Some("TCP_ABORT_ON_MEMORY")] {
        assert_eq!(verdict(&reset(State::CLOSE, true, reason), &closed(State::FIN_WAIT1), true), Verdict::OutOfMemory);
        assert_eq!(verdict(&reset(State::FIN_WAIT1, true, reason), &closed(State::FIN_WAIT1), true), Verdict::OutOfMemory);
        let last = Closed { left: Some(Left { unacked: 1, ..Left::default() }), ..closed(State::LAST_ACK) };
        assert_eq!(verdict(&reset(State::LAST_ACK, true, reason), &last, true), Verdict::OutOfMemory);
    }
    let disconnected = Closed { left: Some(Left { unacked: 1, ..Left::default() }), ..closed(State::LAST_ACK) };
    assert_eq!(verdict(&reset(State::CLOSE, false, Some("TCP_DISCONNECT_WITH_DATA")), &disconnected, false), Verdict::LocalAbort);
}

#[test]
fn a_kill_from_outside_names_who_did_it() {
    let ss = Task { pid: 99, comm: Comm::from("ss") };
    let signs = Signs { aborted: Some(Some(ss)), ..Signs::default() };
    let (verdict, why) = told(&signs, &failed(State::ESTABLISHED, Errno::CONNABORTED, Left::default()), false);
    assert_eq!((verdict, why.as_str()), (Verdict::AdminKill, "ss[99] destroyed it from outside (tcp_abort: `ss -K`, or BPF)"));
}

#[test]
fn an_abort_is_not_judged_before_its_reset_has_been_seen() {
    let none = Signs::default();
    assert!(awaits_more(&none, &closed(State::ESTABLISHED)));
    assert!(awaits_more(&none, &closed(State::FIN_WAIT2)));
    assert!(!awaits_more(&none, &Closed { time_wait: true, ..closed(State::FIN_WAIT2) }));
    assert!(!awaits_more(&none, &closed(State::LAST_ACK)));
    assert!(!awaits_more(&none, &closed(State::SYN_SENT)));
    assert!(!awaits_more(&none, &failed(State::ESTABLISHED, Errno::TIMEDOUT, Left::default())));
    assert!(!awaits_more(&reset(State::CLOSE, false, None), &closed(State::ESTABLISHED)));
}

#[test]
fn what_fits_nothing_is_unknown_and_says_what_was_seen() {
    let (verdict, why) = told(&Signs::default(), &Closed::default(), false);
    assert_eq!(verdict, Verdict::Unknown);
    assert_eq!(why, "its end was lost with other events, and nothing that was seen before tells why it ended");
    let (verdict, why) = told(&Signs::default(), &Closed { from: State::LISTEN, ..Closed::default() }, false);
    assert_eq!(verdict, Verdict::Unknown);
    assert_eq!(why, "it closed from LISTEN with no error, nothing known of what was left: please report this");
}
