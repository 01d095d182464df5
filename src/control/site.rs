//! What there is to see over HTTP: a table of paths, and a function for each.

use super::http::{Pages, Request, Response, Status};
use super::metrics::Exporter;
use super::yard::View;

/// What answers at a path.
type Page = fn(&Site, &Request) -> Response;

/// The paths that there are.
const PAGES: &[(&str, Page)] = &[("/metrics", metrics)];

/// The pages of one listener.
pub(super) struct Site {
    view: View,
    exporter: Exporter,
}

impl Site {
    pub(super) fn new(view: View) -> Site {
        Site { view, exporter: Exporter::default() }
    }
}

impl Pages for Site {
    fn get(&self, request: &Request) -> Response {
        match PAGES.iter().find(|(path, _)| *path == request.path()) {
            Some((_, page)) => page(self, request),
            None => Response::error(Status::NOT_FOUND, "there is no such page (/metrics is one)"),
        }
    }
}

fn metrics(site: &Site, _request: &Request) -> Response {
    match site.exporter.text(&site.view) {
        Some(text) => Response::ok("text/plain; version=0.0.4; charset=utf-8", text),
        None => Response::error(Status::UNAVAILABLE, "the switch ends"),
    }
}
