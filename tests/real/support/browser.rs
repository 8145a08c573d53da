//! Chromium without a screen, led over the pipes of its DevTools protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>).

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, Program};

/// A browser with one tab.
pub struct Browser {
    to: File,
    from: Receiver<Value>,
    session: String,
    calls: u64,
    /// What it told without having been asked, since the last look.
    events: Vec<Value>,
    _program: Program,
    _dir: TempDir,
}

impl Browser {
    /// Starts one with a profile of its own.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pipes = ["to", "from"].map(|name| dir.path().join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // The protocol wants file descriptors 3 and 4.
        let script = "to=$1; from=$2; shift 2; exec chromium \"$@\" 3<\"$to\" 4>\"$from\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(&pipes).args(FLAGS);
        command.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
        let program = Program::start(&mut command);
        // Each of these waits for the other end.
        let to = File::options().write(true).open(&pipes[0]).unwrap();
        let from = messages(File::open(&pipes[1]).unwrap());
        let mut browser = Self {
            to,
            from,
            session: String::new(),
            calls: 0,
            events: Vec::new(),
            _program: program,
            _dir: dir,
        };
        let tab = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let flat = json!({ "targetId": tab["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", flat);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Sends a header with every request from now on.
    pub fn header(&mut self, name: &str, value: &str) {
        self.call("Network.setExtraHTTPHeaders", json!({ "headers": { name: value } }));
    }

    /// A screen of this width, and which colours its owner likes.
    pub fn screen(&mut self, width: u32, scheme: &str) {
        let is_phone = width < 600;
        let metrics = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": is_phone });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media);
    }

    /// Opens a page and waits until it is there with all its parts. Returns everything the console had to
    /// say: errors, failed requests, what the page's policy blocked.
    pub fn open(&mut self, url: &str) -> Vec<Value> {
        self.events.clear();
        self.call("Page.navigate", json!({ "url": url }));
        self.wait_for_load();
        // What comes later than this answer has no cause on the page.
        self.evaluate("document.fonts.ready.then(() => 1)");
        let complaints = [
            "Log.entryAdded",
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Network.loadingFailed",
        ];
        self.events.retain(|event| complaints.iter().any(|method| event["method"] == *method));
        std::mem::take(&mut self.events)
    }

    /// Presses Enter in a field, and waits for the page it leads to.
    pub fn press_enter(&mut self, selector: &str) {
        self.events.clear();
        self.evaluate(&format!("document.querySelector({}).focus()", json!(selector)));
        for kind in ["keyDown", "keyUp"] {
            let key = json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" });
            self.call("Input.dispatchKeyEvent", key);
        }
        self.wait_for_load();
    }

    fn wait_for_load(&mut self) {
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next();
            self.events.push(event);
        }
    }

    /// The value of a JavaScript expression on the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", ask);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer:#}");
        answer["result"]["value"].clone()
    }

    /// Writes a picture of the upper part of the page, 0 for all of it.
    pub fn picture(&mut self, file: &Path, height: u32) {
        let mut ask = json!({ "format": "png", "captureBeyondViewport": true });
        if height > 0 {
            let width = self.evaluate("innerWidth");
            ask["clip"] = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        }
        let data = self.call("Page.captureScreenshot", ask);
        let png = data_encoding::BASE64.decode(data["data"].as_str().unwrap().as_bytes()).unwrap();
        fs::write(file, png).unwrap();
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        write!(self.to, "{message}\0").unwrap();
        loop {
            let mut answer = self.next();
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{method}: {answer:#}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    fn next(&self) -> Value {
        self.from.recv_timeout(PATIENCE).expect("Chromium says something")
    }
}

/// The messages from a pipe, each ended by a NUL.
fn messages(mut pipe: File) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut text, mut bytes) = (Vec::new(), vec![0; 1 << 16]);
        while let Ok(length @ 1..) = pipe.read(&mut bytes) {
            text.extend_from_slice(&bytes[..length]);
            while let Some(end) = text.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = text.drain(..=end).collect();
                let message = serde_json::from_slice(&message[..end]).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// Root has no sandbox, and machines for tests have little shared memory and no graphics.
const FLAGS: [&str; 7] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
];
