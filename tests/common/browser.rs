//! A real browser, headless, in a namespace: driven by chromedriver, as a person would, and asked what it shows.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::raw::spawn_in;
use super::yard::Scratch;
use super::{Host, bounded, command, wait_until};

/// Where chromedriver listens in the namespace.
const DRIVER: &str = "127.0.0.1:9515";
/// How long the browser may take for one thing, on a machine that is busy.
const SLOW: Duration = Duration::from_secs(60);

/// A window of a browser that has just been installed; it ends with this value.
pub(crate) struct Browser<'a> {
    host: &'a Host,
    driver: Child,
    session: String,
    profile: Scratch,
}

impl<'a> Browser<'a> {
    /// Opens a window of this size in `host`.
    pub(crate) fn open(host: &'a Host, width: u32, height: u32) -> Browser<'a> {
        let profile = Scratch::new();
        let mut command = command("chromedriver");
        command.args(["--port=9515"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0);
        let driver = spawn_in(host.name(), &mut command);
        let mut browser = Browser { host, driver, session: String::new(), profile };
        wait_until("chromedriver to listen", || {
            host.enter(|| TcpStream::connect(DRIVER.parse::<SocketAddr>().expect("an address"))).is_ok()
        });
        let data = format!("--user-data-dir={}", browser.profile.path("data").display());
        let size = format!("--window-size={width},{height}");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &data,
            &size,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = browser.call("POST", "/session", &wanted);
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("it has one"));
        browser
    }

    /// Goes to a page, and forgets what the one before has said and asked for.
    pub(crate) fn go(&self, url: &str) {
        self.complaints();
        self.requests();
        self.ask("/url", &json!({ "url": url }));
    }

    /// What a function of this body, in JavaScript, returns in the page.
    pub(crate) fn run(&self, body: &str) -> Value {
        self.ask("/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// Waits until an expression, in JavaScript, holds in the page.
    pub(crate) fn wait(&self, expression: &str) {
        wait_until(&format!("in the page: {expression}"), || {
            self.run(&format!("return {expression}")) == true
        });
    }

    /// The text that the page shows of the element that `selector` finds.
    pub(crate) fn text(&self, selector: &str) -> String {
        let text = self.run(&format!("return document.querySelector({})?.textContent", json!(selector)));
        text.as_str().unwrap_or_else(|| panic!("there is no {selector}")).to_owned()
    }

    /// Clicks at the element that `selector` finds, as soon as that is where it was seen: what stands above it may grow.
    pub(crate) fn click(&self, selector: &str) {
        let path = format!("{}/element/{}/click", self.session, self.find(selector));
        wait_until(&format!("a click at {selector}"), || {
            let clicked = self.try_call("POST", &path, &json!({})).expect("chromedriver answers");
            assert!(clicked.is_null() || clicked["error"] == "element click intercepted", "{clicked}");
            clicked.is_null()
        });
    }

    /// Types into the element that `selector` finds, in place of what is there.
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        let path = format!("/element/{}", self.find(selector));
        self.ask(&format!("{path}/clear"), &json!({}));
        self.ask(&format!("{path}/value"), &json!({ "text": text }));
    }

    fn find(&self, selector: &str) -> String {
        let found = self.ask("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("{selector}: {found}")).to_owned()
    }

    /// Has the page see `scheme`, `light` or `dark`, as what its reader likes.
    pub(crate) fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Has the window be of this size.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Has each page run this before its own scripts.
    pub(crate) fn before_each_page(&self, script: &str) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
    }

    fn devtools(&self, cmd: &str, params: &Value) {
        self.ask("/goog/cdp/execute", &json!({ "cmd": cmd, "params": params }));
    }

    /// Writes what is seen as an image into `path`.
    pub(crate) fn screenshot(&self, path: &Path) {
        let image = self.call("GET", &format!("{}/screenshot", self.session), &Value::Null);
        fs::write(path, base64(image.as_str().expect("it is text"))).expect("the directory is ours");
    }

    /// The warnings and errors that have been logged to the page's console since this was last asked.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let entries = self.log("browser");
        let complaints =
            entries.iter().filter(|entry| !matches!(entry["level"].as_str(), Some("INFO" | "DEBUG")));
        complaints.map(|entry| entry["message"].to_string()).collect()
    }

    /// The addresses that were asked for since this was last asked.
    pub(crate) fn requests(&self) -> Vec<String> {
        let asked = |entry: &Value| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let (method, event) = (&message["message"]["method"], &message["message"]["params"]);
            // The page that a browser begins with may still be loading its own parts.
            let is_its_own = event["documentURL"].as_str().is_some_and(|url| url.starts_with("chrome"));
            let url = event["request"]["url"].as_str().unwrap_or_default();
            (method == "Network.requestWillBeSent" && !is_its_own).then(|| url.to_owned())
        };
        self.log("performance").iter().filter_map(asked).collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        match self.ask("/se/log", &json!({ "type": kind })) {
            Value::Array(entries) => entries,
            other => panic!("a log is a list: {other}"),
        }
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    /// What chromedriver answers (the WebDriver protocol, over HTTP).
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_call(method, path, body);
        let value = answer.unwrap_or_else(|error| panic!("chromedriver, {method} {path}: {error}"));
        assert!(value.get("error").is_none_or(Value::is_null), "{method} {path} {body}: {value}");
        value
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let address: SocketAddr = DRIVER.parse().expect("an address");
        let stream = self.host.enter(|| TcpStream::connect(address))?;
        stream.set_read_timeout(Some(SLOW))?;
        let mut stream = BufReader::new(stream);
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {DRIVER}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all((head + &body).as_bytes())?;
        // It keeps the connection, so the end of its answer is where it says.
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        let answer: Value = serde_json::from_slice(&answer)?;
        Ok(answer["value"].clone())
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.try_call("DELETE", &self.session, &Value::Null);
        }
        // Without a session, the driver alone would leave a browser behind.
        bounded(5, "kill", &["-KILL", "--", &format!("-{}", self.driver.id())]);
        let _ = self.driver.wait();
    }
}

/// The bytes that are written in base64 (RFC 4648).
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| DIGITS.iter().position(|&digit| digit == byte));
    let (mut bytes, mut kept, mut bits) = (Vec::new(), 0_usize, 0);
    for digit in digits {
        (kept, bits) = ((kept << 6 | digit) & 0xffff, bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push((kept >> bits) as u8);
        }
    }
    bytes
}
