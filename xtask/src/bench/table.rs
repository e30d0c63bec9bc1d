//! Tables in Markdown, which are readable on a terminal, too.
use std::{collections::BTreeMap, fmt};

use super::{
    figures::{Figures, HERE, Place},
    goals::amount,
};

pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: Vec<String>) -> Self {
        Self { head, rows: Vec::new() }
    }

    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| all().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        for (number, row) in all().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(out, "| {cell:<width$} ")?;
            }
            writeln!(out, "|")?;
            if number == 0 {
                for width in &widths {
                    write!(out, "|{}", "-".repeat(width + 2))?;
                }
                writeln!(out, "|")?;
            }
        }
        Ok(())
    }
}

/// What the kernel part measures: the column of a figure, and its heading.
const COLUMNS: [(&str, &str); 10] = [
    ("ratio", "connections/s"),
    ("connection", "a connection"),
    ("close", "`close()`"),
    ("record", "a record of it"),
    ("tool", "tool, a record"),
    ("run", "a timer run"),
    ("tool, run", "tool, a timer run"),
    ("start", "start, M"),
    ("memory at rest", "at rest, MB"),
    ("peak memory", "peak, MB"),
];

/// Rows of the README's table.
const HEADLINE: [&str; 8] =
    ["trace", "trace --all", "record", "record --all", "tcpdump -w", "tcplife", "tcpstates", "bpftrace, states"];

/// The kernel part's figures, a line for each row that has one of these columns; then why others are missing.
pub fn kernel(figures: &Figures) -> String {
    let mut head = vec![String::new()];
    head.extend(COLUMNS.map(|(_, heading)| heading.to_owned()));
    let mut table = Table::new(head);
    for row in figures.rows() {
        let values = COLUMNS.map(|(column, _)| figures.get(row, column));
        if values.iter().all(Option::is_none) {
            continue;
        }
        let mut cells = vec![row.to_owned()];
        let cell = |(place, value): (usize, Option<f64>)| value.map_or(String::new(), |value| shown(COLUMNS[place].0, value));
        cells.extend(values.into_iter().enumerate().map(cell));
        table.push(cells);
    }
    let mut text = table.to_string();
    for (row, why) in figures.notes().filter(|(row, _)| *row != super::KERNEL) {
        text.push_str(&format!("\n{row}: {why}\n"));
    }
    text
}

/// Connections a second beside each tracer, on each kernel: what a reader wants to know first.
pub fn headline(all: &BTreeMap<Place, Figures>) -> Table {
    let kernels: Vec<(&Place, &Figures)> = all.iter().filter(|(place, _)| *place != HERE).collect();
    let mut head = vec![String::new()];
    head.extend(kernels.iter().map(|(place, _)| format!("connections/s on {place}")));
    let mut table = Table::new(head);
    for tracer in HEADLINE {
        let cells: Vec<String> = kernels.iter().map(|(_, figures)| ratios(figures, tracer)).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.push([vec![format!("`{tracer}`")], cells].concat());
        }
    }
    table
}

/// Of a peer, one figure; of this tracer, one for each way to attach.
fn ratios(figures: &Figures, tracer: &str) -> String {
    let ratio = |row: &str| figures.get(row, "ratio");
    if let Some(ratio) = ratio(tracer) {
        return format!("{ratio:.2}");
    }
    let ways = ["kprobe", "fentry"].map(|attach| Some(format!("{:.2} ({attach})", ratio(&format!("{tracer}, {attach}"))?)));
    ways.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn shown(column: &str, value: f64) -> String {
    match column {
        "ratio" => format!("{value:.3}"),
        "start" | "memory at rest" | "peak memory" => format!("{value:.1}"),
        // Instructions.
        _ => amount(value.round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells() {
        let mut table = Table::new(vec!["#".to_owned(), "what".to_owned()]);
        table.push(vec!["1".to_owned(), "a long one".to_owned()]);
        assert_eq!(table.to_string(), "| #   | what       |\n|-----|------------|\n| 1   | a long one |\n");
    }

    #[test]
    fn rows_without_a_known_column_have_no_line() {
        let mut figures = Figures::default();
        figures.set("no tracer", "connection", 105_511.8);
        figures.set("records, kprobe", "per reset", 4.0);
        figures.note("tcplife", "it ended");
        let text = kernel(&figures);
        assert!(text.contains("105,512") && !text.contains("records") && text.ends_with("\ntcplife: it ended\n"), "{text}");
    }
}
