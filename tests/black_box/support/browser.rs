//! A headless Chromium of the distribution, driven over a pipe: no port, no driver beside it.
//!
//! It resolves no name. What it asked for and what it complained of is kept for the test to judge.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, outside of what the lint takes for a test"
)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::processes::{descendants, wait_for_end};
use super::run::{Run, say};

const CHROMIUM: &str = "/usr/bin/chromium";

/// Its pipe is expected at descriptors 3 and 4.
const WITH_PIPE: &str = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";

const OPTIONS: [&str; 16] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-breakpad",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--window-size=1200,900",
    "--lang=en-GB",
];

/// A browser that hangs fails the test instead of keeping it.
const LONGEST: Duration = Duration::from_secs(60);

/// How often a page is looked at for what a test waits for, and between two looks.
const LOOKS: u32 = 600;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A browser with one page, gone when dropped.
pub(crate) struct Browser {
    child: Child,
    answers: Receiver<Value>,
    session: Value,
    next: u64,
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a browser; `None`, said loudly, where there is none.
    pub(crate) fn open(test: &str) -> Option<Self> {
        if !Path::new(CHROMIUM).is_file() {
            say(&format!("SKIPPED {test}: chromium is missing (apt-get install chromium)"));
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let home = profile.path().to_str().unwrap();
        let data = format!("--user-data-dir={home}/data");
        let args = [&["-c", WITH_PIPE, "sh", CHROMIUM], &OPTIONS[..], &[&data]].concat();
        let run = Run::at(Path::new("/bin/sh"), &args).with("HOME", home);
        let mut child = run.with("PATH", "/usr/bin:/bin").with("TZ", "UTC").start();
        let answers = listen(&mut child);
        let (session, events) = (Value::Null, Vec::new());
        let mut browser = Self { child, answers, session, next: 0, events, _profile: profile };
        let page = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", &attach)["sessionId"].clone();
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Opens an address and waits until it is loaded.
    #[track_caller]
    pub(crate) fn go(&mut self, address: &str) {
        let told = self.call("Page.navigate", &json!({ "url": address }));
        assert!(told["errorText"].is_null(), "{address}: {told}");
        self.wait_until("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// Loads the page again, as its reader would.
    #[track_caller]
    pub(crate) fn reload(&mut self) {
        self.eval("window.stale = true");
        self.call("Page.reload", &json!({}));
        self.wait_until("window.stale === undefined && document.readyState === 'complete'");
    }

    /// Returns the value of an expression in the page.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let told = self.call("Runtime.evaluate", &ask);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Waits until an expression holds in the page.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, expression: &str) {
        for _ in 0..LOOKS {
            // A page that is just being left has no answer.
            let ask = json!({ "expression": expression, "returnByValue": true });
            if self.call("Runtime.evaluate", &ask)["result"]["value"] == true {
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        let page = self.eval("document.documentElement.innerText");
        panic!("never: {expression}\n{page}\n{:#?}", self.complaints());
    }

    /// Clicks with the mouse, where a reader would.
    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        let place = self.eval(&format!(
            "(() => {{ const it = document.querySelector({selector:?}); it.scrollIntoView(); \
             const box = it.getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let (x, y) = (&place[0], &place[1]);
            let at = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", &at);
        }
    }

    /// Types a text into a field.
    #[track_caller]
    pub(crate) fn fill(&mut self, selector: &str, text: &str) {
        self.eval(&format!("document.querySelector({selector:?}).focus()"));
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Writes what is seen, to be looked at; returns where.
    #[track_caller]
    pub(crate) fn screenshot(&mut self, name: &str) -> PathBuf {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let told = self.call("Page.captureScreenshot", &whole);
        let engine = base64::engine::general_purpose::STANDARD;
        let picture = engine.decode(told["data"].as_str().unwrap()).unwrap();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{name}.png"));
        std::fs::write(&path, picture).unwrap();
        path
    }

    /// Returns the origins of everything that was asked for so far.
    pub(crate) fn origins(&self) -> BTreeSet<String> {
        let asked = self.of("Network.requestWillBeSent");
        let address = |event: &Value| event["request"]["url"].as_str().unwrap().to_owned();
        asked
            .map(|event| address(event).splitn(4, '/').take(3).collect::<Vec<_>>().join("/"))
            .collect()
    }

    /// Returns everything that a console would show in red.
    ///
    /// That a site has no icon, for which a browser asks by itself, is no complaint.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let is_icon = |entry: &Value| {
            entry["url"].as_str().is_some_and(|address| address.ends_with("/favicon.ico"))
        };
        let console = self.of("Runtime.consoleAPICalled").filter(|event| event["type"] == "error");
        let logged = self.of("Log.entryAdded").filter(|event| event["entry"]["level"] == "error");
        let thrown = self.of("Runtime.exceptionThrown");
        let logged = logged.filter(|event| !is_icon(&event["entry"]));
        console.chain(logged).chain(thrown).map(Value::to_string).collect()
    }

    fn of(&self, method: &str) -> impl Iterator<Item = &Value> {
        self.events
            .iter()
            .filter(move |event| event["method"] == method)
            .map(|event| &event["params"])
    }

    #[track_caller]
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        let to = self.child.stdin.as_mut().unwrap();
        to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let told = self.answers.recv_timeout(LONGEST).expect("the browser answers");
            if told["id"] == self.next {
                assert!(
                    told["error"].is_null() || method == "Runtime.evaluate",
                    "{method}: {told}"
                );
                return told["result"].clone();
            }
            self.events.push(told);
        }
    }
}

fn listen(child: &mut Child) -> Receiver<Value> {
    let mut from = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        while from.read_until(0, &mut bytes).is_ok_and(|count| count > 0) {
            let Some(told) = bytes.strip_suffix(&[0]) else { return };
            if sender.send(serde_json::from_slice(told).unwrap()).is_err() {
                return;
            }
            bytes.clear();
        }
    });
    receiver
}

impl Drop for Browser {
    fn drop(&mut self) {
        let all = descendants(i32::try_from(self.child.id()).unwrap_or_default());
        let _ = self.child.kill();
        let _ = self.child.wait();
        wait_for_end(&all);
    }
}
