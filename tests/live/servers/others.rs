//! Servers that say nothing of what they keep to: Python's http.server, and Go's in Caddy.
use anyhow::{Result, bail};
use lab::{
    server::{CADDY, Client, HEY, PYTHON, Server},
    stage::Stage,
};

use super::{URL, curl, pool, told, vec_of};
use crate::bench::{Bench, tests};

tests![
    python_closes_after_each_response,
    python_with_http_1_1_keeps_connections_for_as_long_as_the_client_likes,
    caddy_keeps_to_a_timeout_that_it_does_not_tell,
];

/// Lines of `http.server`, each of which tells a request.
fn requests(server: &Server) -> Vec<String> {
    let out = server.file("out");
    out.lines().filter_map(|line| Some(line.split_once('"')?.1.split_once('"')?.0.to_owned())).collect()
}

fn python_closes_after_each_response(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let arguments = ["-u", "-m", "http.server", "--bind", "127.0.0.1", "8080"];
    let server = Server::start(&stage.netns, &[("index.html", "hi")], PYTHON, &arguments)?;
    let tracer = bench.own_tracer(&["--http"])?;
    let said = pool(&stage.netns, &["GET", "HEAD"])?;
    curl(&stage.netns, &[URL, URL])?;
    let links = told::stop(tracer, &mut stage, 4)?;
    assert_eq!(told::ports(&said), [links[0].port, links[1].port]);
    let path = "/index.html HTTP/1.1";
    assert_eq!(requests(&server), ["GET", "HEAD", "GET", "GET"].map(|method| format!("{method} {path}")));
    for (link, method) in links.iter().zip(["GET", "HEAD", "GET", "GET"]) {
        assert_eq!(link.story(), [&format!("request 1 {method}"), "response 1 200", "connection-close"]);
        assert_eq!((link.promises(), link.end(0)?.handshakes_saved), (vec_of(["-/-"]), Some(0)));
    }
    Ok(())
}

fn python_with_http_1_1_keeps_connections_for_as_long_as_the_client_likes(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let arguments = ["-u", "-m", "http.server", "--protocol", "HTTP/1.1", "--bind", "127.0.0.1", "8080"];
    let server = Server::start(&stage.netns, &[("index.html", "hi")], PYTHON, &arguments)?;
    let tracer = bench.own_tracer(&["--http"])?;
    let said = pool(&stage.netns, &["GET", "HEAD", "600", "GET"])?;
    curl(&stage.netns, &[URL, URL])?;
    curl(&stage.netns, &["-0", URL])?;
    curl(&stage.netns, &["--header", "Connection: close", URL])?;
    let links = told::stop(tracer, &mut stage, 4)?;
    let [kept, reused, old, closing] = &links[..] else { bail!("{} connections", links.len()) };
    assert_eq!(told::ports(&said), [kept.port]);
    let path = "/index.html HTTP";
    let logged = ["GET", "HEAD", "GET", "GET", "GET"].map(|method| format!("{method} {path}/1.1"));
    assert_eq!(requests(&server), [&logged[..], &[format!("GET {path}/1.0"), format!("GET {path}/1.1")]].concat());
    let exchange = |n: u32, method: &str| [format!("request {n} {method}"), format!("response {n} 200")];
    let three = [exchange(1, "GET"), exchange(2, "HEAD"), exchange(3, "GET")].concat();
    assert_eq!(kept.story(), [three, vec_of(["-"])].concat());
    let idle = kept.heads().filter(|event| event.method.is_some()).nth(2).and_then(|event| event.idle_before_ms);
    assert!(idle.is_some_and(|ms| (600_000..600_100).contains(&ms)), "{idle:?}");
    assert_eq!(reused.story(), [exchange(1, "GET").to_vec(), exchange(2, "GET").to_vec(), vec_of(["-"])].concat());
    // The server says nothing of the connection to either of them: the client's version, or its word, is enough.
    for link in [old, closing] {
        assert_eq!(link.story(), [&exchange(1, "GET")[..], &vec_of(["connection-close"])].concat());
    }
    Ok(())
}

const CADDYFILE: &str = "
{
    admin off
    auto_https off
    servers {
        timeouts {
            idle 3s
        }
    }
}
:8080 {
    bind 127.0.0.1
    log {
        output file {here}/log
    }
    respond hi
}
";

fn caddy_keeps_to_a_timeout_that_it_does_not_tell(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let arguments = ["run", "--config", "{here}/Caddyfile", "--adapter", "caddyfile"];
    let server = Server::start(&stage.netns, &[("Caddyfile", CADDYFILE)], CADDY, &arguments)?;
    let tracer = bench.own_tracer(&["--http"])?;
    let said = pool(&stage.netns, &["GET", "HEAD", "6", "GET"])?;
    curl(&stage.netns, &["-0", URL])?;
    // Two that know nothing of each other: workers of one share its connections, and may leave one of them without a request.
    let start = |_| Client::start(&stage.netns, HEY, &["-n", "6", "-c", "1", URL]);
    let clients = [1, 2].map(start).into_iter().collect::<Result<Vec<_>>>()?;
    for client in clients {
        let said = client.wait()?;
        assert!(said.contains("[200]\t6 responses"), "{said}");
    }
    let links = told::stop(tracer, &mut stage, 5)?;
    let log = server.file("log");
    let port = |line: &'_ str| Some(line.split_once("\"remote_port\":\"")?.1.split_once('"')?.0.to_owned());
    let logged: Vec<String> = log.lines().filter_map(port).collect();
    told::as_logged(&links, logged.iter().map(String::as_str))?;
    assert_eq!(logged.len(), 4 + 12);
    let [idle, rest, old, one, other] = &links[..] else { bail!("{} connections", links.len()) };
    assert_eq!(told::ports(&said), [idle.port, rest.port]);
    let messages = ["request 1 GET", "response 1 200", "request 2 HEAD", "response 2 200", "idle-timeout"];
    assert_eq!((idle.story(), idle.promises(), idle.idle()?), (vec_of(messages), vec_of(["-/-", "-/-"]), (3, true)));
    assert_eq!((rest.story(), rest.idle()?.1), (vec_of(["request 1 GET", "response 1 200", "-"]), false));
    assert_eq!(old.story(), ["request 1 GET", "response 1 200", "connection-close"]);
    for link in [one, other] {
        let end = link.end(0)?;
        assert_eq!((end.http.as_deref(), end.requests, end.handshakes_saved), (None, Some(6), Some(5)), "{end:?}");
    }
    Ok(())
}
