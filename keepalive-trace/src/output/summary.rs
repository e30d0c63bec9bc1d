//! The last word of a run: what there was, how it ended, and the stories in which something went wrong.
use std::{
    cmp::Reverse,
    io::{self, Write as _},
};

use anyhow::Result;

use super::{detail, escape};
use crate::model::{
    event::{Reply, Stop, Via},
    history::{Chapter, History, Timeline, What},
    units::{counted, seconds, short},
};

/// So many stories are told unless all are asked for.
const WORST: usize = 10;

/// What happened, in numbers.
pub(super) fn totals(stop: &Stop, out: &mut Vec<u8>) -> Result<()> {
    let Stop { events, lost, connections, verdicts } = stop;
    let ended: u64 = verdicts.values().sum();
    writeln!(
        out,
        "\n{} shown, {lost} lost; {}, {ended} of them ended",
        counted(*events, "event"),
        counted(*connections, "connection")
    )?;
    for (verdict, count) in verdicts {
        writeln!(out, "{count:>8}  {}", verdict.name())?;
    }
    Ok(())
}

/// The worst stories, or all of them, the worst first. `bad` begins and ends the colour of those that died.
pub(super) fn worst(
    histories: &[&History],
    all: bool,
    bad: (&str, &str),
    time: impl Fn(u64, &mut Vec<u8>) -> io::Result<()>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut chosen: Vec<&History> = histories.iter().copied().filter(|history| all || is_bad(history)).collect();
    chosen.sort_by_key(|history| rank(history));
    let more = chosen.len().saturating_sub(if all { chosen.len() } else { WORST });
    chosen.truncate(chosen.len() - more);
    for history in &chosen {
        writeln!(out)?;
        story(history, bad, &time, out)?;
    }
    if more > 0 {
        writeln!(out, "\n{more} more like these (--histories shows all)")?;
    } else if !all && chosen.len() < histories.len() {
        let others = histories.len() - chosen.len();
        writeln!(out, "\nnothing went wrong on {} (--histories shows all)", counted(others as u64, "other connection"))?;
    }
    Ok(())
}

fn is_bad(history: &History) -> bool {
    history.verdict.is_some_and(|verdict| !verdict.is_orderly()) || history.tally.unanswered > 0 || history.tally.pending > 0
}

/// Those that died, by verdict; those in danger; those that recovered; the rest. Of the same, the latest first.
fn rank(history: &History) -> impl Ord + use<> {
    let tally = history.tally;
    let class = match history.verdict {
        Some(verdict) if verdict.is_death() => 0,
        None if tally.pending > 0 => 1,
        _ if tally.unanswered > 0 => 2,
        Some(verdict) if !verdict.is_orderly() => 3,
        _ => 4,
    };
    (class, history.verdict, Reverse(history.last_ns), history.id)
}

fn story(
    history: &History,
    (bad, plain): (&str, &str),
    time: &impl Fn(u64, &mut Vec<u8>) -> io::Result<()>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let owner = history.owner().map_or_else(|| "-".to_owned(), |owner| detail::named(owner.task));
    let ended = match (history.verdict, history.errno) {
        (Some(verdict), Some(errno)) => format!("{}, {errno}", verdict.name()),
        (Some(verdict), None) => verdict.name().to_owned(),
        (None, _) if history.tally.pending > 0 => format!("open, {} unanswered", counted(history.tally.pending.into(), "probe")),
        (None, _) => "open".to_owned(),
    };
    let (bad, plain) = if history.verdict.is_some_and(|verdict| verdict.is_death()) { (bad, plain) } else { ("", "") };
    writeln!(out, "{bad}{} > {}  {owner}  {ended}{plain}", history.local(), history.remote())?;
    if let Some(why) = history.why() {
        writeln!(out, "  {}", escape(why))?;
    }
    let took = history.connect_us().map_or_else(String::new, |us| format!(" in {}", short(us.into())));
    let mut at = Vec::new();
    time(history.opened_ns, &mut at)?;
    writeln!(out, "  {:>12}  {}{took}", String::from_utf8_lossy(&at), history.how.name())?;
    let since = |ns: u64| format!("+{}", seconds((ns.saturating_sub(history.opened_ns) / 1_000_000) as i64));
    let Timeline { chapters, omitted, gap } = history.timeline();
    for (index, Chapter { from_ns, to_ns, what }) in chapters.iter().enumerate() {
        if index == gap && omitted > 0 {
            writeln!(out, "  {:>12}  ... {} left out", "", counted(omitted.into(), "chapter"))?;
        }
        let until = if since(*to_ns) == since(*from_ns) { String::new() } else { format!(", until {}", since(*to_ns)) };
        writeln!(out, "  {:>12}  {}{until}", since(*from_ns), chapter(what))?;
    }
    let settings = history.settings().map_or_else(|| "settings unknown".to_owned(), |settings| detail::in_force(&settings));
    let last = if history.verdict.is_some() { "end" } else { "last seen" };
    writeln!(out, "  {:>12}  {last}, with {settings}", since(history.last_ns))?;
    Ok(())
}

