//! A real browser: headless Chromium and its WebDriver from the packages of the system, with the rules of axe-core from
//! PyPI.
//!
//! It starts once for all tests. Where it cannot be installed, the tests that need it are skipped, loudly.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::venv::{installed, skipped};

/// Only for its `axe.min.js`; the package itself is not imported.
const PACKAGES: [&str; 1] = ["axe-playwright-python==0.1.8"];
const SCRIPT: &str = include_str!("browser.py");

pub(crate) struct Browser {
    /// Ends with its stdin, which closes when the tests end.
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) dark: bool,
    pub(crate) print: bool,
}

/// What happened while a page opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) ms: f64,
    /// Errors and warnings.
    pub(crate) console: Vec<String>,
    /// The addresses that the page asked for, besides itself.
    pub(crate) requests: Vec<String>,
}

impl Browser {
    /// The browser for one test at a time, or a loud line on stderr that the test was skipped.
    pub(crate) fn or_skip(test: &str) -> Option<MutexGuard<'static, Browser>> {
        static BROWSER: OnceLock<Result<Mutex<Browser>, String>> = OnceLock::new();
        match BROWSER.get_or_init(|| Browser::start().map(Mutex::new)) {
            Ok(browser) => Some(browser.lock().unwrap_or_else(|poisoned| poisoned.into_inner())),
            Err(why) => {
                skipped(test, &format!("no browser: {why}"));
                None
            }
        }
    }

    fn start() -> Result<Browser, String> {
        install()?;
        let python = installed("browser-venv", &PACKAGES)?;
        let mut command = Command::new(python);
        command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut browser = Browser { _child: child, stdin, stdout };
        let ready = browser.line().map_err(|why| format!("Chromium does not start: {why}"))?;
        ready["ready"].as_bool().map(|_| browser).ok_or_else(|| ready.to_string())
    }

    fn line(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(|error| error.to_string())?;
        serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))
    }

    #[track_caller]
    fn ask(&mut self, command: &Value) -> Value {
        writeln!(self.stdin, "{command}").expect("the browser reads");
        let mut reply = self.line().unwrap_or_else(|why| panic!("{command}: {why}"));
        assert!(reply["error"].is_null(), "{command}: {reply}");
        reply["value"].take()
    }

    /// Opens a file or an address.
    #[track_caller]
    pub(crate) fn open(&mut self, page: &str, look: Look) -> Opened {
        let url = if page.contains("://") { page.to_owned() } else { format!("file://{page}") };
        let Look { width, dark, print } = look;
        let mut reply = self.ask(&json!({"open": url, "width": width, "height": 900, "dark": dark, "print": print}));
        let mut texts = |name: &str| serde_json::from_value::<Vec<String>>(reply[name].take()).expect("texts");
        let (console, mut requests) = (texts("console"), texts("requests"));
        requests.retain(|request| *request != url && !request.starts_with("data:"));
        Opened { ms: reply["ms"].as_f64().expect("a number"), console, requests }
    }

    /// What a function with this body returns in the page.
    #[track_caller]
    pub(crate) fn script(&mut self, body: &str) -> Value {
        self.ask(&json!({"script": body}))
    }

    /// Presses keys one after the other: characters, and names such as `Enter` or `Control+z`.
    #[track_caller]
    pub(crate) fn keys(&mut self, keys: &[&str]) {
        self.ask(&json!({"keys": keys}));
    }

    /// Presses the keys of a text.
    #[track_caller]
    pub(crate) fn types(&mut self, text: &str) {
        let keys: Vec<String> = text.chars().map(String::from).collect();
        self.keys(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(crate) fn waits_for(&mut self, expression: &str) {
        let start = Instant::now();
        while self.script(&format!("return Boolean({expression})")) != true {
            let page = self.script("return document.body.innerText");
            assert!(start.elapsed() < Duration::from_secs(60), "{expression}: {page}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Opens a further tab and goes to it, or goes to the tab with this handle.
    #[track_caller]
    pub(crate) fn tab(&mut self, handle: Option<&str>) -> String {
        let handle = self.ask(&json!({"tab": handle.unwrap_or("new")}));
        handle.as_str().expect("a handle").to_owned()
    }

    /// Closes the tab, and goes to the one with this handle.
    #[track_caller]
    pub(crate) fn close_tab(&mut self, next: &str) {
        self.ask(&json!({"close": true}));
        self.tab(Some(next));
    }

    /// What axe-core calls serious or critical.
    #[track_caller]
    pub(crate) fn barriers(&mut self) -> Vec<Value> {
        let found = self.ask(&json!({"axe": true}));
        let found = found.as_array().expect("a list").iter();
        found.filter(|rule| rule["impact"] == "serious" || rule["impact"] == "critical").cloned().collect()
    }

    /// Writes the whole page as a picture.
    #[track_caller]
    pub(crate) fn picture(&mut self, file: &Path) {
        self.ask(&json!({"picture": file}));
    }
}

/// Installs Chromium from the packages of Debian where it is missing. Other systems need it before.
fn install() -> Result<(), String> {
    let works = || Command::new("chromedriver").arg("--version").stdout(Stdio::null()).status().is_ok();
    if works() {
        return Ok(());
    }
    let packages = ["install", "--yes", "--no-install-recommends", "chromium", "chromium-driver", "fonts-dejavu-core"];
    for arguments in [&["update"][..], &packages] {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("no chromedriver, and no apt-get: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("no chromedriver, and apt-get fails: {}", said.lines().last().unwrap_or_default()));
        }
    }
    if works() { Ok(()) } else { Err("no chromedriver".to_owned()) }
}
