//! How the listener for metrics comes and goes with a change of the configuration.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::sync::Arc;

use super::State;
use crate::control::config::{Config, Document, MetricsConfig};
use crate::control::http;
use crate::control::log::ASKED;
use crate::control::site::Site;

/// What a change makes of the listener.
pub(super) enum Listener {
    /// It stays where it is.
    Stays,
    Ends,
    /// This one takes its place.
    Comes(http::Server),
}

impl State {
    /// Opens the listener that `wanted` asks for. Where the one that runs is in its way, that has ended then, and
    /// [`State::restore_listener`] brings it back.
    ///
    /// # Errors
    /// With the line of `document`, when it cannot be had; the one that runs goes on.
    pub(super) fn open_listener(&mut self, document: &Document, wanted: &Config) -> Result<Listener, String> {
        let (from, to) = (&self.config.switch.metrics, &wanted.switch.metrics);
        let Some(to) = to else { return Ok(Listener::Ends) };
        let runs_at = from.as_ref().filter(|_| self.listener.is_some()).map(|from| from.address);
        if runs_at == Some(to.address) {
            return Ok(Listener::Stays);
        }
        if runs_at.is_some_and(|address| address.port() == to.address.port()) {
            self.listener = None;
        }
        self.serve(to).map(Listener::Comes).map_err(|error| {
            self.restore_listener(Listener::Stays);
            let message = format!("cannot listen at {}: {error}{}", to.address, remedy(&error));
            document.complaint(&["switch", "metrics"], &message).to_string()
        })
    }

    /// Has the listener of what runs answer again, after a change that was not made.
    pub(super) fn restore_listener(&mut self, opened: Listener) {
        drop(opened);
        let Some(metrics) = self.config.switch.metrics.as_ref().filter(|_| self.listener.is_none()) else {
            return;
        };
        match self.serve(metrics) {
            Ok(server) => self.listener = Some(server),
            Err(error) => tracing::error!(address = %metrics.address, %error, "cannot listen there again"),
        }
    }

    /// Makes the listener what [`State::open_listener`] said.
    pub(super) fn enact_listener(&mut self, opened: Listener) {
        match opened {
            Listener::Ends => self.listener = None,
            Listener::Comes(server) => {
                tracing::info!(target: ASKED, "metrics at http://{}/metrics", server.address());
                self.listener = Some(server);
            }
            Listener::Stays => {
                if let (Some(server), Some(metrics)) = (&self.listener, &self.config.switch.metrics) {
                    server.allow(metrics.hosts.clone());
                }
            }
        }
    }

    fn serve(&self, metrics: &MetricsConfig) -> io::Result<http::Server> {
        let listener = TcpListener::bind(metrics.address)?;
        http::Server::start(listener, metrics.hosts.clone(), Arc::new(Site::new(self.view.clone())))
    }
}

/// What to do about an address that cannot be listened at.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => " (somebody else does: name another port)",
        ErrorKind::AddrNotAvailable => " (no interface of this machine has the address)",
        ErrorKind::PermissionDenied => " (name a port from 1024 on)",
        _ => "",
    }
}
