//! `tapyard run`: a switch from its start to its end, in the foreground.

use std::io::{self, Write};
use std::path::Path;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::config::Document;
use super::log::ASKED;
use super::server::Server;
use super::socket::ControlSocket;
use super::yard::Yard;
use crate::sys::descriptors;

/// Runs the switch that the file at `config` describes until SIGTERM or SIGINT; SIGHUP reloads the file. `control` is where
/// the control socket is to be, whatever the file says; else what the file says. Says in one
/// line on stdout when it is ready; everything else is logged, see [`log`](super::log).
///
/// # Errors
/// In one line each, what keeps it from starting. What it has made until then is gone again.
pub fn run(config: &Path, control: Option<&Path>) -> Result<(), String> {
    // Before anything is made, so that a signal never finds the default action, which would leave things behind.
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| format!("cannot take signals: {error}"))?;
    let document = Document::load(config).map_err(|errors| errors.to_string())?;
    let configured = document.to_config().map_err(|errors| errors.to_string())?.switch.control;
    let path = control.map_or(configured, Path::to_path_buf);
    // First, so that a second switch with this configuration takes no device of the first one's.
    // Where this is refused, fewer guests fit.
    let _ = descriptors::allow_all();
    let socket = ControlSocket::bind(&path)?;
    let yard = Yard::start(document, Some(config.to_owned()))?;
    let _server = Server::start(socket, yard.handler())?;
    // Nobody has to read it.
    let metrics = yard.metrics().map(|address| format!(", metrics http://{address}/metrics"));
    let (summary, metrics) = (yard.summary(), metrics.unwrap_or_default());
    let _ = writeln!(io::stdout(), "tapyard ready: {summary}, control {}{metrics}", path.display());
    for signal in signals.forever() {
        if signal != SIGHUP {
            tracing::info!(target: ASKED, "ending");
            break;
        }
        match yard.reload() {
            Ok(applied) if applied.changes.is_empty() => {
                tracing::info!(target: ASKED, "reloaded: nothing changed")
            }
            Ok(applied) => tracing::info!(target: ASKED, epoch = applied.epoch, "reloaded"),
            Err(why) => why.lines().for_each(|line| tracing::error!(target: ASKED, "not reloaded: {line}")),
        }
    }
    Ok(())
}
