//! What the application sees: the first witness anyone believes.
use std::{
    io::{ErrorKind, Read},
    os::fd::AsFd,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use socket2::Socket;

use crate::clock::{Moment, now};

/// How a blocked read came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer closed.
    Eof,
    /// The connection broke.
    Broken(Errno),
}

impl Ending {
    /// `EOF`, or the errno's name as in C.
    pub fn name(self) -> String {
        match self {
            Self::Eof => "EOF".to_owned(),
            Self::Broken(errno) => format!("{errno:?}"),
        }
    }
}

/// An application that sits in `recv()`.
pub struct Reader {
    thread: JoinHandle<Result<(Ending, Moment)>>,
}

impl Reader {
    /// Blocks on the socket from now on, for `limit` at most.
    pub fn start(socket: &Socket, limit: Duration) -> Result<Self> {
        let mut socket = socket.try_clone().context("dup")?;
        socket.set_read_timeout(Some(limit)).context("SO_RCVTIMEO")?;
        let thread = thread::spawn(move || {
            loop {
                let outcome = socket.read(&mut [0; 4096]);
                let at = now();
                match outcome {
                    Ok(0) => return Ok((Ending::Eof, at)),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("recv() still blocked after {limit:?}"),
                    Err(error) => {
                        let errno = error.raw_os_error().context("a read error without errno")?;
                        return Ok((Ending::Broken(Errno::from_raw(errno)), at));
                    }
                }
            }
        });
        Ok(Self { thread })
    }

    /// Waits for the read to come back: how, and when.
    pub fn wait(self) -> Result<(Ending, Moment)> {
        self.thread.join().map_err(|_| anyhow!("the reading thread panicked"))?
    }
}

/// The error that lies on the socket for whoever asks next; asking takes it away.
pub fn error_of(socket: &Socket) -> Result<Option<String>> {
    let error = socket.take_error().context("SO_ERROR")?.and_then(|error| error.raw_os_error());
    Ok(error.map(|errno| format!("{:?}", Errno::from_raw(errno))))
}

/// Waits until a connection that was begun without blocking stands or has failed: with this error.
pub fn outcome_of_connect(socket: &Socket, limit: Duration) -> Result<Option<String>> {
    let timeout = PollTimeout::try_from(limit)?;
    let done = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], timeout).context("poll")?;
    ensure!(done == 1, "connect() is still under way after {limit:?}");
    error_of(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::between,
        netns::Netns,
        pair::{Family, Plan},
        peer,
    };

    #[test]
    fn a_deaf_peer_ends_in_etimedout_after_idle_and_three_intervals() {
        if crate::skipped("a deaf peer ends in ETIMEDOUT after idle and three intervals") {
            return;
        }
        let start = now();
        let pair = Plan::new(Family::V4).keepalive(1, 1, 3).connect(&Netns::new().unwrap()).unwrap();
        let reader = Reader::start(&pair.client, Duration::from_secs(20)).unwrap();
        peer::deafen(&pair.server).unwrap();
        let (ending, at) = reader.wait().unwrap();
        assert_eq!(ending, Ending::Broken(Errno::ETIMEDOUT));
        assert!((4..6).contains(&between(start, at).as_secs()), "{:?}", between(start, at));
    }

    #[test]
    fn a_peer_that_forgot_the_connection_answers_the_probe_with_a_reset() {
        if crate::skipped("a peer that forgot the connection answers the probe with a reset") {
            return;
        }
        let pair = Plan::new(Family::V6).keepalive(1, 1, 3).connect(&Netns::new().unwrap()).unwrap();
        let reader = Reader::start(&pair.client, Duration::from_secs(20)).unwrap();
        let start = now();
        peer::forget(pair.server).unwrap();
        let (ending, at) = reader.wait().unwrap();
        assert_eq!(ending.name(), "ECONNRESET");
        assert!(between(start, at) > Duration::from_millis(500), "it came before the probe");
    }

    #[test]
    fn an_orderly_close_is_an_end_of_file() {
        if crate::skipped("an orderly close is an end of file") {
            return;
        }
        let pair = Plan::new(Family::Mapped).connect(&Netns::new().unwrap()).unwrap();
        let reader = Reader::start(&pair.client, Duration::from_secs(20)).unwrap();
        drop(pair.server);
        assert_eq!(reader.wait().unwrap().0, Ending::Eof);
    }
}
