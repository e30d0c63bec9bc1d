//! The documents that show the bench's figures: their tables stand between two marks, and are written anew from a run.
use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use super::{
    figures::{Figures, HERE, Place},
    goals::{self, Met},
    table,
};
use crate::workspace;

/// The document, and the mark of what belongs there.
const README: &str = "README.md";
const PERFORMANCE: &str = "docs/performance.md";

/// Writes all tables anew.
pub fn write(all: &BTreeMap<Place, Figures>, met: &Met) -> Result<()> {
    let mut kernels = String::new();
    for (place, figures) in all.iter().filter(|(place, _)| *place != HERE) {
        kernels.push_str(&format!("### {}\n\n{}\n", title(place, figures), table::kernel(figures)));
    }
    replace(PERFORMANCE, "goals", &goals::table(all, met).to_string())?;
    replace(PERFORMANCE, "kernels", kernels.trim_end())?;
    replace(README, "cost", &table::headline(all).to_string())
}

/// Of which kernel the figures are.
pub fn title(place: &str, figures: &Figures) -> String {
    let version = figures.notes().find(|(row, _)| *row == super::KERNEL).map_or(place, |(_, version)| version);
    format!("Linux {version}")
}

fn replace(file: &str, mark: &str, table: &str) -> Result<()> {
    let path = workspace::root().join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let replaced = between(&text, mark, table).with_context(|| format!("{file} has no place for its table `{mark}`"))?;
    fs::write(&path, replaced).with_context(|| format!("cannot write {}", path.display()))
}

/// The text with the table between its marks.
fn between(text: &str, mark: &str, table: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- bench {mark}: begin -->\n"), format!("<!-- bench {mark}: end -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", table.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_replaces_only_what_is_between_its_marks() {
        let text = "one\n<!-- bench cost: begin -->\nold\n<!-- bench cost: end -->\ntwo\n";
        let new = between(text, "cost", "| new |\n").unwrap();
        assert_eq!(new, "one\n<!-- bench cost: begin -->\n\n| new |\n\n<!-- bench cost: end -->\ntwo\n");
        assert_eq!(between(&new, "cost", "| new |\n").unwrap(), new);
        assert_eq!(between(text, "goals", ""), None);
    }

    #[test]
    fn the_documents_have_a_place_for_every_table() {
        for (file, mark) in [(PERFORMANCE, "goals"), (PERFORMANCE, "kernels"), (README, "cost")] {
            let text = fs::read_to_string(workspace::root().join(file)).unwrap();
            assert!(between(&text, mark, "").is_some(), "{file} has no place for `{mark}`");
        }
    }
}
