//! Apache httpd 2.4, with its event MPM.
use anyhow::{Result, bail};
use lab::{
    server::{APACHE, Client, HEY, Server},
    stage::Stage,
};

use super::{URL, curl, pool, told, vec_of};
use crate::bench::{Bench, tests};

tests![what_it_promises_it_keeps_and_it_promises_only_whom_it_is_asked_by];

const CONFIGURATION: &str = "
ServerRoot {here}
ServerName localhost
PidFile {here}/pid
DefaultRuntimeDir {here}
Mutex posixsem
User daemon
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
ServerLimit 1
StartServers 1
ThreadsPerChild 4
MaxRequestWorkers 4
Listen 127.0.0.1:8080
ErrorLog {here}/errors
LogFormat \"%{remote}p %k %m %H %s\" told
CustomLog {here}/log told
DocumentRoot {here}/files
KeepAlive On
KeepAliveTimeout 2
MaxKeepAliveRequests 3
";

fn what_it_promises_it_keeps_and_it_promises_only_whom_it_is_asked_by(bench: &Bench) -> Result<()> {
    let mut stage = Stage::open()?;
    let files = [("apache.conf", CONFIGURATION), ("files/index.html", "hi")];
    let server = Server::start(&stage.netns, &files, APACHE, &["-D", "FOREGROUND", "-f", "{here}/apache.conf"])?;
    let tracer = bench.own_tracer(&["--http"])?;
    let said = pool(&stage.netns, &["GET", "6", "GET", "HEAD", "GET", "GET"])?;
    curl(&stage.netns, &["-0", URL])?;
    curl(&stage.netns, &["-0", "--header", "Connection: keep-alive", URL])?;
    curl(&stage.netns, &["--header", "Connection: close", URL])?;
    let hey = Client::start(&stage.netns, HEY, &["-n", "8", "-c", "1", URL])?.wait()?;
    assert!(hey.contains("[200]\t8 responses"), "{hey}");
    let links = told::stop(tracer, &mut stage, 7)?;
    told::as_logged(&links, server.file("log").lines())?;
    let [idle, full, old, old_kept, closing, heys @ ..] = &links[..] else { bail!("{} connections", links.len()) };

    assert_eq!(told::ports(&said), [idle.port, full.port]);
    let one = |cause| vec_of(["request 1 GET", "response 1 200", cause]);
    assert_eq!((idle.story(), idle.promises(), idle.idle()?), (one("idle-timeout"), vec_of(["2/3"]), (2, true)));
    // The number counts down, and the last response has none.
    let promised: Vec<&str> = said[1..].iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(promised, ["timeout=2,max=3", "timeout=2,max=2", "timeout=2,max=1", "-"]);
    assert_eq!(full.promises(), ["2/3", "2/2", "2/1", "-/-"]);
    assert_eq!(full.story().last().map(String::as_str), Some("max-requests"));
    assert_eq!((full.end(0)?.requests, full.end(0)?.handshakes_saved), (Some(4), Some(3)));
    for link in [old, closing] {
        assert_eq!((link.story(), link.promises()), (one("connection-close"), vec_of(["-/-"])));
    }
    assert_eq!((old_kept.story(), old_kept.promises()), (one("-"), vec_of(["2/3"])));
    // Go's client doesn't say keep-alive, which HTTP/1.1 needs not: it is told nothing, and is sent away all the same.
    for link in heys {
        assert_eq!(link.promises(), ["-/-"; 4]);
        assert_eq!(link.end(0)?.http.as_deref(), Some("connection-close"));
    }
    Ok(())
}
