//! A recording of a host on which little happens: its few events must not cost much more room than those of a busy one.
use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use socket2::{SockRef, TcpKeepalive};

use super::{counted, load::Load, timers};
use crate::figure::figure;

/// Connections that are idle all the time.
const CROWDS: [usize; 2] = [12, 600];
const WATCHED: Duration = Duration::from_secs(600);
/// Each connection sends a probe that often, and gets an answer.
const PERIOD: Duration = Duration::from_secs(60);

/// `connect`, a probe a minute on each connection for ten minutes, and no other traffic.
pub fn run() -> Result<()> {
    timers::raise_limit()?;
    let load = Load::new()?;
    for crowd in CROWDS {
        let counted = counted::record(&[], || {
            let step = PERIOD / crowd as u32;
            let connect = || {
                let pair = load.connect()?;
                let keepalive = TcpKeepalive::new().with_time(PERIOD).with_interval(PERIOD);
                SockRef::from(&pair.0).set_tcp_keepalive(&keepalive).context("SO_KEEPALIVE")?;
                sleep(step);
                Ok(pair)
            };
            let pairs = (0..crowd).map(|_| connect()).collect::<Result<Vec<_>>>()?;
            sleep(WATCHED - PERIOD);
            drop(pairs);
            Ok(())
        })?;
        ensure!(counted.recorded > crowd as f64, "void: {crowd} connections made {} events", counted.recorded);
        figure(&format!("record, {crowd} idle connections"), "events", counted.recorded);
        figure(&format!("record, {crowd} idle connections"), "bytes an event", counted.bytes / counted.recorded);
    }
    Ok(())
}
