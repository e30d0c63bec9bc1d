//! What the bench's programs report, line by line; and the last of it, which the repository keeps.
use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use crate::workspace;

/// The words with which such lines begin. `tests/bench/figure.rs` has the same.
const FIGURE: &str = "figure";
const NOTE: &str = "note";

/// Where the last figures are kept, a file for each place. Their lines are those of the programs.
const KEPT: &str = "tests/bench/last";

/// Where figures were measured: a kernel's series, or this machine, which is [`HERE`].
pub type Place = String;
pub const HERE: &str = "here";

/// The figures of one place.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// By row and column, in the order in which they came.
    values: Vec<(String, String, f64)>,
    /// Of a row: why it, or a part of it, was not measured.
    notes: Vec<(String, String)>,
}

impl Figures {
    /// Takes a line, if it is one of a figure or of a note.
    pub fn take(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.splitn(4, '|').map(str::trim).collect();
        match words[..] {
            [FIGURE, row, column, value] => {
                let Ok(value) = value.parse() else { return false };
                self.set(row, column, value);
            }
            [NOTE, row, ref why @ ..] if !why.is_empty() => self.note(row, &why.join(" | ")),
            _ => return false,
        }
        true
    }

    pub fn set(&mut self, row: &str, column: &str, value: f64) {
        self.values.retain(|(has_row, has_column, _)| (has_row.as_str(), has_column.as_str()) != (row, column));
        self.values.push((row.to_owned(), column.to_owned(), value));
    }

    pub fn note(&mut self, row: &str, why: &str) {
        self.notes.retain(|(has_row, has_why)| (has_row.as_str(), has_why.as_str()) != (row, why));
        self.notes.push((row.to_owned(), why.to_owned()));
    }

    pub fn get(&self, row: &str, column: &str) -> Option<f64> {
        let found = self.values.iter().find(|(has_row, has_column, _)| (has_row.as_str(), has_column.as_str()) == (row, column));
        found.map(|(_, _, value)| *value)
    }

    /// Every row once.
    pub fn rows(&self) -> Vec<&str> {
        let mut rows: Vec<&str> = Vec::new();
        for (row, ..) in &self.values {
            if !rows.contains(&row.as_str()) {
                rows.push(row);
            }
        }
        rows
    }

    pub fn notes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.notes.iter().map(|(row, why)| (row.as_str(), why.as_str()))
    }

    /// Puts newer figures over these. A row that was measured again is replaced as a whole.
    fn renew(&mut self, newer: &Self) {
        let rows: Vec<&str> = newer.rows().into_iter().chain(newer.notes().map(|(row, _)| row)).collect();
        self.values.retain(|(row, ..)| !rows.contains(&row.as_str()));
        self.notes.retain(|(row, _)| !rows.contains(&row.as_str()));
        self.values.extend(newer.values.iter().cloned());
        self.notes.extend(newer.notes.iter().cloned());
    }

    fn text(&self) -> String {
        let values = self.values.iter().map(|(row, column, value)| format!("{FIGURE} | {row} | {column} | {value:.4}\n"));
        let notes = self.notes.iter().map(|(row, why)| format!("{NOTE} | {row} | {why}\n"));
        values.chain(notes).collect()
    }
}

/// What was kept last.
pub fn kept() -> Result<BTreeMap<Place, Figures>> {
    let folder = workspace::root().join(KEPT);
    let mut all = BTreeMap::new();
    if !folder.exists() {
        return Ok(all);
    }
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let Some(place) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".txt")) else { continue };
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let figures: &mut Figures = all.entry(place.to_owned()).or_default();
        for line in text.lines() {
            figures.take(line);
        }
    }
    Ok(all)
}

/// Keeps these beside those of other parts. Gives all that are kept.
pub fn keep(new: &BTreeMap<Place, Figures>) -> Result<BTreeMap<Place, Figures>> {
    let mut all = kept()?;
    let folder = workspace::folder(workspace::root().join(KEPT))?;
    for (place, figures) in new {
        let kept = all.entry(place.clone()).or_default();
        kept.renew(figures);
        let path = folder.join(format!("{place}.txt"));
        fs::write(&path, kept.text()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_written() {
        let text = "figure | trace, kprobe | ratio | 0.6731\nnote | tcplife | it ended: a | b\n";
        let mut figures = Figures::default();
        assert!(text.lines().all(|line| figures.take(line)));
        assert_eq!(figures.get("trace, kprobe", "ratio"), Some(0.6731));
        assert_eq!(figures.text(), text);
        assert!(!figures.take("kernel 6.1.192"));
        assert!(!figures.take("figure | trace, kprobe | ratio | none"));
    }

    #[test]
    fn a_row_that_was_measured_again_is_replaced_and_others_stay() {
        let mut old = Figures::default();
        old.set("report", "seconds", 3.0);
        old.set("crowd", "MB", 248.0);
        let mut new = Figures::default();
        new.note("report", "no disk");
        old.renew(&new);
        assert_eq!(old.rows(), ["crowd"]);
        assert_eq!(old.notes().collect::<Vec<_>>(), [("report", "no disk")]);
    }
}
