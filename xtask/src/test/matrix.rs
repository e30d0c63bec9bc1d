//! The table at the end: every kernel, every way to attach.
use std::collections::BTreeMap;

use super::{
    libtest::Counts,
    live::{ATTACH, Run, SERVERS, SMP},
};

pub fn text(runs: &[Run]) -> String {
    let mut rows = vec![["kernel", "attach", "passed", "failed", "skipped", "seconds"].map(str::to_owned)];
    let mut absent = String::new();
    for run in runs {
        match &run.kernel {
            Ok(kernel) => {
                let is_tried = |attach: &str| ![SMP, SERVERS].contains(&attach) || run.counts_of(attach) != Counts::default();
                let tried = ATTACH.into_iter().filter(|attach| is_tried(attach));
                rows.extend(tried.map(|attach| row(run, kernel.full_version(), attach)));
            }
            Err(error) => absent.push_str(&format!("kernel {} did not run: {error:#}\n", run.series)),
        }
    }
    let mut text = String::from("\n");
    for [kernel, attach, numbers @ ..] in &rows {
        text.push_str(&format!("{kernel:<10} {attach:<7}"));
        text.extend(numbers.iter().map(|number| format!(" {number:>8}")));
        text.push('\n');
    }
    text + &absent + &reasons(runs)
}

fn row(run: &Run, version: &str, attach: &str) -> [String; 6] {
    let Counts { passed, failed, skipped } = run.counts_of(&format!("{attach}::"));
    let time = run.time_of(attach);
    let numbers = [passed, failed, skipped].map(|number| number.to_string());
    let [passed, failed, skipped] = numbers;
    [version.to_owned(), attach.to_owned(), passed, failed, skipped, format!("{:.1}", time.as_secs_f64())]
}

/// Each skipped test with its reason once, and the kernels that skip it.
fn reasons(runs: &[Run]) -> String {
    let mut skips: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for run in runs {
        for skip in run.skips() {
            skips.entry(skip).or_default().push(&run.series);
        }
    }
    skips.iter().map(|((name, reason), series)| format!("skipped {name} on {}: {reason}\n", series.join(", "))).collect()
}
