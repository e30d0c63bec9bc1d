//! What a tracer has said so far.
use std::{
    io::BufRead,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{event::Event, schema};

#[derive(Default)]
pub(super) struct Heard {
    said: Mutex<Said>,
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct Said {
    /// Lines that nobody has looked at yet: reading them takes its time, and whoever listens must not keep the tracer waiting.
    pub(super) unread: Vec<String>,
    pub(super) events: Vec<Event>,
    /// So many of the events were held against the schema.
    pub(super) checked: usize,
    /// Lines that are no events, or others than were published: the tracer's defects, whatever else it says.
    pub(super) garbled: Vec<Garbled>,
    pub(super) ended: bool,
}

/// A line that the schema refuses.
#[derive(Debug)]
pub(super) struct Garbled {
    /// The line, and what is wrong with it.
    pub(super) complaint: String,
    /// What it says all the same, if it is JSON at all.
    pub(super) event: Option<Event>,
}

impl Heard {
    pub(super) fn unread(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was said so far, read.
    pub(super) fn said(&self) -> MutexGuard<'_, Said> {
        let mut said = self.unread();
        for line in std::mem::take(&mut said.unread) {
            match Event::parse(&line) {
                Ok(event) => said.events.push(event),
                Err(error) => said.garbled.push(Garbled { complaint: format!("{line} ({error})"), event: None }),
            }
        }
        said
    }

    /// Holds every line since the last time against the schema.
    pub(super) fn check(&self) {
        let mut said = self.said();
        let events = said.events[said.checked..].to_vec();
        said.checked = said.events.len();
        drop(said);
        let garbled = events.into_iter().filter_map(|event| {
            let refused = schema::check(&event.line).err()?;
            Some(Garbled { complaint: format!("{} ({refused:#})", event.line), event: Some(event) })
        });
        let garbled: Vec<Garbled> = garbled.collect();
        self.said().garbled.extend(garbled);
    }

    pub(super) fn listen(&self, output: impl BufRead) {
        for line in output.lines() {
            let Ok(line) = line else { break };
            self.unread().unread.push(line);
            self.changed.notify_all();
        }
        self.unread().ended = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_published_is_remembered_and_does_not_hide_the_rest() {
        let heard = Heard::default();
        let odd = r#"{"event":"lost","time":"2026-01-01T00:00:05.000000007Z","mono_ns":5,"where":"reader","netns":7}"#;
        let good = r#"{"event":"lost","time":"2026-01-01T00:00:05.000000007Z","mono_ns":5,"count":1,"where":"reader"}"#;
        let lines = [good, odd, "no JSON at all", good].join("\n");
        heard.listen(lines.as_bytes());
        heard.check();
        heard.check();
        let said = heard.said();
        assert!(said.ended);
        assert_eq!(said.events.len(), 3, "what is JSON is an event all the same");
        let places: Vec<_> = said.garbled.iter().map(|line| line.event.as_ref().and_then(|event| event.netns)).collect();
        assert_eq!(places, [None, Some(7)], "{:?}", said.garbled);
    }
}
