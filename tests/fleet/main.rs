//! Recordings of many hosts, queried where people do that: the commands of `docs/fleet.md` run, and everybody counts the same.
//!
//! The tools come from the environment, where `cargo xtask test` puts them.
#![expect(clippy::print_stdout, reason = "a test harness reports to whoever started it")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::fleet::{self, Pace, Plan};
use libtest_mimic::{Arguments, Trial};

const PYTHON: &str = "FLEET_PYTHON";
const TRACER: &str = "KEEPALIVE_TRACE";
const DOCUMENT: &str = include_str!("../../docs/fleet.md");
const HOSTS: [&str; 3] = ["web-1", "web-2", "db-1"];

/// Runs SQL of either kind; `\` in a name is no escape here, since the text comes as an argument.
const DUCKDB: &str = "import duckdb, sys; duckdb.sql(sys.argv[1]).show()";
const CLICKHOUSE: &str = "import chdb, sys; print(chdb.query(sys.argv[1], 'PrettyCompact'))";

/// Counts the ends by verdict, in each way that there is.
const COUNTS: &str = r#"
import collections, glob, json
import chdb, duckdb, pyarrow as pa, pyarrow.parquet as pq

def ends(table):
    rows = zip(table["event"].to_pylist(), table["verdict"].to_pylist())
    return dict(collections.Counter(verdict for event, verdict in rows if event == "end"))

streams = collections.Counter()
for file in glob.glob("*.arrows"):
    with pa.OSFile(file) as source, pa.ipc.open_stream(source) as stream:
        streams.update(ends(stream.read_all().select(["event", "verdict"])))
query = "SELECT verdict, count(*) AS n FROM {} WHERE {} GROUP BY verdict"
events = query.format("'events.parquet'", "event = 'end'")
histories = query.format("'histories.parquet'", "verdict IS NOT NULL")
clickhouse = query.format("file('*.arrows', ArrowStream)", "event = 'end'")
lines = str(chdb.query(clickhouse, "JSONEachRow")).splitlines()
print(json.dumps({
    "pyarrow, of the streams": dict(streams),
    "pyarrow, of the export": ends(pq.read_table("events.parquet")),
    "DuckDB, of the events": dict(duckdb.sql(events).fetchall()),
    "DuckDB, of the histories": dict(duckdb.sql(histories).fetchall()),
    "ClickHouse, of the streams": {row["verdict"]: int(row["n"]) for row in map(json.loads, lines)},
}))
"#;

type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tools = Tools::given();
    if tools.is_none() {
        println!("skip fleet: these tests want {PYTHON} and {TRACER} (cargo xtask test brings them)");
    }
    let trial = |name: &str, run: fn(&Tools) -> Result<()>| {
        let tools = tools.clone();
        let skipped = tools.is_none();
        let told = move || tools.as_ref().map_or(Ok(()), run).map_err(|error| format!("{error:#}").into());
        Trial::test(name, told).with_ignored_flag(skipped)
    };
    let trials = vec![
        trial("every_command_of_the_document_runs_and_everybody_counts_the_same", |tools| tools.ask("plain", false)),
        trial("names_that_mean_harm_change_no_count_and_no_command", |tools| tools.ask("hostile", true)),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

#[derive(Clone)]
struct Tools {
    python: PathBuf,
    tracer: PathBuf,
}

impl Tools {
    fn given() -> Option<Self> {
        Some(Self { python: env::var_os(PYTHON)?.into(), tracer: env::var_os(TRACER)?.into() })
    }

    fn ask(&self, name: &str, hostile: bool) -> Result<()> {
        let folder = Folder::new(name)?;
        for (seed, host) in (1..).zip(HOSTS) {
            let plan = Plan { seed, host: host.to_owned(), connections: 300, events: 20_000, hostile };
            // One of them is a quiet host, whose batches were replaced.
            let pace = if seed == 3 { Pace::Every(Duration::from_millis(800)) } else { Pace::Full };
            fleet::record_at(plan, &folder.0.join(format!("{host}.arrows")), pace)?;
        }
        let blocks = blocks(DOCUMENT);
        ensure!(blocks.len() >= 8, "{} commands in the document", blocks.len());
        for (language, text) in blocks {
            let said = self.run(&folder.0, language, text)?;
            ensure!(!said.trim().is_empty(), "nothing came of\n{text}");
        }
        let report = self.run(&folder.0, "sh", "keepalive-trace report --json *.arrows")?;
        let wanted = verdicts(&report).context("the report has no verdicts")?;
        ensure!(wanted.len() > 8 && wanted.values().sum::<u64>() > 100, "too few ends to be sure: {wanted:?}");
        let counted: BTreeMap<String, Counts> = serde_json::from_str(&self.run(&folder.0, "python", COUNTS)?)?;
        ensure!(counted.len() == 5, "{counted:?}");
        for (who, counts) in counted {
            ensure!(counts == wanted, "{who}: {counts:?}, the report: {wanted:?}");
        }
        Ok(())
    }

    /// What came of it, in this folder.
    fn run(&self, folder: &Path, language: &str, text: &str) -> Result<String> {
        let python = |script: &str, argument: Option<&str>| {
            let mut command = Command::new(&self.python);
            command.args(["-c", script]).args(argument);
            command
        };
        let mut command = match language {
            "sh" => {
                let mut command = Command::new("sh");
                command.args(["-euxc", text]);
                command
            }
            "python" => python(text, None),
            "sql" if text.starts_with("-- DuckDB") => python(DUCKDB, Some(text)),
            "sql" => python(CLICKHOUSE, Some(text)),
            _ => anyhow::bail!("nobody knows how to run {language}"),
        };
        let given = env::var_os("PATH").unwrap_or_default();
        let ours = self.tracer.parent().map(Path::to_owned);
        let path = env::join_paths(ours.into_iter().chain(env::split_paths(&given)))?;
        let output = command.current_dir(folder).env("PATH", path).stdin(Stdio::null()).output().context("cannot run it")?;
        let [said, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ensure!(output.status.success(), "{}: {errors}\nof\n{text}", output.status);
        Ok(if language == "sh" && said.is_empty() { errors } else { said })
    }
}

/// How many connections ended how, by a report's last line.
fn verdicts(report: &str) -> Option<Counts> {
    let last: serde_json::Value = serde_json::from_str(report.lines().last()?).ok()?;
    serde_json::from_value(last.get("verdicts")?.clone()).ok()
}

/// The fenced blocks with their languages.
fn blocks(document: &str) -> Vec<(&str, &str)> {
    let fenced = document.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).filter(|(language, _)| !language.is_empty()).collect()
}

/// A folder of a test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("keepalive-trace-fleet-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in the folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}
