//! Figures, one a line: `cargo xtask bench` makes tables and goals of them.

/// What such a line begins with. `xtask/src/bench/figures.rs` has the same word.
const MARK: &str = "figure";
/// Likewise, for a row that has no figures, and why.
const NOTE: &str = "note";

/// Reports one figure: in which row and which column it belongs. Neither has `|` in it.
pub fn figure(row: &str, column: &str, value: f64) {
    println!("{MARK} | {row} | {column} | {value}");
}

/// Reports why a row, or a part of it, was not measured.
pub fn note(row: &str, why: &str) {
    println!("{NOTE} | {row} | {}", why.split_whitespace().collect::<Vec<_>>().join(" "));
}
