//! A connection's life as a drawing: where each stretch lies, and which marks stand on it. All of it in percent of the width, so
//! that it fits every screen.
//!
//! A connection that was idle for two hours and died within ten seconds would be a line and a dot on a true scale. Long
//! stretches are therefore drawn shorter, by their logarithm, and say how long they were.
use crate::{
    model::{
        event::{How, ReplyKind, Via},
        history::{Chapter, History, Timeline, What},
        verdict::Verdict,
    },
    output::report::{page::words::span, text},
};

/// So many marks of a round, or of healthy ones, are drawn; the words say how many there were.
const MOST: u32 = 12;
/// The share of the width, in percent, from which on a stretch has room for its words; and on a phone too.
const ROOM: f64 = 5.0;
const MUCH_ROOM: f64 = 17.0;

pub(super) struct Drawing {
    /// How it began, and how it ended: names of marks.
    pub(super) begin: &'static str,
    pub(super) end: &'static str,
    pub(super) scenes: Vec<Scene>,
}

/// A stretch of the life.
pub(super) struct Scene {
    pub(super) class: &'static str,
    /// What is said of it where somebody points at it.
    pub(super) title: String,
    /// Percent.
    pub(super) from: f64,
    pub(super) width: f64,
    pub(super) to: f64,
    pub(super) marks: Vec<Mark>,
    pub(super) label: Option<Label>,
}

pub(super) struct Mark {
    pub(super) name: &'static str,
    pub(super) at: f64,
}

pub(super) struct Label {
    pub(super) text: String,
    pub(super) at: f64,
    /// There is room for it on a phone.
    pub(super) wide: bool,
}

/// A scene before the widths of all are known.
struct Stretch {
    class: &'static str,
    title: String,
    text: String,
    weight: f64,
    /// Marks, and where each stands on the stretch, from 0 to 1.
    marks: Vec<(&'static str, f64)>,
}

impl Drawing {
    pub(super) fn of(history: &History) -> Self {
        let stretches = stretches(history);
        let all: f64 = stretches.iter().map(|stretch| stretch.weight).sum();
        let mut at = 0.0;
        let scenes = stretches.into_iter().filter_map(|stretch| {
            let (from, width) = (at, 100.0 * stretch.weight / all);
            at += width;
            scene(stretch, from, width)
        });
        let scenes = scenes.collect();
        let begin = match history.how {
            How::Connect | How::Accept => "b",
            How::Snapshot | How::FirstEvent => "t",
        };
        Self { begin, end: end(history.verdict), scenes }
    }
}

/// The mark at the end.
fn end(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        None => "n",
        Some(verdict) if verdict.is_death() => "z",
        Some(verdict) if verdict.is_orderly() => "o",
        Some(_) => "w",
    }
}

