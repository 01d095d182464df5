//! A real web server, and a real client of it.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::yard::Scratch;
use super::{Host, wait_until};

/// `busybox httpd` in a namespace, which ends with this value.
pub(crate) struct WebServer {
    child: Child,
    pages: Scratch,
}

impl WebServer {
    /// Starts one that listens at `place`, as `10.9.0.2:80` or `[fd00:9::2]:80`, and waits until it does. Its page `/name`
    /// is `name`, and its page `/big` has many bytes.
    pub(crate) fn start(host: &Host, place: &str, name: &str) -> WebServer {
        let pages = Scratch::new();
        fs::write(pages.0.join("name"), name).expect("the directory is ours");
        fs::write(pages.0.join("big"), big()).expect("the directory is ours");
        let mut command = Command::new("busybox");
        command.args(["httpd", "-f", "-p", place, "-h"]).arg(&pages.0).stdin(Stdio::null());
        let child = host.enter(|| command.spawn()).unwrap_or_else(|error| panic!("busybox: {error}"));
        let server = WebServer { child, pages };
        wait_until("the web server to listen", || {
            host.enter(|| std::net::TcpStream::connect(place.replace("0.0.0.0", "127.0.0.1"))).is_ok()
        });
        server
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The content of the page `/big`.
fn big() -> Vec<u8> {
    (0..4_u32 << 20).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect()
}

/// What `curl` gets from `url`; `None` when it gets nothing.
pub(crate) fn curl(from: &Host, url: &str) -> Option<Vec<u8>> {
    let output = from.run(30, "curl", &["-s", "-f", "-g", "--noproxy", "*", "--connect-timeout", "5", url]);
    output.status.success().then_some(output.stdout)
}

/// The name of the web server that answers at `place`.
pub(crate) fn name_at(from: &Host, place: &str) -> String {
    let page = curl(from, &format!("http://{place}/name"));
    String::from_utf8(page.unwrap_or_else(|| panic!("{from} gets nothing from {place}"))).expect("text")
}

/// Loads the big page, which must arrive unchanged.
pub(crate) fn load_big(from: &Host, place: &str) {
    let page = curl(from, &format!("http://{place}/big"));
    let page = page.unwrap_or_else(|| panic!("{from} gets nothing from {place}"));
    assert!(page == big(), "the page of {place} changed on its way: {} bytes", page.len());
}
