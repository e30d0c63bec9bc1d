use super::*;
use crate::output::samples;

fn printed(event: &Event) -> String {
    let mut out = Vec::new();
    Json::default().write(event, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_probe_carries_what_it_was_and_the_settings_in_force() {
    assert_eq!(
        printed(&samples::probe()),
        concat!(
            r#"{"event":"probe","time":"1970-01-01T00:00:05.000000007Z","mono_ns":5000000007,"conn":"00000000000000ab","cookie":77,"#,
            r#""ip":4,"laddr":"10.0.0.5","lport":51334,"raddr":"10.0.0.9","rport":5432,"netns":4026531840,"state":"ESTABLISHED","#,
            r#""pid":812,"comm":"app","holders":2,"cgroup":"/system.slice/app.service","#,
            r#""n":2,"of":3,"idle_ms":2008,"result":"sent","next_ms":1000,"late_ms":8,"wheel_ms":8,"keepalive":true,"time_s":1,"intvl_s":1,"#,
            r#""probes":3,"user_timeout_ms":0,"origin":{"time":"socket","intvl":"socket","probes":"sysctl"}}"#,
            "\n"
        )
    );
}

#[test]
fn a_death_names_its_cause_and_no_task() {
    let printed = printed(&samples::death());
    assert!(
        printed.contains(r#""reason":"TCP_KEEPALIVE_TIMEOUT","in_timer":true,"cause":"keepalive-timeout","unanswered":3"#),
        "{printed}"
    );
    assert!(!printed.contains("task_"), "{printed}");
}

#[test]
fn an_end_says_what_ended_it_and_why() {
    let printed = printed(&samples::end());
    let expected = concat!(
        r#""verdict":"keepalive-timeout","errno":"ETIMEDOUT","probes_sent":4,"idle_ms":4080,"age_ms":5080,"unanswered":3,"#,
        r#""why":"3 of 3 keepalive probes went unanswered, nothing heard for 4.080 s: the kernel reset the connection""#
    );
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn unknown_is_absent_and_never_null() {
    for event in samples::all() {
        assert!(!printed(&event).contains("null"), "{}", printed(&event));
    }
}

#[test]
fn the_time_always_has_nine_digits() {
    assert_eq!(wall_time(0, 0), "1970-01-01T00:00:00.000000000Z");
}
