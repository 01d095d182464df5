//! The control socket in the file system: made, guarded and removed.
//!
//! It is what keeps two switches with one configuration apart, so it is made before any device is touched; who connects
//! before the [`Server`](super::server::Server) answers waits.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::Type;

use crate::port::guest::{Obstacle, Place, claim};

/// A control socket. Dropping it removes it.
pub struct ControlSocket {
    place: Place,
    listener: UnixListener,
    /// The same socket as a type that can be shut down; made early, so that the end needs no free descriptor.
    end: UnixStream,
}

impl ControlSocket {
    /// Makes the socket at `path`, with its directory, for owner and group. One left behind by a process that is gone is
    /// replaced.
    ///
    /// # Errors
    /// In one line with the remedy: something else is there, or somebody answers on it, or it cannot be made.
    pub fn bind(path: &Path) -> Result<ControlSocket, String> {
        claim(path).map_err(|obstacle| refusal(path, obstacle))?;
        let cannot = |error: io::Error| {
            format!("control socket {}: cannot be made: {error}{}", path.display(), remedy(&error))
        };
        let (socket, place) = Place::make(path, Type::STREAM).map_err(cannot)?;
        let listener = UnixListener::from(OwnedFd::from(socket));
        let end = UnixStream::from(OwnedFd::from(listener.try_clone().map_err(cannot)?));
        Ok(ControlSocket { place, listener, end })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Another descriptor of it, to accept from.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Refuses connections from now on and wakes who waits for one, with EINVAL.
    pub(super) fn close(&self) {
        let _ = self.end.shutdown(Shutdown::Both);
    }
}

/// What to do about a socket that cannot be made or looked at.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => " (run as root, or name a place of your own: --control PATH)",
        _ => "",
    }
}

/// Says why there is no place for a control socket.
fn refusal(path: &Path, obstacle: Obstacle) -> String {
    let shown = path.display();
    match obstacle {
        Obstacle::Directory(directory, error) => {
            format!("control socket {shown}: cannot make {}: {error}{}", directory.display(), remedy(&error))
        }
        Obstacle::Hidden(error) => format!("control socket {shown}: {error}{}", remedy(&error)),
        Obstacle::NoSocket => {
            format!("control socket {shown}: something else is there (remove it, or set [switch] control)")
        }
        Obstacle::Taken => format!(
            "control socket {shown}: another tapyard answers on it (stop it, or set [switch] control)"
        ),
        Obstacle::Doubtful(error) => {
            format!("control socket {shown}: another tapyard may be using it: {error}{}", remedy(&error))
        }
        Obstacle::Stays(error) => format!("control socket {shown}: cannot be replaced: {error}"),
    }
}
