//! Reading what test programs print: libtest, and what follows its example.
use std::{
    collections::BTreeMap,
    ops::{Add, AddAssign},
};

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// What one test program has said so far.
#[derive(Debug, Default)]
pub struct Suite {
    pub outcomes: BTreeMap<String, Outcome>,
    /// Why tests were skipped.
    pub reasons: BTreeMap<String, String>,
    /// The part that tells of the failures.
    pub failures: Vec<String>,
    /// The program's own count: it is there only when the program came to its end.
    pub result: Option<Counts>,
    /// What the program complained of apart from its tests.
    pub error: Option<String>,
    running: Option<String>,
    in_failures: bool,
}

impl Suite {
    /// Takes the next line; gives the name of the test that ended with it.
    pub fn line(&mut self, text: &str) -> Option<String> {
        let text = text.trim_end();
        if let Some(counts) = result(text) {
            self.result = Some(self.result.unwrap_or_default() + counts);
            self.in_failures = false;
            return None;
        }
        if let Some(error) = text.strip_prefix("error: ") {
            self.error = Some(error.to_owned());
            return None;
        }
        if text == "failures:" {
            self.in_failures = true;
        }
        if self.in_failures {
            self.failures.push(text.to_owned());
            return None;
        }
        if let Some((name, reason)) = skip(text) {
            self.reasons.insert(name.to_owned(), reason.to_owned());
        }
        let said = match test(text) {
            Some((name, said)) => {
                self.running = Some(name.to_owned());
                said
            }
            None => text,
        };
        // What a test prints comes between its name and its outcome.
        let (outcome, reason) = outcome(said)?;
        let name = self.running.take()?;
        if let Some(reason) = reason {
            self.reasons.insert(name.clone(), reason.to_owned());
        }
        self.outcomes.insert(name.clone(), outcome);
        Some(name)
    }

    /// The names of the failed tests.
    pub fn failed(&self) -> Vec<&str> {
        let failed = self.outcomes.iter().filter(|(_, outcome)| **outcome == Outcome::Failed);
        failed.map(|(name, _)| name.as_str()).collect()
    }

    /// What a failed test complained of, on one line, as far as there is room.
    pub fn why(&self, name: &str) -> String {
        const ROOM: usize = 1000;
        let heads = [format!("---- {name} ----"), format!("---- {name} stdout ----")];
        let told = self.failures.iter().skip_while(|line| !heads.contains(line)).skip(1);
        let told = told.take_while(|line| !line.starts_with("---- ") && *line != "failures:").map(|line| line.trim());
        told.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ").chars().take(ROOM).collect()
    }

    /// The names of the skipped tests, and why they were.
    pub fn skips(&self) -> impl Iterator<Item = (&str, &str)> {
        let skipped = self.outcomes.iter().filter(|(_, outcome)| **outcome == Outcome::Skipped);
        skipped.map(|(name, _)| (name.as_str(), self.reasons.get(name).map_or("it gave no reason", String::as_str)))
    }

    /// The test that has begun and not ended.
    pub fn running(&self) -> Option<&str> {
        self.running.as_deref()
    }

    /// Counts the tests whose names begin so.
    pub fn counts(&self, prefix: &str) -> Counts {
        let outcomes = self.outcomes.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, outcome)| *outcome);
        outcomes.map(Counts::from).fold(Counts::default(), Counts::add)
    }
}

impl From<Outcome> for Counts {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self { passed: 1, ..Self::default() },
            Outcome::Failed => Self { failed: 1, ..Self::default() },
            Outcome::Skipped => Self { skipped: 1, ..Self::default() },
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let Self { passed, failed, skipped } = other;
        Self { passed: self.passed + passed, failed: self.failed + failed, skipped: self.skipped + skipped }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; ...`
pub fn result(text: &str) -> Option<Counts> {
    let (_, numbers) = text.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let part = numbers.split("; ").find_map(|part| part.trim().strip_suffix(what));
        part.and_then(|number| number.trim().parse().ok())
    };
    Some(Counts { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

/// `test NAME ... said`
fn test(text: &str) -> Option<(&str, &str)> {
    let (name, said) = text.strip_prefix("test ")?.split_once(" ...")?;
    Some((name.trim(), said.trim()))
}

/// `skip NAME: reason`, which may stand behind the test's name.
fn skip(text: &str) -> Option<(&str, &str)> {
    let said = text.strip_prefix("skip ").or_else(|| test(text)?.1.strip_prefix("skip "))?;
    said.split_once(": ")
}

/// `ok`, `FAILED`, `ignored`, `ignored, reason` or `ignored (reason)`
fn outcome(said: &str) -> Option<(Outcome, Option<&str>)> {
    match said {
        "ok" => return Some((Outcome::Passed, None)),
        "FAILED" => return Some((Outcome::Failed, None)),
        _ => {}
    }
    let reason = said.strip_prefix("ignored")?;
    let inner = reason.strip_prefix(", ").or_else(|| reason.strip_prefix(" (")?.strip_suffix(')'));
    (reason.is_empty() || inner.is_some()).then_some((Outcome::Skipped, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Suite {
        let mut suite = Suite::default();
        for line in lines.lines() {
            suite.line(line);
        }
        suite
    }

    const MIXED: &str = "running 4 tests
test kprobe::a_deaf_peer     ... ok
test kprobe::reset_reasons   ... skip kprobe::reset_reasons: this kernel has none
ignored
test fentry::a_deaf_peer     ... FAILED
test fentry::reset_reasons   ... ignored (this kernel has none)

failures:

---- fentry::a_deaf_peer ----
test of nerves ... ok

test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 3.21s
";

    #[test]
    fn outcomes_are_counted_by_attach_mode() {
        let suite = read(MIXED);
        assert_eq!(suite.counts("kprobe::"), Counts { passed: 1, failed: 0, skipped: 1 });
        assert_eq!(suite.counts("fentry::"), Counts { passed: 0, failed: 1, skipped: 1 });
        assert_eq!(suite.result, Some(suite.counts("")));
        assert_eq!(suite.reasons["kprobe::reset_reasons"], "this kernel has none");
        assert_eq!(suite.reasons["fentry::reset_reasons"], "this kernel has none");
        assert_eq!(suite.why("fentry::a_deaf_peer"), "test of nerves ... ok");
    }

    #[test]
    fn what_a_test_prints_does_not_hide_its_outcome() {
        let suite = read("test kprobe::chatty ... one\nignored by nobody\ntwo\nok\n");
        assert_eq!(suite.counts(""), Counts { passed: 1, failed: 0, skipped: 0 });
    }

    #[test]
    fn a_program_that_was_cut_off_has_no_result() {
        assert_eq!(read("running 2 tests\ntest kprobe::one ... ok\ntest kprobe::two ... ").result, None);
    }
}
