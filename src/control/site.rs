//! What there is to see over HTTP: a table of paths, and a function for each.
//!
//! `/` is a page for a browser; its script asks `/api/...`, as any program may, and `/metrics` is for Prometheus. All of it
//! is in the program, and nothing of it changes or sends anything.

mod api;

use super::http::{Pages, Request, Response, Status};
use super::metrics::Exporter;
use super::yard::View;

/// What answers at a path.
type Page = fn(&Site, &Request) -> Response;

/// The paths that there are, beside those below [`api::BELOW`].
const PAGES: &[(&str, Page)] = &[
    ("/", |_, _| Response::ok("text/html; charset=utf-8", include_str!("site/page.html"))),
    ("/page.css", |_, _| Response::ok("text/css; charset=utf-8", include_str!("site/page.css"))),
    ("/page.js", |_, _| Response::ok(SCRIPT, include_str!("site/page.js"))),
    ("/picture.js", |_, _| Response::ok(SCRIPT, include_str!("site/picture.js"))),
    ("/icon.svg", |_, _| Response::ok("image/svg+xml", include_str!("site/icon.svg"))),
    ("/metrics", metrics),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The pages of one listener.
pub(super) struct Site {
    view: View,
    exporter: Exporter,
    desk: api::Desk,
}

impl Site {
    pub(super) fn new(view: View) -> Site {
        Site { view, exporter: Exporter::default(), desk: api::Desk::default() }
    }
}

impl Pages for Site {
    fn get(&self, request: &Request) -> Response {
        if let Some(name) = request.path().strip_prefix(api::BELOW) {
            return self.desk.answer(&self.view, name, request);
        }
        match PAGES.iter().find(|(path, _)| *path == request.path()) {
            Some((_, page)) => page(self, request),
            None => Response::error(Status::NOT_FOUND, "there is no such page (/ and /metrics are some)"),
        }
    }
}

fn metrics(site: &Site, _request: &Request) -> Response {
    match site.exporter.text(&site.view) {
        Some(text) => Response::ok("text/plain; version=0.0.4; charset=utf-8", text),
        None => Response::error(Status::UNAVAILABLE, "the switch ends"),
    }
}
