//! The published schema of the tracer's JSON lines, to hold every line against.
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};
use jsonschema::Validator;
use serde_json::Value;

/// What is published: keys, types, units.
const SCHEMA: &str = include_str!("../../docs/events.schema.json");

/// Holds a line against the schema; the error names the key and what is wrong with it.
pub fn check(line: &str) -> Result<()> {
    static VALIDATOR: OnceLock<Result<Validator, String>> = OnceLock::new();
    let validator = VALIDATOR.get_or_init(|| compiled().map_err(|error| format!("{error:#}")));
    let validator = validator.as_ref().map_err(|error| anyhow!("the schema itself: {error}"))?;
    let line: Value = serde_json::from_str(line).context("no JSON")?;
    let complaints: Vec<String> =
        validator.iter_errors(&line).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if complaints.is_empty() { Ok(()) } else { bail!("{}", complaints.join("; ")) }
}

fn compiled() -> Result<Validator> {
    let schema: Value = serde_json::from_str(SCHEMA).context("no JSON")?;
    jsonschema::draft202012::meta::validate(&schema).map_err(|error| anyhow!("{error}"))?;
    jsonschema::draft202012::new(&schema).map_err(|error| anyhow!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = r#""time":"2026-01-01T00:00:05.000000007Z","mono_ns":5000000007"#;
    const ENDS: &str = concat!(
        r#""conn":"00000000000000ab","cookie":77,"ip":4,"laddr":"10.0.0.5","lport":51334,"raddr":"10.0.0.9","rport":5432,"#,
        r#""netns":4026531840,"state":"ESTABLISHED","pid":12,"comm":"psql""#
    );
    const SETTINGS: &str = concat!(
        r#""keepalive":true,"time_s":1,"intvl_s":1,"probes":3,"user_timeout_ms":0,"#,
        r#""origin":{"time":"socket","intvl":"sysctl","probes":"socket"}"#
    );

    /// As the golden tests of `report --json` have them.
    const HISTORY: &str = concat!(
        r#"{"event":"history","run":0,"host":"db1","conn":"00000000000000ab","ip":4,"laddr":"10.0.0.5","#,
        r#""lport":51334,"raddr":"10.0.0.9","rport":5432,"netns":4026531840,"pid":812,"comm":"app","holders":2,"#,
        r#""cgroup":"/system.slice/app.service","how":"connect","connect_us":312,"#,
        r#""opened_at":"1970-01-01T00:00:02.000000000Z","opened_mono_ns":2000000000,"#,
        r#""last_at":"1970-01-01T00:00:06.250000007Z","last_mono_ns":6250000007,"verdict":"keepalive-timeout","#,
        r#""errno":"ETIMEDOUT","#,
        r#""why":"3 of 3 keepalive probes went unanswered, nothing heard for 4.080 s: the kernel reset the connection","#,
        r#""probes_sent":2,"answered":1,"unanswered":1,"pending":0,"keepalive":true,"time_s":1,"intvl_s":1,"#,
        r#""probes":3,"user_timeout_ms":0,"origin":{"time":"socket","intvl":"socket","probes":"sysctl"},"#,
        r#""chapters":[{"what":"settings","from":"1970-01-01T00:00:03.000000007Z","#,
        r#""to":"1970-01-01T00:00:03.000000007Z","via":"setsockopt","by_pid":812,"by_comm":"app","#,
        r#""keepalive":true,"time_s":1,"intvl_s":1,"probes":3,"user_timeout_ms":0,"origin":{"time":"socket","#,
        r#""intvl":"socket","probes":"sysctl"}},{"what":"settings","from":"1970-01-01T00:00:04.200000007Z","#,
        r#""to":"1970-01-01T00:00:04.200000007Z","via":"sysctl","waited_ms":100,"by_pid":77,"by_comm":"sysctl","#,
        r#""keepalive":true,"time_s":1,"intvl_s":1,"probes":3,"user_timeout_ms":0,"origin":{"time":"socket","#,
        r#""intvl":"socket","probes":"sysctl"}},{"what":"round","from":"1970-01-01T00:00:05.000000007Z","#,
        r#""to":"1970-01-01T00:00:05.250000007Z","probes_sent":2,"of":3,"dropped_locally":0,"reply":{"n":2,"#,
        r#""kind":"ack","rtt_us":4000,"precision":"jiffy","missed":1}},{"what":"silent","#,
        r#""from":"1970-01-01T00:00:05.500000007Z","to":"1970-01-01T00:00:05.500000007Z","#,
        r#""outcome":"data-in-flight","times":1}]}"#,
    );
    const REPORT: &str = concat!(
        r#"{"event":"report","schema":1,"events":13,"lost":7,"lost_where":{"ring-buffer":7},"connections":1,"#,
        r#""ended":1,"verdicts":{"keepalive-timeout":1},"histories":2,"more":0,"fine":0,"runs":[{"host":"db1","#,
        r#""kernel":"6.18.15","version":"0.1.0","started_at":"1970-01-01T00:00:01.000000007Z","#,
        r#""until":"1970-01-01T00:00:08.000000007Z","events":13,"lost":7,"lost_where":{"ring-buffer":7},"#,
        r#""gaps":[{"kind":"unfinished","file":"db1.kat","torn_bytes":3}]}]}"#,
    );

    fn refusal(line: &str) -> String {
        check(line).map_or_else(|error| format!("{error:#}"), |()| String::new())
    }

    #[test]
    fn one_line_of_each_event_is_in_order() {
        for line in [
            format!(
                r#"{{"event":"start",{TIME},"schema":1,"version":"0.1","kernel":"6.1","hz":250,"attach":"fentry","cmdline":"x"}}"#
            ),
            format!(r#"{{"event":"open",{TIME},{ENDS},{SETTINGS},"how":"connect","connect_us":180}}"#),
            format!(r#"{{"event":"open",{TIME},{ENDS},"how":"first-event"}}"#),
            format!(r#"{{"event":"settings",{TIME},{ENDS},{SETTINGS},"by_pid":12,"by_comm":"psql"}}"#),
            format!(r#"{{"event":"timer",{TIME},{ENDS},{SETTINGS},"outcome":"not-idle","next_ms":-1}}"#),
            format!(r#"{{"event":"probe",{TIME},{ENDS},"n":2,"of":3,"result":"sent","holders":2,"cgroup":"/user.slice"}}"#),
            format!(r#"{{"event":"reply",{TIME},{ENDS},"n":3,"kind":"ack","rtt_us":40,"precision":"exact","missed":2}}"#),
            format!(r#"{{"event":"reset",{TIME},{ENDS},"in_timer":true,"cause":"user-timeout","unanswered":2}}"#),
            format!(r#"{{"event":"end",{TIME},{ENDS},"verdict":"local-close","probes_sent":0,"unanswered":0,"why":"Closed."}}"#),
            format!(r#"{{"event":"uneventful",{TIME},"verdict":"peer-close","count":3,"cgroup":"/user.slice"}}"#),
            format!(r#"{{"event":"uneventful",{TIME},"verdict":"local-close","count":3}}"#),
            format!(r#"{{"event":"lost",{TIME},"count":3,"where":"ring-buffer"}}"#),
            format!(r#"{{"event":"stop",{TIME},"events":2,"lost":0,"connections":9,"uneventful":8,"verdicts":{{}}}}"#),
            format!(r#"{{"event":"stop",{TIME},"events":2,"lost":0,"connections":1,"verdicts":{{"peer-close":1}}}}"#),
            HISTORY.to_owned(),
            HISTORY
                .replace(r#""what":"silent","#, r#""what":"healthy","rounds":3,"slowest_us":0,"#)
                .replace(r#","outcome":"data-in-flight","times":1"#, ""),
            REPORT.to_owned(),
            REPORT.replace(r#""kind":"unfinished","file":"db1.kat","torn_bytes":3"#, r#""kind":"missing","first":2,"last":3"#),
        ] {
            assert_eq!(refusal(&line), "", "{line}");
        }
    }

    #[test]
    fn what_nobody_published_is_refused_by_name() {
        for (line, named) in [
            (format!(r#"{{"event":"surprise",{TIME}}}"#), "surprise"),
            (format!(r#"{{"event":"uneventful",{TIME},"verdict":"peer-reset","count":3}}"#), "peer-reset"),
            (format!(r#"{{"event":"lost",{TIME},"count":3,"where":"ring-buffer","extra":1}}"#), "extra"),
            (format!(r#"{{"event":"lost",{TIME},"count":3}}"#), "where"),
            (format!(r#"{{"event":"lost",{TIME},"count":0,"where":"reader"}}"#), "count"),
            (format!(r#"{{"event":"probe",{TIME},{ENDS},"n":null}}"#), "null"),
            (format!(r#"{{"event":"probe",{TIME},{ENDS},"missed":0}}"#), "missed"),
            (format!(r#"{{"event":"open",{TIME},{ENDS},"how":"accept"}}"#), "origin"),
            (format!(r#"{{"event":"open",{TIME},{ENDS},{SETTINGS},"how":"accept","connect_us":1}}"#), "how"),
            (format!(r#"{{"event":"stop",{TIME},"events":2,"lost":0,"connections":1,"verdicts":{{"boredom":1}}}}"#), "boredom"),
            (r#"{"event":"lost","count":3,"where":"reader"}"#.to_owned(), "time"),
            (HISTORY.replace(r#""times":1"#, r#""times":1,"extra":1"#), "extra"),
            (HISTORY.replace(r#""why":"#, r#""because":"#), "because"),
            (REPORT.replace(r#""torn_bytes":3"#, r#""first":3"#), "gaps"),
            (REPORT.replace(r#""fine":0,"#, ""), "fine"),
            (r#"{"event":"lost","time":"yesterday","mono_ns":1,"count":3,"where":"reader"}"#.to_owned(), "yesterday"),
        ] {
            let refusal = refusal(&line);
            assert!(refusal.contains(named), "`{named}` is not in `{refusal}`, which is about {line}");
        }
    }

    #[test]
    fn every_key_is_described() {
        fn undescribed<'a>(schema: &'a Value, found: &mut Vec<&'a String>) {
            if let Some(keys) = schema.get("properties").and_then(Value::as_object) {
                let is_bare = |value: &Value| value.get("description").is_none() && value.get("$ref").is_none();
                found.extend(keys.iter().filter(|(_, value)| is_bare(value)).map(|(key, _)| key));
            }
        }
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let mut found = Vec::new();
        schema["$defs"].as_object().unwrap().values().for_each(|event| undescribed(event, &mut found));
        assert_eq!(found, Vec::<&String>::new());
    }
}
