use super::*;
use crate::output::samples;

#[test]
fn a_history_is_a_line_and_the_sum_is_the_last_one() {
    let mut out = Vec::new();
    report_json(&samples::report(), &mut out).unwrap();
    let expected = concat!(
        r#"{"event":"history","run":0,"host":"db1","conn":"00000000000000ab","ip":4,"laddr":"10.0.0.5","#,
        r#""lport":51334,"raddr":"10.0.0.9","rport":5432,"netns":4026531840,"pid":812,"comm":"app","holders":2,"#,
        r#""cgroup":"/system.slice/app.service","how":"connect","connect_us":312,"#,
        r#""opened_at":"1970-01-01T00:00:02.000000000Z","opened_mono_ns":2000000000,"#,
        r#""last_at":"1970-01-01T00:00:06.250000007Z","last_mono_ns":6250000007,"verdict":"keepalive-timeout","#,
        r#""errno":"ETIMEDOUT","#,
        r#""why":"3 of 3 keepalive probes went unanswered, nothing heard for 4.080 s: the kernel reset the connection","#,
        r#""probes_sent":2,"answered":1,"unanswered":1,"pending":0,"http":"idle-timeout","requests":3,"#,
        r#""responses":3,"handshakes_saved":2,"saved_us":624,"saved_from":"connection","#,
        r#""findings":["promise-broken","keepalive-never-acts"],"keepalive":true,"time_s":1,"intvl_s":1,"#,
        r#""probes":3,"user_timeout_ms":0,"origin":{"time":"socket","intvl":"socket","probes":"sysctl"},"#,
        r#""chapters":[{"what":"settings","from":"1970-01-01T00:00:03.000000007Z","#,
        r#""to":"1970-01-01T00:00:03.000000007Z","via":"setsockopt","by_pid":812,"by_comm":"app","#,
        r#""keepalive":true,"time_s":1,"intvl_s":1,"probes":3,"user_timeout_ms":0,"origin":{"time":"socket","#,
        r#""intvl":"socket","probes":"sysctl"}},{"what":"http","from":"1970-01-01T00:00:03.500000007Z","#,
        r#""to":"1970-01-01T00:00:03.502000007Z","requests":1,"responses":1,"method":"GET","status":200,"#,
        r#""timeout_s":5,"max":98,"idle_before_ms":1500},{"what":"settings","from":"1970-01-01T00:00:04.200000007Z","#,
        r#""to":"1970-01-01T00:00:04.200000007Z","via":"sysctl","waited_ms":100,"by_pid":77,"by_comm":"sysctl","#,
        r#""keepalive":true,"time_s":1,"intvl_s":1,"probes":3,"user_timeout_ms":0,"origin":{"time":"socket","#,
        r#""intvl":"socket","probes":"sysctl"}},{"what":"round","from":"1970-01-01T00:00:05.000000007Z","#,
        r#""to":"1970-01-01T00:00:05.250000007Z","probes_sent":2,"of":3,"dropped_locally":0,"reply":{"n":2,"#,
        r#""kind":"ack","rtt_us":4000,"precision":"jiffy","missed":1}},{"what":"silent","#,
        r#""from":"1970-01-01T00:00:05.500000007Z","to":"1970-01-01T00:00:05.500000007Z","#,
        r#""outcome":"data-in-flight","times":1}]}"#,
        "\n",
        r#"{"event":"history","run":0,"host":"db1","conn":"00000000000000cd","ip":4,"laddr":"10.0.0.5","#,
        r#""lport":51334,"raddr":"10.0.0.9","rport":5432,"netns":4026531840,"pid":812,"comm":"app","holders":2,"#,
        r#""how":"accept","opened_at":"1970-01-01T00:00:01.000000000Z","opened_mono_ns":1000000000,"#,
        r#""last_at":"1970-01-01T00:00:02.000000000Z","last_mono_ns":2000000000,"verdict":"peer-close","#,
        r#""probes_sent":0,"answered":0,"unanswered":0,"pending":0,"keepalive":true,"time_s":1,"intvl_s":1,"#,
        r#""probes":3,"user_timeout_ms":0,"origin":{"time":"socket","intvl":"socket","probes":"sysctl"},"#,
        r#""chapters":[]}"#,
        "\n",
        r#"{"event":"report","schema":1,"events":16,"lost":7,"lost_where":{"ring-buffer":7},"connections":4,"#,
        r#""ended":4,"verdicts":{"keepalive-timeout":1,"peer-close":3},"http":{"idle-timeout":1},"histories":2,"more":0,"fine":3,"runs":[{"host":"db1","#,
        r#""kernel":"6.18.15","version":"0.1.0","started_at":"1970-01-01T00:00:01.000000007Z","#,
        r#""until":"1970-01-01T00:00:08.000000007Z","events":16,"lost":7,"lost_where":{"ring-buffer":7},"#,
        r#""gaps":[{"kind":"unfinished","file":"db1.kat","torn_bytes":3}]}]}"#,
        "\n",
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn unknown_is_absent_and_never_null() {
    let mut out = Vec::new();
    report_json(&samples::report(), &mut out).unwrap();
    assert!(!String::from_utf8(out).unwrap().contains("null"));
}
