//! A real browser, headless, in a namespace: driven by chromedriver, as a person would, and asked what it shows.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::raw::spawn_in;
use super::yard::Scratch;
use super::{Host, command, wait_until};

/// Where chromedriver listens in the namespace.
const DRIVER: &str = "127.0.0.1:9515";
/// How long the browser may take for one thing, on a machine that is busy.
const SLOW: Duration = Duration::from_secs(60);

/// A window of a browser that has just been installed; it ends with this value.
pub(crate) struct Browser<'a> {
    host: &'a Host,
    driver: Child,
    session: String,
    _profile: Scratch,
}

impl<'a> Browser<'a> {
    /// Opens a window of this size in `host`.
    pub(crate) fn open(host: &'a Host, width: u32, height: u32) -> Browser<'a> {
        let profile = Scratch::new();
        let mut command = command("chromedriver");
        command.args(["--port=9515"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = spawn_in(host.name(), &mut command);
        let mut browser = Browser { host, driver, session: String::new(), _profile: profile };
        wait_until("chromedriver to listen", || {
            host.enter(|| TcpStream::connect(DRIVER.parse::<SocketAddr>().expect("an address"))).is_ok()
        });
        let data = format!("--user-data-dir={}", browser._profile.path("data").display());
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

    /// Goes to a page.
    pub(crate) fn go(&self, url: &str) {
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

    /// Clicks at the element that `selector` finds, where that is on the screen.
    pub(crate) fn click(&self, selector: &str) {
        self.element(selector, "/click", &json!({}));
    }

    /// Types into the element that `selector` finds, in place of what is there.
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        self.element(selector, "/clear", &json!({}));
        self.element(selector, "/value", &json!({ "text": text }));
    }

    fn element(&self, selector: &str, path: &str, body: &Value) {
        let found = self.ask("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("{selector}: {found}"));
        self.ask(&format!("/element/{id}{path}"), body);
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

    /// The addresses that were asked for since this was last asked, but for the browser's own pages.
    pub(crate) fn requests(&self) -> Vec<String> {
        let asked = |entry: &Value| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let is_request = message["message"]["method"] == "Network.requestWillBeSent";
            let url = &message["message"]["params"]["request"]["url"];
            is_request.then(|| url.as_str().expect("a request has an address").to_owned())
        };
        self.log("performance").iter().filter_map(asked).filter(|url| !url.starts_with("chrome")).collect()
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
        let mut stream = self.host.enter(|| TcpStream::connect(address))?;
        stream.set_read_timeout(Some(SLOW))?;
        let body = if method == "POST" { body.to_string() } else { String::new() };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {DRIVER}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let at = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
        let answer: Value = serde_json::from_slice(&answer[at..])?;
        Ok(answer["value"].clone())
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Which ends the browser; its driver alone would leave it behind.
        if !self.session.is_empty() {
            let _ = self.try_call("DELETE", &self.session, &Value::Null);
        }
        let _ = self.driver.kill().and_then(|()| self.driver.wait());
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
