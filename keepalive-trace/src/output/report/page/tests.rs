use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    model::{
        event::{Body, Changed, Connection, Event},
        history::History,
        owner::{Comm, Owner, Task},
        report::Gap,
    },
    output::samples,
};

fn printed(report: &Report) -> String {
    let mut out = Vec::new();
    page(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// What stands between two tags that are there once.
fn between<'a>(page: &'a str, open: &str, close: &str) -> &'a str {
    assert_eq!(page.matches(open).count(), 1, "{open}");
    page.split_once(open).unwrap().1.split_once(close).unwrap().0
}

/// With a task of this name, a word in every other place that comes from outside, and many chapters.
fn hostile(name: &str) -> Report {
    let task = Task { pid: 7, comm: Comm::from(name) };
    let mut report = samples::report();
    let known = samples::probe().body.connection().unwrap().clone();
    let connection = Connection { owner: Some(Owner::alone(task)), ..known };
    let mut history = History::begin(&connection, 7);
    for event in samples::all() {
        history.apply(&Event { mono_ns: event.mono_ns, body: event.body });
    }
    history.set_owner(Some(Owner::alone(task)));
    let by = Changed { by: Some(task), via: None };
    history.apply(&Event { mono_ns: 9_000_000_000, body: Body::Settings(connection, by) });
    report.histories[0].history = history;
    report.histories[0].cgroup = Some(name.into());
    for run in &mut report.runs {
        run.start.host = name.to_owned();
        run.start.kernel = name.to_owned();
        run.gaps = vec![Gap::Damaged { file: name.to_owned(), at_byte: 1, why: name.to_owned() }];
    }
    report
}

/// Elements are closed in the order in which they were opened, and those that have no end are known.
fn is_well_formed(page: &str) {
    let style = between(page, "<style>", "</style>");
    let script = between(page, "<script>", "</script>");
    let page = page.replace(style, "").replace(script, "");
    let mut open: Vec<&str> = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("<{part}"));
        assert!(!text.contains('>'), "{text}");
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "<{tag}> after {open:?}");
        } else if !tag.ends_with('/') && !matches!(name, "!DOCTYPE" | "meta" | "br" | "input") {
            open.push(name);
        }
        assert!(tag.matches('"').count().is_multiple_of(2), "<{tag}>");
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn the_policy_lets_in_the_pages_own_style_and_script_and_nothing_else() {
    let page = printed(&samples::report());
    let hash = |text: &str| format!("sha256-{}", STANDARD.encode(Sha256::digest(text)));
    assert_eq!(hash(between(&page, "<style>", "</style>")), STYLE_HASH, "of templates/report/page.css");
    assert_eq!(hash(between(&page, "<script>", "</script>")), SCRIPT_HASH, "of templates/report/page.js");
    let policy =
        format!("default-src 'none'; style-src '{STYLE_HASH}'; script-src '{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'");
    assert_eq!(between(&page, "http-equiv=\"Content-Security-Policy\" content=\"", "\">"), policy);
}

#[test]
fn a_page_is_well_formed_and_names_no_other_place() {
    let page = printed(&samples::report());
    is_well_formed(&page);
    // Its own marks are the only ones that are named by an address.
    let page = page.replace("url(#", "");
    for elsewhere in ["http:", "https:", "//", "url(", "@import", " style=", " src=", "onclick"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn whatever_a_task_calls_itself_stays_text() {
    for name in [
        "<script>alert(1)</script>",
        "\u{1b}[31mred\u{9b}",
        "\u{1f980}\u{1f980}\u{1f980}\u{1f980}",
        "a\u{202e}b",
        "'\"&<>",
        "]]><!--",
    ] {
        let page = printed(&hostile(name));
        is_well_formed(&page);
        assert_eq!(page.matches("<script").count(), 1);
        let is_hidden = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
        assert!(!page.contains(is_hidden), "{name:?}");
    }
    assert!(printed(&hostile("<script>alert(1)</script>")).contains("&#60;script&#62;alert(1<small>[7]</small>"));
    assert!(printed(&hostile("\u{1b}[31m")).contains("\\u{1b}[31m<small>[7]</small>"));
}

#[test]
fn a_death_comes_first_with_its_evidence_and_the_text_reports_own_lines() {
    let page = printed(&samples::report());
    let (death, close) = (page.find("data-v=\"keepalive-timeout\"").unwrap(), page.find("data-v=\"peer-close\"").unwrap());
    assert!(death < close);
    for words in [
        "<p>3 of 3 keepalive probes went unanswered, nothing heard for 4.080 s: the kernel reset the connection</p>",
        "1970-01-01 00:00:02.000  connect in 0.312 ms\n",
        "               +3.000 s  probes 1 to 2 of 3, the last answered by ACK after 4.000 ms (to the jiffy), until +3.250 s\n",
        "<title>timer sent nothing: data-in-flight, 1 time</title>",
        "conn 00000000000000ab, netns 4026531840, held by 2 processes, owner app[812], cgroup /system.slice/app.service",
        "<strong class=\"alert\">7 lost (7 ring-buffer)</strong>",
        "incomplete: db1.kat has no end (its last 3 bytes are no whole batch)",
        "1 s, 1 s, 3 probes <small>socket, socket, sysctl</small>",
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
}

#[test]
fn what_is_left_out_is_said_in_words() {
    let report = Report { more: 12, fine: 1, ..samples::report() };
    let page = printed(&report);
    for words in ["12 more histories like these: left out", "nothing went wrong on 1 other connection: left out"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(left_out(&Report { more: 1, ..samples::report() })[0].starts_with("1 more history like these"));
}

#[test]
fn a_history_takes_few_bytes() {
    let mut report = samples::report();
    let few = printed(&report).len();
    report.histories = report.histories.iter().cycle().take(202).cloned().collect();
    let each = (printed(&report).len() - few) / 200;
    assert!(each < 4000, "{each}");
}

#[test]
fn the_longest_bar_is_the_most_frequent_end() {
    let bars = bars(10, &BTreeMap::from([(Verdict::UserTimeout, 2), (Verdict::PeerClose, 3)]));
    let shown: Vec<_> = bars.iter().map(|bar| (bar.name, bar.kind, bar.width)).collect();
    assert_eq!(shown, [("user-timeout", "death", 40.0), ("peer-close", "fine", 60.0), ("open", "open", 100.0)]);
}
