//! The last table: what was sent, what came back and how it ended, by those who know nothing of each other.
use anyhow::{Result, ensure};
use lab::{
    capture::Capture,
    clock::{Moment, is_same_moment},
    event::Event,
    pair::Connection,
    wire::Kind,
};

use crate::paper::{Paper, Tone};

/// A scene that was played.
pub struct Played {
    /// Its name in the table.
    pub name: &'static str,
    /// Whom it was about.
    pub connection: Connection,
    /// What the application saw in the end.
    pub application: String,
}

/// A line of the table.
struct Row {
    played: Played,
    /// When a probe was on the wire.
    on_wire: Vec<Moment>,
    answers: Vec<Kind>,
    told: Vec<Event>,
}

/// Writes the table, and fails where the tracer told other probes than were on the wire.
pub fn write(paper: Paper, played: Vec<Played>, capture: &mut Capture, told: impl Fn(&Connection) -> Vec<Event>) -> Result<()> {
    paper.title("what was sent, what came back, how it ended")?;
    paper.note("on the wire: a packet capture.  application: what recv() gave.  the last column: keepalive-trace.")?;
    paper.write(Tone::Plain, "")?;
    line(paper, Tone::Note, ["connection", "on the wire", "application", "keepalive-trace"])?;
    let mut wrong = Vec::new();
    for played in played {
        let row = Row {
            on_wire: capture.times(&played.connection, Kind::Probe)?,
            answers: capture.answers(&played.connection)?,
            told: told(&played.connection),
            played,
        };
        let tone = if row.agrees() { Tone::Plain } else { Tone::Bad };
        line(paper, tone, [row.played.name, &row.wire(), &row.played.application, &row.tracer()])?;
        if !row.agrees() {
            wrong.push(row.played.name);
        }
    }
    ensure!(wrong.is_empty(), "the tracer and the wire disagree about: {}", wrong.join(", "));
    paper.write(Tone::Plain, "")?;
    paper.write(Tone::Good, "   every probe on the wire has its event, and every event its probe")
}

fn line(paper: Paper, tone: Tone, cells: [&str; 4]) -> Result<()> {
    let [name, wire, application, tracer] = cells;
    paper.write(tone, &format!("   {name:<21}  {wire:<24}  {application:<17}  {tracer}"))
}

impl Row {
    /// When the tracer says that a probe was sent.
    fn sent(&self) -> Vec<Moment> {
        let sent = |event: &&Event| event.kind == "probe" && event.result.as_deref() == Some("sent");
        self.told.iter().filter(sent).map(Event::at).collect()
    }

    /// One by one, and at the same moment.
    fn agrees(&self) -> bool {
        let sent = self.sent();
        sent.len() == self.on_wire.len() && sent.iter().zip(&self.on_wire).all(|(&told, &wire)| is_same_moment(told, wire))
    }

    fn wire(&self) -> String {
        match self.on_wire.len() {
            0 => "no probe".to_owned(),
            probes if self.answers == [Kind::Reset] => format!("{}, answered by RST", counted(probes, "probe")),
            probes => format!("{}, {} answered", counted(probes, "probe"), self.answers.len()),
        }
    }

    /// `3 probes sent, end: keepalive-timeout`
    fn tracer(&self) -> String {
        let silent: Vec<&str> = self.told.iter().filter_map(|event| event.outcome.as_deref()).collect();
        let verdict = self.told.iter().find_map(|event| event.verdict.as_deref());
        let mut parts = Vec::new();
        let sent = self.sent().len();
        if sent > 0 {
            parts.push(format!("{} sent", counted(sent, "probe")));
        }
        if let Some(why) = silent.first() {
            parts.push(format!("{}: {why}", counted(silent.len(), "silent run")));
        }
        if let Some(verdict) = verdict {
            parts.push(format!("end: {verdict}"));
        }
        if parts.is_empty() { "nothing to tell".to_owned() } else { parts.join(", ") }
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