fn scene(Stretch { class, title, text, weight: _, marks }: Stretch, from: f64, width: f64) -> Option<Scene> {
    let wide = width >= MUCH_ROOM;
    // About as many letters as there is room for.
    let fits = width >= ROOM.max(text.chars().count() as f64 * 0.62);
    let label = (fits && !text.is_empty()).then(|| Label { text, at: tenth(from + width / 2.0), wide });
    let mark = |(name, share): (&'static str, f64)| Mark { name, at: tenth(from + width * share) };
    let marks: Vec<Mark> = marks.into_iter().map(mark).collect();
    let is_empty = class.is_empty() && label.is_none();
    (!is_empty).then(|| Scene { class, title, from: tenth(from), width: tenth(width), to: tenth(from + width), marks, label })
}

/// Finer than a pixel is no use.
fn tenth(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

fn stretches(history: &History) -> Vec<Stretch> {
    let Timeline { chapters, omitted, gap } = history.timeline();
    let mut stretches = Vec::with_capacity(2 * chapters.len() + 2);
    let mut now = history.opened_ns;
    let mut waiting = false;
    for (index, chapter) in chapters.iter().enumerate() {
        if index == gap && omitted > 0 {
            let title = text::left_out(omitted);
            stretches.push(Stretch { class: "cut", text: title.clone(), title, weight: 6.0, marks: Vec::new() });
        } else {
            stretches.extend(quiet(chapter.from_ns.saturating_sub(now), waiting));
        }
        stretches.push(told(chapter));
        now = now.max(chapter.to_ns);
        waiting = matches!(&chapter.what, What::Round { end: None, .. });
    }
    stretches.extend(quiet(history.last_ns.saturating_sub(now), waiting));
    if stretches.is_empty() {
        stretches.push(Stretch { class: "", title: String::new(), text: String::new(), weight: 1.0, marks: Vec::new() });
    }
    stretches
}

/// Nothing of keepalive happened, or no answer came.
fn quiet(ns: u64, waiting: bool) -> Option<Stretch> {
    let seconds = ns as f64 / 1e9;
    let (class, title) = if waiting { ("wait", format!("no answer for {}", span(ns))) } else { ("", String::new()) };
    let weight = 0.8 + 1.2 * (1.0 + seconds).ln();
    (ns > 0).then(|| Stretch { class, title, text: span(ns), weight, marks: Vec::new() })
}

fn told(Chapter { from_ns, to_ns, what }: &Chapter) -> Stretch {
    let took = (to_ns.saturating_sub(*from_ns) as f64 / 1e9 + 1.0).ln();
    let title = text::chapter(what);
    match what {
        What::Healthy { rounds, .. } => {
            let marks = spread("a", *rounds, false);
            let weight = 1.5 + marks.len() as f64 * 0.7 + took * 0.3;
            Stretch { class: "ok", title, text: format!("{rounds} ok"), weight, marks }
        }
        What::Round { probes, of, dropped, end } => {
            let marks = round(*probes, *dropped, end.as_ref().map(|reply| reply.kind));
            let of = of.map_or_else(String::new, |of| format!(" of {of}"));
            Stretch { class: "bad", title, text: format!("{probes}{of}"), weight: 1.5 + marks.len() as f64, marks }
        }
        What::Congested { times } => {
            Stretch { class: "held", title, text: format!("{times}×"), weight: 2.0 + took * 0.3, marks: vec![("c", 0.5)] }
        }
        What::Silent { outcome, times } => {
            let text = format!("{times}× {}", outcome.name());
            Stretch { class: "mute", title, text, weight: 2.0 + took * 0.5, marks: vec![("s", 0.5)] }
        }
        What::Settings { to: _, by: _, via } => {
            let mark = if matches!(via, Some(Via::Sysctl { .. })) { "p" } else { "k" };
            Stretch { class: "set", title, text: String::new(), weight: 2.0, marks: vec![(mark, 0.5)] }
        }
        What::Http(spoken) => {
            let marks = asked(spoken.requests.max(spoken.responses), spoken.responses);
            let text = if spoken.requests > 1 { format!("{} HTTP", spoken.requests) } else { String::new() };
            Stretch { class: "http", title, text, weight: 1.5 + marks.len() as f64 * 0.7 + took * 0.3, marks }
        }
    }
}

/// The probes of a round: how many were dropped here, missed and answered; which of them was dropped is not known.
fn round(probes: u32, dropped: u32, end: Option<ReplyKind>) -> Vec<(&'static str, f64)> {
    let mut marks = spread("x", probes, true);
    let shown = marks.len();
    marks.iter_mut().take(usize::try_from(dropped).unwrap_or(usize::MAX)).for_each(|mark| mark.0 = "d");
    if let (Some(kind), Some(last)) = (end, shown.checked_sub(1).and_then(|last| marks.get_mut(last))) {
        last.0 = match kind {
            ReplyKind::Ack => "a",
            ReplyKind::Reset => "r",
        };
    }
    marks
}

/// Requests, the last ones of which had no answer.
fn asked(requests: u32, responses: u32) -> Vec<(&'static str, f64)> {
    let mut marks = spread("h", requests, false);
    let open = usize::try_from(requests.saturating_sub(responses)).unwrap_or(usize::MAX);
    marks.iter_mut().rev().take(open).for_each(|mark| mark.0 = "u");
    marks
}

/// Marks at equal distances: all, or as many as somebody can tell apart.
fn spread(name: &'static str, count: u32, all_wide: bool) -> Vec<(&'static str, f64)> {
    let shown = count.min(if all_wide { MOST } else { MOST / 2 });
    (0..shown).map(|n| (name, (f64::from(n) + 0.5) / f64::from(shown.max(1)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    fn names(marks: &[(&'static str, f64)]) -> String {
        marks.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn a_rounds_marks_tell_what_was_dropped_missed_and_answered() {
        assert_eq!(names(&round(3, 0, None)), "xxx");
        assert_eq!(names(&round(4, 1, Some(ReplyKind::Ack))), "dxxa");
        assert_eq!(names(&round(1, 0, Some(ReplyKind::Reset))), "r");
        assert_eq!(round(u32::MAX, u32::MAX, None).len(), MOST as usize);
    }

    #[test]
    fn requests_without_an_answer_are_the_last_ones() {
        assert_eq!(names(&asked(3, 2)), "hhu");
        assert_eq!(names(&asked(1, 0)), "u");
        assert_eq!(asked(u32::MAX, 0).len(), MOST as usize / 2);
    }

    #[test]
    fn stretches_fill_the_width_in_the_order_of_the_story() {
        let Drawing { begin, end, scenes } = Drawing::of(&samples::history());
        assert_eq!((begin, end), ("b", "z"));
        let ends: Vec<f64> = scenes.iter().map(|scene| scene.from + scene.width).collect();
        assert!(ends.is_sorted() && ends.iter().all(|end| *end < 100.2), "{ends:?}");
        let classes: Vec<&str> = scenes.iter().map(|scene| scene.class).filter(|class| !class.is_empty()).collect();
        assert_eq!(classes, ["set", "http", "set", "bad", "mute"]);
    }

    #[test]
    fn a_life_of_no_length_is_drawn_too() {
        let Drawing { end, scenes, .. } = Drawing::of(&samples::healthy());
        assert_eq!((end, scenes.len()), ("o", 1));
    }
}