fn chapter(what: &What) -> String {
    match what {
        What::Healthy { rounds, slowest_us } => {
            let slowest = slowest_us.map_or_else(String::new, |us| match us {
                0 => " within a jiffy".to_owned(),
                us => format!(" after {} at most", short(us.into())),
            });
            format!("{}, each answered{slowest}", counted((*rounds).into(), "probe"))
        }
        What::Round { probes, of, dropped, end } => {
            let of = of.map_or_else(String::new, |of| format!(" of {of}"));
            let dropped = if *dropped > 0 { format!(" ({dropped} dropped on this host)") } else { String::new() };
            let end = match end {
                None => "none answered".to_owned(),
                Some(reply) if *probes == 1 => detail::answer(reply),
                Some(reply) => format!("the last {}", detail::answer(&Reply { missed: 0, ..reply.clone() })),
            };
            let probes = if *probes == 1 { format!("probe 1{of}") } else { format!("probes 1 to {probes}{of}") };
            format!("{probes}{dropped}, {end}")
        }
        What::Congested { times } => {
            format!("probe held back by a full queue on this host, {}", counted((*times).into(), "time"))
        }
        What::Silent { outcome, times } => {
            format!("timer sent nothing: {}, {}", outcome.name(), counted((*times).into(), "time"))
        }
        What::Settings { to, by, via } => {
            let to = to.map_or_else(|| "unknown".to_owned(), |settings| detail::in_force(&settings));
            let late = if matches!(via, Some(Via::Sysctl { .. })) { "armed-before-sysctl: now " } else { "settings: " };
            format!("{late}{to}{}", detail::changed(*by, *via))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::event::{ConnId, Connection},
        output::samples,
    };

    fn printed(histories: &[&History], all: bool) -> String {
        let mut out = Vec::new();
        let time = |ns: u64, out: &mut Vec<u8>| write!(out, "{}", ns / 1_000_000);
        worst(histories, all, ("<", ">"), time, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_story_is_a_few_lines_and_says_what_it_comes_from() {
        let expected = "
<10.0.0.5:51334 > 10.0.0.9:5432  app[812]  keepalive-timeout, ETIMEDOUT>
  3 of 3 keepalive probes went unanswered, nothing heard for 4.080 s: the kernel reset the connection
          2000  connect in 0.312 ms
      +1.000 s  settings: keepalive 1 s, 1 s, 3 probes (socket, socket, sysctl), by app[812]
      +2.200 s  armed-before-sysctl: now keepalive 1 s, 1 s, 3 probes (socket, socket, sysctl), picked up from the sysctl, written 0.100 s before by sysctl[77]
      +3.000 s  probes 1 to 2 of 3, the last answered by ACK after 4.000 ms (to the jiffy), until +3.250 s
      +3.500 s  timer sent nothing: data-in-flight, 1 time
      +4.250 s  end, with keepalive 1 s, 1 s, 3 probes (socket, socket, sysctl)
";
        assert_eq!(printed(&[&samples::history()], false), expected);
    }

    #[test]
    fn only_the_worst_are_told_unless_all_are_asked_for() {
        let (bad, good) = (samples::history(), samples::healthy());
        let told = printed(&[&good, &bad], false);
        assert!(told.contains("keepalive-timeout") && !told.contains("peer-close"), "{told}");
        assert!(told.ends_with("\nnothing went wrong on 1 other connection (--histories shows all)\n"), "{told}");
        let all = printed(&[&good, &bad], true);
        assert!(all.find("keepalive-timeout") < all.find("peer-close"), "{all}");
        let many = vec![&bad; 12];
        assert!(printed(&many, false).ends_with("\n2 more like these (--histories shows all)\n"));
    }

    #[test]
    fn the_summary_is_the_same_bytes_in_whatever_order_the_histories_lie() {
        let known = samples::probe().body.connection().unwrap().clone();
        let mut histories: Vec<History> = (0..60)
            .map(|number| {
                let mut history = History::begin(&Connection { id: ConnId(number), ..known.clone() }, 7);
                let events = [samples::probe(), samples::end()];
                events.iter().take(number as usize % 3).for_each(|event| history.apply(event));
                history
            })
            .collect();
        let mut told = |all| {
            histories.reverse();
            printed(&histories.iter().collect::<Vec<_>>(), all)
        };
        for all in [true, false] {
            assert_eq!(told(all), told(all));
        }
        assert!(told(false).ends_with("\n30 more like these (--histories shows all)\n"), "{}", told(false));
    }
}
