//! The report's page in a real browser: nothing is fetched, nothing is complained of, it sorts and filters, and it is all there
//! without a script.
mod browser;
mod stories;

use std::{
    env, fs,
    io::BufWriter,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use browser::{Browser, Tab};
use keepalive_trace::{model::report::Report, output};
use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};

/// Names a folder that pictures of the page are written to.
const PICTURES: &str = "KEEPALIVE_TRACE_PICTURES";
const DESKTOP: u32 = 1280;
const PHONE: u32 = 390;

struct Desk {
    browser: Browser,
    folder: PathBuf,
}

type Check = fn(&Desk) -> Result<()>;

const TESTS: [(&str, Check); 7] = [
    ("nothing_is_fetched_and_nothing_complained_of", nothing_is_fetched_and_nothing_complained_of),
    ("a_click_on_a_header_sorts_and_says_so", a_click_on_a_header_sorts_and_says_so),
    ("words_and_verdicts_filter", words_and_verdicts_filter),
    ("without_a_script_all_is_there_and_no_control", without_a_script_all_is_there_and_no_control),
    ("nothing_from_outside_becomes_markup", nothing_from_outside_becomes_markup),
    ("no_width_makes_it_scroll_sideways", no_width_makes_it_scroll_sideways),
    ("ten_thousand_histories_open_and_sort_in_seconds", ten_thousand_histories_open_and_sort_in_seconds),
];

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a test harness reports to whoever started it")]
fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let program = browser::found();
    if program.is_none() {
        println!("skip page: no browser (CHROMIUM names one, else there must be `chromium` on the path)");
    }
    let folder = env::temp_dir().join(format!("keepalive-trace-page-{}", std::process::id()));
    let desk: Arc<Mutex<Option<Desk>>> = Arc::default();
    if let Some(program) = program.as_ref().filter(|_| !arguments.list) {
        match Browser::start(program, &folder) {
            Ok(browser) => *lock(&desk) = Some(Desk { browser, folder: folder.clone() }),
            Err(error) => {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    let trials = TESTS.map(|(name, check)| {
        let desk = Arc::clone(&desk);
        let told = move || lock(&desk).as_ref().context("no browser").and_then(check);
        Trial::test(name, move || told().map_err(|error| format!("{error:#}").into())).with_ignored_flag(program.is_none())
    });
    let code = libtest_mimic::run(&arguments, trials.into()).exit_code();
    // The browser ends before its folder goes.
    drop(lock(&desk).take());
    if let Err(error) = fs::remove_dir_all(&folder).or_else(ignore_missing) {
        eprintln!("cannot remove {}: {error}", folder.display());
    }
    code
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

impl Desk {
    /// Writes the report's page to a file.
    fn write(&self, report: &Report) -> Result<PathBuf> {
        let path = self.folder.join("report.html");
        let mut file = BufWriter::new(fs::File::create(&path)?);
        output::page(report, &mut file)?;
        file.into_inner().map_err(|error| anyhow!("{error}"))?;
        Ok(path)
    }

    /// The report, opened in a tab of its own.
    fn open(&self, report: &Report, width: u32) -> Result<Tab<'_>> {
        let file = self.write(report)?;
        let tab = self.browser.tab()?;
        tab.resize(width, 900, false)?;
        tab.open(&file)?;
        Ok(tab)
    }
}

fn expect(tab: &Tab<'_>, expression: &str, expected: &Value) -> Result<()> {
    let value = tab.value(expression)?;
    ensure!(value == *expected, "{expression} is {value}, not {expected}");
    Ok(())
}

fn is_quiet(tab: &Tab<'_>) -> Result<()> {
    let complaints = tab.complaints();
    ensure!(complaints.is_empty(), "{complaints:?}");
    Ok(())
}

fn nothing_is_fetched_and_nothing_complained_of(desk: &Desk) -> Result<()> {
    let tab = desk.open(&stories::of_everything(), DESKTOP)?;
    expect(&tab, "performance.getEntriesByType('resource').length", &json!(0))?;
    expect(&tab, "document.querySelectorAll('tbody').length", &json!(12))?;
    expect(&tab, "document.querySelector('.find').hidden", &json!(false))?;
    is_quiet(&tab)?;
    for (width, dark, name) in [(DESKTOP, false, "desktop"), (PHONE, true, "phone")] {
        picture(&tab, width, dark, &format!("report-{name}.png"))?;
    }
    Ok(())
}

/// Where somebody asked for pictures.
fn picture(tab: &Tab<'_>, width: u32, dark: bool, name: &str) -> Result<()> {
    let Some(folder) = env::var_os(PICTURES) else { return Ok(()) };
    tab.resize(width, if width < 600 { 1700 } else { 1080 }, dark)?;
    // So that there is room for histories.
    tab.value("document.querySelector('.legend').open = false; document.querySelector('tbody details').open = true")?;
    fs::write(Path::new(&folder).join(name), STANDARD.decode(tab.picture()?)?).context("cannot write the picture")
}

const ORDER: &str = "[...document.querySelectorAll('tbody')].map(row => row.dataset.k.split(' '))";

fn a_click_on_a_header_sorts_and_says_so(desk: &Desk) -> Result<()> {
    let tab = desk.open(&stories::of_everything(), DESKTOP)?;
    let sorted = |column: usize, sign: i32| {
        format!("{ORDER}.every((k, i, all) => !i || {sign} * (k[{column}] - all[i - 1][{column}]) >= 0)")
    };
    let click = |class: &str| tab.value(&format!("document.querySelector('th.{class} button').click()"));
    let said = |class: &str| format!("document.querySelector('th.{class}').getAttribute('aria-sort')");
    expect(&tab, &sorted(0, 1), &json!(true))?;
    click("c-sent")?;
    expect(&tab, &sorted(3, -1), &json!(true))?;
    expect(&tab, &said("c-sent"), &json!("descending"))?;
    click("c-sent")?;
    expect(&tab, &sorted(3, 1), &json!(true))?;
    click("c-owner")?;
    expect(&tab, "document.querySelector('tbody .c-owner').textContent", &json!("curl[2741]"))?;
    expect(&tab, &said("c-owner"), &json!("ascending"))?;
    expect(&tab, &said("c-sent"), &Value::Null)?;
    tab.value("document.querySelector('.find button').click(); new Promise(done => setTimeout(done, 100))")?;
    expect(&tab, &sorted(0, 1), &json!(true))?;
    is_quiet(&tab)
}

const SHOWN: &str = "document.querySelectorAll('tbody:not([hidden])').length";

fn words_and_verdicts_filter(desk: &Desk) -> Result<()> {
    let tab = desk.open(&stories::of_everything(), DESKTOP)?;
    let filter = |words: &str| {
        tab.value(&format!(
            "(() => {{ const field = document.querySelector('.find input'); field.value = {words:?};
             field.dispatchEvent(new Event('input')); return new Promise(done => setTimeout(done, 400)); }})()"
        ))
    };
    expect(&tab, SHOWN, &json!(12))?;
    filter("POSTGRES 5432")?;
    expect(&tab, SHOWN, &json!(2))?;
    expect(&tab, "document.querySelector('.shown').textContent", &json!("2 of 12 shown"))?;
    tab.value("document.querySelector('.ends input[value=keepalive-timeout]').click()")?;
    expect(&tab, SHOWN, &json!(1))?;
    filter("no such words")?;
    expect(
        &tab,
        "[document.querySelector('.none').hidden, document.querySelectorAll('tbody:not([hidden])').length]",
        &json!([false, 0]),
    )?;
    tab.value("document.querySelector('.find button').click(); new Promise(done => setTimeout(done, 100))")?;
    expect(&tab, SHOWN, &json!(12))?;
    is_quiet(&tab)
}

