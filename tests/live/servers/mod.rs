//! HTTP Keep-Alive of servers and clients that nobody here wrote: what is told agrees with their settings, their logs and the packets.
mod apache;
mod mixed;
mod nginx;
mod node;
mod others;
mod race;
mod told;

use anyhow::Result;
use lab::{
    netns::Netns,
    server::{CURL, Client, NODE, PYTHON},
};

use crate::bench::Test;

/// Each server's tests.
pub const THEMES: [(&str, &[Test]); 6] = [
    ("nginx", nginx::TESTS),
    ("apache", apache::TESTS),
    ("node", node::TESTS),
    ("others", others::TESTS),
    ("race", race::TESTS),
    ("mixed", mixed::TESTS),
];

const URL: &str = "http://127.0.0.1:8080/index.html";
const POOL: &str = include_str!("pool.py");
const AGENT: &str = include_str!("agent.js");

/// A session of requests does so: methods, and seconds between them. Gives the lines that it printed.
fn pool(netns: &Netns, words: &[&str]) -> Result<Vec<String>> {
    lines(start_pool(netns, URL, words)?)
}

fn start_pool(netns: &Netns, url: &str, words: &[&str]) -> Result<Client> {
    Client::start(netns, PYTHON, &[&["-c", POOL, url], words].concat())
}

/// Node's agent does so, likewise.
fn agent(netns: &Netns, words: &[&str]) -> Result<Vec<String>> {
    lines(Client::start(netns, NODE, &[&["-e", AGENT, URL], words].concat())?)
}

fn lines(client: Client) -> Result<Vec<String>> {
    Ok(client.wait()?.lines().map(str::to_owned).collect())
}

fn vec_of<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

/// curl, which says nothing but what it is asked for.
fn curl(netns: &Netns, arguments: &[&str]) -> Result<String> {
    Client::start(netns, CURL, &[&["--silent", "--show-error"], arguments].concat())?.wait()
}
