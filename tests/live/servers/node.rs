//! Node.js 18.
use anyhow::{Result, bail};
use lab::{
    server::{Client, NODE, PYTHON, Server},
    stage::Stage,
};

use super::{URL, agent, curl, pool, told, vec_of};
use crate::bench::{Bench, tests};

tests![
    what_it_promises_it_keeps,
    what_comes_in_chunks_or_after_a_switch_of_protocols_is_no_message,
    it_takes_as_many_requests_as_it_said,
];

const SCRIPT: &str = include_str!("node.js");
const UPGRADE: &str = include_str!("upgrade.py");

fn start(stage: &Stage, arguments: &[&str]) -> Result<Server> {
    Server::start(&stage.netns, &[("server.js", SCRIPT)], NODE, &[&["{here}/server.js"], arguments].concat())
}

fn what_it_promises_it_keeps(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let server = start(&stage, &[])?;
    let tracer = bench.own_tracer(&["--http"])?;
    let said = pool(&stage.netns, &["GET", "HEAD", "8", "GET"])?;
    let by_agent = agent(&stage.netns, &["GET", "POST", "8", "GET"])?;
    let links = told::stop(tracer, &mut stage, 4)?;
    told::as_logged(&links, server.file("out").lines())?;
    let [idle, rest, agents, last] = &links[..] else { bail!("{} connections", links.len()) };
    assert_eq!(told::ports(&said), [idle.port, rest.port]);
    assert_eq!(told::ports(&by_agent), [agents.port, last.port]);
    assert!(by_agent.iter().all(|line| line.ends_with(" 200")), "{by_agent:?}");
    let messages = ["request 1 GET", "response 1 200", "request 2 HEAD", "response 2 200", "idle-timeout"];
    assert_eq!((idle.story(), idle.promises(), idle.idle()?), (vec_of(messages), vec_of(["5/-", "5/-"]), (5, true)));
    // Node's agent reads the promise, too, and lets go of the connection in the very moment: whoever is first is told.
    let (idle, by_server) = agents.idle()?;
    let cause = if by_server { "idle-timeout" } else { "-" };
    let messages = ["request 1 GET", "response 1 200", "request 2 POST", "response 2 200", cause];
    assert_eq!((idle, agents.story()), (5, vec_of(messages)));
    for link in [rest, last] {
        assert_eq!((link.story(), link.idle()?.1), (vec_of(["request 1 GET", "response 1 200", "-"]), false));
    }
    Ok(())
}

fn what_comes_in_chunks_or_after_a_switch_of_protocols_is_no_message(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let server = start(&stage, &[])?;
    let tracer = bench.own_tracer(&["--http"])?;
    curl(&stage.netns, &["http://127.0.0.1:8080/chunked", URL])?;
    curl(&stage.netns, &["--header", "Transfer-Encoding: chunked", "--data", "GET / HTTP/1.1", URL])?;
    curl(&stage.netns, &["--header", "Expect: 100-continue", "--data", "four", URL])?;
    let upgrade = Client::start(&stage.netns, PYTHON, &["-c", UPGRADE])?.wait()?;
    let links = told::stop(tracer, &mut stage, 4)?;
    told::as_logged(&links, server.file("out").lines())?;
    let [chunks, upload, expecting, switched] = &links[..] else { bail!("{} connections", links.len()) };
    assert_eq!(chunks.story(), ["request 1 GET", "response 1 200", "request 2 GET", "response 2 200", "-"]);
    assert_eq!(upload.story(), ["request 1 POST", "response 1 200", "-"]);
    assert_eq!(expecting.story(), ["request 1 POST", "response 1 100", "response 1 200", "-"]);
    assert_eq!(upgrade, format!("{} 101\n", switched.port));
    assert_eq!(switched.story(), ["request 1 GET", "response 1 101", "-"]);
    Ok(())
}

fn it_takes_as_many_requests_as_it_said(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let server = start(&stage, &["3"])?;
    let tracer = bench.own_tracer(&["--http"])?;
    let said = pool(&stage.netns, &["GET", "GET", "GET", "GET"])?;
    let links = told::stop(tracer, &mut stage, 2)?;
    told::as_logged(&links, server.file("out").lines())?;
    let [full, rest] = &links[..] else { bail!("{} connections", links.len()) };
    assert_eq!(told::ports(&said), [full.port, rest.port]);
    assert_eq!(said[..3], ["timeout=5,max=3", "timeout=5,max=3", "-"].map(|word| format!("{} 200 {word}", full.port)));
    assert_eq!(full.promises(), ["5/3", "5/3", "-/-"]);
    assert_eq!(full.story().last().map(String::as_str), Some("max-requests"));
    assert_eq!((full.end(0)?.requests, full.end(0)?.handshakes_saved), (Some(3), Some(2)));
    assert_eq!((rest.story(), rest.idle()?.1), (vec_of(["request 1 GET", "response 1 200", "-"]), false));
    Ok(())
}