fn without_a_script_all_is_there_and_no_control(desk: &Desk) -> Result<()> {
    let file = desk.write(&stories::of_everything())?;
    let tab = desk.browser.tab()?;
    tab.resize(DESKTOP, 900, false)?;
    tab.ask("Emulation.setScriptExecutionDisabled", json!({ "value": true }))?;
    tab.open(&file)?;
    for words in [
        "keepalive-timeout",
        "3 of 3 keepalive probes went unanswered",
        "10.4.1.17:51334",
        "web3",
        "incomplete: web3.kat has no end",
    ] {
        // Rows below the screen are not drawn, which `innerText` takes for not being there.
        let shown = format!(
            "(() => {{ const has = it => it.textContent.includes({words:?});
             return [...document.querySelectorAll('body *:not(script)')]
               .some(it => has(it) && ![...it.children].some(has) && it.checkVisibility()); }})()"
        );
        ensure!(tab.value(&shown)? == json!(true), "`{words}` is not shown");
    }
    expect(&tab, SHOWN, &json!(12))?;
    expect(&tab, "[...document.querySelectorAll('button, input')].filter(it => it.checkVisibility()).length", &json!(0))?;
    is_quiet(&tab)
}

fn nothing_from_outside_becomes_markup(desk: &Desk) -> Result<()> {
    let tab = desk.open(&stories::hostile(), DESKTOP)?;
    expect(&tab, "document.scripts.length", &json!(1))?;
    expect(&tab, "document.querySelectorAll('img, b[onclick], [onload]').length", &json!(0))?;
    let owners = tab.value("[...document.querySelectorAll('.c-owner')].map(cell => cell.textContent).slice(1).sort()")?;
    let crabs = "\u{1f980}".repeat(3) + "\u{fffd}";
    let expected = json!(["<script>alert(1[7]", "\\u{1b}[31mred\\u{9b}0m[7]", "a\\u{202e}txt.exe[7]", format!("{crabs}[7]")]);
    ensure!(owners == expected, "{owners}");
    is_quiet(&tab)
}

