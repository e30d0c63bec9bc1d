//! nginx 1.22.
use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, bail};
use lab::{
    clock::of_rfc3339,
    server::{NGINX, Server},
    stage::Stage,
};

use super::{
    URL, curl, lines, pool, start_pool,
    told::{self, Link},
    vec_of,
};
use crate::bench::{Bench, tests};

tests![what_it_promises_what_it_keeps_and_how_many_requests_it_takes, what_it_promises_and_keeps_is_its_timeout,];

const CONFIGURATION: &str = "
daemon off; master_process off; user root; pid {here}/pid; error_log {here}/errors debug;
events {}
http {
    log_format told '$remote_port $connection_requests $request_method $server_protocol $status';
    access_log {here}/log told;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    keepalive_timeout 5s 10s;
    keepalive_requests 3;
    server { listen 127.0.0.1:8080; location / { return 200 hi; } }
}
";

/// Its timeout is short, it promises none, and it keeps no log.
pub const BARE: &str = "
daemon off; master_process off; user root; pid {here}/pid; error_log {here}/errors;
events {}
http {
    access_log off;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    keepalive_timeout 300ms;
    server { listen 127.0.0.1:8080; location / { return 200 hi; } }
}
";

pub fn start(stage: &Stage, configuration: &str) -> Result<Server> {
    Server::start(&stage.netns, &[("nginx.conf", configuration)], NGINX, &["-e", "{here}/errors", "-c", "{here}/nginx.conf"])
}

/// Its own word for when it closed each connection, the first that came first, in the seconds that its clock has; and whether that was
/// because the client had.
fn hold_closes(links: &[Link], log: &str) -> Result<()> {
    /// Its clock stands still while it works.
    const BEHIND_NS: Range<i128> = 0..1_100_000_000;
    let mut closes: BTreeMap<u64, (i128, bool)> = BTreeMap::new();
    for line in log.lines() {
        let Some((date, number, what)) = line.split_once(" [").and_then(|(date, rest)| {
            let (number, what) = rest.split_once(" *")?.1.split_once(' ')?;
            Some((date, number.parse().ok()?, what))
        }) else {
            continue;
        };
        let (_, by_client) = closes.entry(number).or_default();
        *by_client |= what.contains("closed keepalive connection");
        if what.starts_with("close http connection") {
            let at = of_rfc3339(&format!("{}.000000000Z", date.replace('/', "-").replace(' ', "T")))
                .with_context(|| line.to_owned())?;
            closes.entry(number).and_modify(|(closed, _)| *closed = at);
        }
    }
    assert_eq!(closes.len(), links.len(), "{closes:?}");
    for (link, (closed, by_client)) in links.iter().zip(closes.into_values()) {
        let last = link.ends[1].iter().rfind(|event| event.kind == "http").and_then(|event| event.time.as_deref());
        let wire = link.close().context("nobody closed")?;
        assert_eq!(!wire.by_server, by_client, "port {}", link.port);
        let told = of_rfc3339(last.context("no message")?)? + i128::try_from(wire.idle.as_nanos())?;
        assert!(BEHIND_NS.contains(&(told - closed)), "port {}: closed at {closed} by its log, at {told} as told", link.port);
    }
    Ok(())
}

fn what_it_promises_what_it_keeps_and_how_many_requests_it_takes(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let server = start(&stage, CONFIGURATION)?;
    let tracer = bench.own_tracer(&["--http"])?;
    let said = pool(&stage.netns, &["GET", "12", "GET", "HEAD", "POST", "GET"])?;
    curl(&stage.netns, &["-0", URL])?;
    curl(&stage.netns, &["--header", "Connection: close", URL])?;
    curl(&stage.netns, &["--header", "Expect: 100-continue", "--data", "four", URL, URL])?;
    let links = told::stop(tracer, &mut stage, 6)?;
    told::as_logged(&links, server.file("log").lines())?;
    hold_closes(&links, &server.file("errors"))?;

    let [idle, full, rest, old, closing, expecting] = &links[..] else { bail!("{} connections", links.len()) };
    assert_eq!(told::ports(&said), [idle, full, rest].map(|link| link.port));
    // It keeps to 5 s, and promises 10.
    assert_eq!(idle.story(), ["request 1 GET", "response 1 200", "idle-timeout"]);
    assert_eq!((idle.promises(), idle.idle()?), (vec!["10/-".to_owned()], (5, true)));
    let why = idle.end(0)?.why.as_deref().context("no why")?;
    assert!(
        why.contains("the server closed it after 5.0")
            && why.contains("having said timeout=10; that is earlier than it had promised"),
        "{why}"
    );
    assert_eq!(idle.end(0)?.findings, ["promise-broken"], "{why}");
    // It doesn't say how many requests it takes, and takes its leave with the last.
    let messages = ["request 1 GET", "response 1 200", "request 2 HEAD", "response 2 200", "request 3 POST", "response 3 200"];
    assert_eq!(full.story(), [&messages[..], &["connection-close"]].concat());
    assert_eq!(full.promises(), ["10/-", "10/-", "-/-"]);
    assert_eq!(full.end(0)?.handshakes_saved, Some(2));
    assert_eq!((rest.story(), rest.idle()?.1), (vec_of(["request 1 GET", "response 1 200", "-"]), false));
    for link in [old, closing] {
        assert_eq!(link.story(), ["request 1 GET", "response 1 200", "connection-close"]);
        assert_eq!((link.promises(), link.idle()?), (vec_of(["-/-"]), (0, true)));
    }
    let twice = [1, 2].map(|n| [format!("request {n} POST"), format!("response {n} 100"), format!("response {n} 200")]);
    assert_eq!(expecting.story(), [twice.concat(), vec_of(["-"])].concat());
    Ok(())
}

fn what_it_promises_and_keeps_is_its_timeout(bench: &Bench) -> Result<()> {
    for address in ["127.0.0.1:8080", "[::1]:8080"] {
        let mut stage = Stage::open()?;
        let configuration = CONFIGURATION.replace("keepalive_timeout 5s 10s", "keepalive_timeout 5s 5s");
        let server = start(&stage, &configuration.replace("127.0.0.1:8080", address))?;
        let tracer = bench.own_tracer(&["--http"])?;
        let said = lines(start_pool(&stage.netns, &format!("http://{address}/"), &["GET", "HEAD", "12", "GET"])?)?;
        let links = told::stop(tracer, &mut stage, 2)?;
        told::as_logged(&links, server.file("log").lines())?;
        hold_closes(&links, &server.file("errors"))?;
        assert_eq!(told::ports(&said), [links[0].port, links[1].port]);
        let idle = &links[0];
        let messages = ["request 1 GET", "response 1 200", "request 2 HEAD", "response 2 200", "idle-timeout"];
        assert_eq!((idle.story(), idle.promises(), idle.idle()?), (vec_of(messages), vec_of(["5/-", "5/-"]), (5, true)));
        let ip = if address.starts_with('[') { 6 } else { 4 };
        assert!(idle.ends.iter().flatten().all(|event| event.ip == Some(ip)), "{:?}", idle.ends);
    }
    Ok(())
}
