//! A browser without a window, spoken to over its DevTools pipe.
use std::{
    cell::{Cell, RefCell},
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// No answer takes longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Chromium reads commands from its file descriptor 3 and answers on 4, each message with a NUL behind it.
const PIPE: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >&2"#;

/// What keeps it from asking anybody anything.
const ALONE: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--enable-automation",
];

pub struct Browser {
    child: Child,
    commands: RefCell<ChildStdin>,
    answers: Receiver<Value>,
    last_id: Cell<u64>,
    folder: PathBuf,
}

/// Where a browser is: `CHROMIUM` (empty: nowhere), or `chromium` on the path.
pub fn found() -> Option<OsString> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named).filter(|name| !name.is_empty());
    }
    let path = std::env::var_os("PATH")?;
    let file = std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|file| file.is_file());
    file.map(PathBuf::into_os_string)
}

impl Browser {
    /// Starts `program`, which keeps what it writes in `folder`.
    pub fn start(program: &OsStr, folder: &Path) -> Result<Self> {
        let profile = folder.join("profile");
        fs::create_dir_all(&profile).with_context(|| format!("cannot make {}", profile.display()))?;
        let log = fs::File::create(folder.join("browser.log")).context("cannot make the browser's log")?;
        let mut child = Command::new("sh")
            .args(["-c", PIPE, "sh"])
            .arg(program)
            .args(ALONE)
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let commands = child.stdin.take().context("no pipe to the browser")?;
        let said = child.stdout.take().context("no pipe from the browser")?;
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || listen(said, &sender));
        let folder = folder.to_owned();
        Ok(Self { child, commands: RefCell::new(commands), answers, last_id: Cell::new(0), folder })
    }

    /// A new tab.
    pub fn tab(&self) -> Result<Tab<'_>> {
        let target = self.ask(None, "Target.createTarget", json!({ "url": "about:blank" }), &mut Vec::new())?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.ask(None, "Target.attachToTarget", attach, &mut Vec::new())?;
        let session = session["sessionId"].as_str().context("no session")?.to_owned();
        let tab = Tab { browser: self, session, said: RefCell::default() };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            tab.ask(domain, json!({}))?;
        }
        tab.ask("Page.setLifecycleEventsEnabled", json!({ "enabled": true }))?;
        Ok(tab)
    }

    /// Sends a command and waits for its answer; what else is said meanwhile goes to `said`.
    fn ask(&self, session: Option<&str>, method: &str, params: Value, said: &mut Vec<Value>) -> Result<Value> {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.commands.borrow_mut().write_all(&bytes).with_context(|| self.gone(method))?;
        loop {
            let mut answer = self.hear(method)?;
            if answer["id"] == id {
                if let Some(error) = answer.get("error") {
                    bail!("{method}: {error}");
                }
                return Ok(answer["result"].take());
            }
            said.push(answer);
        }
    }

    fn hear(&self, about: &str) -> Result<Value> {
        self.answers.recv_timeout(PATIENCE).with_context(|| self.gone(about))
    }

    fn gone(&self, about: &str) -> String {
        let log = fs::read_to_string(self.folder.join("browser.log")).unwrap_or_default();
        format!("the browser does not answer ({about}); it said: {log}")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let closed = self.ask(None, "Browser.close", json!({}), &mut Vec::new());
        if closed.is_err() {
            // It may be gone already.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn listen(said: ChildStdout, sender: &mpsc::Sender<Value>) {
    for message in BufReader::new(said).split(0) {
        let Some(message) = message.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) else { return };
        if sender.send(message).is_err() {
            return;
        }
    }
}

/// A page in a browser.
pub struct Tab<'a> {
    browser: &'a Browser,
    session: String,
    /// Everything that the page's side said by itself.
    said: RefCell<Vec<Value>>,
}

impl Tab<'_> {
    pub fn ask(&self, method: &str, params: Value) -> Result<Value> {
        self.browser.ask(Some(&self.session), method, params, &mut self.said.borrow_mut())
    }

    /// As wide as a screen of so many pixels.
    pub fn resize(&self, width: u32, height: u32, dark: bool) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", metrics)?;
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.ask("Emulation.setEmulatedMedia", json!({ "features": scheme }))?;
        Ok(())
    }

    /// Opens a file, and says how long that took.
    pub fn open(&self, file: &Path) -> Result<Duration> {
        let begun = Instant::now();
        self.said.borrow_mut().clear();
        let navigated = self.ask("Page.navigate", json!({ "url": format!("file://{}", file.display()) }))?;
        // The empty page that a tab begins with is loaded too, and may say so late.
        let is_its = |event: &Value| {
            let told = &event["params"];
            event["method"] == "Page.lifecycleEvent" && told["name"] == "load" && told["loaderId"] == navigated["loaderId"]
        };
        let is_loaded = |said: &[Value]| said.iter().any(is_its);
        while !is_loaded(&self.said.borrow()) {
            let event = self.browser.hear("load")?;
            self.said.borrow_mut().push(event);
        }
        Ok(begun.elapsed())
    }

    /// The value of an expression, or of what it promises.
    pub fn value(&self, expression: &str) -> Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.ask("Runtime.evaluate", params)?;
        if let Some(details) = answer.get("exceptionDetails") {
            bail!("{expression}: {details}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Whatever the page complained of, or asked somebody else for.
    pub fn complaints(&self) -> Vec<Value> {
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Log.entryAdded" | "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Network.loadingFailed") => true,
            Some("Network.requestWillBeSent") => {
                event["params"]["request"]["url"].as_str().is_none_or(|url| !url.starts_with("file:"))
            }
            _ => false,
        };
        self.said.borrow().iter().filter(is_complaint).cloned().collect()
    }

    /// What the tab shows, as PNG in base64.
    pub fn picture(&self) -> Result<String> {
        let shot = self.ask("Page.captureScreenshot", json!({ "format": "png", "optimizeForSpeed": false }))?;
        Ok(shot["data"].as_str().context("no picture")?.to_owned())
    }
}