fn no_width_makes_it_scroll_sideways(desk: &Desk) -> Result<()> {
    let tab = desk.open(&stories::of_everything(), DESKTOP)?;
    for width in [320, PHONE, 768, 1024, DESKTOP, 1920] {
        tab.resize(width, 900, false)?;
        tab.value("document.querySelectorAll('details').forEach(it => { it.open = true; })")?;
        let over = tab.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")?;
        ensure!(over == json!(0), "{over} pixels too wide at {width}");
    }
    is_quiet(&tab)
}

#[expect(clippy::print_stdout, reason = "figures for whoever reads the test's output")]
fn ten_thousand_histories_open_and_sort_in_seconds(desk: &Desk) -> Result<()> {
    let file = desk.write(&stories::many(10_000))?;
    let bytes = fs::metadata(&file)?.len();
    let tab = desk.browser.tab()?;
    tab.resize(DESKTOP, 900, false)?;
    let load = tab.open(&file)?;
    expect(&tab, SHOWN, &json!(10_000))?;
    let timed = |what: &str| {
        let settled = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))";
        tab.value(&format!("(async () => {{ const t = performance.now(); {what}; await {settled}; return Math.round(performance.now() - t); }})()"))
    };
    let painted = tab.value("Math.round(performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1)")?;
    let sort = timed("document.querySelector('th.c-sent button').click()")?;
    let filter = timed("document.querySelector('.ends input').click()")?;
    let nodes = tab.value("document.querySelectorAll('*').length")?;
    println!(
        "10,000 histories: {bytes} bytes, {nodes} elements, load {load:?}, first paint {painted} ms, sort {sort} ms, filter {filter} ms"
    );
    ensure!(load.as_secs() < 60, "it took {load:?}");
    ensure!(bytes < 40_000_000, "{bytes} bytes");
    is_quiet(&tab)
}
