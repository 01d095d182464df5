//! The control socket in the file system: made, guarded and removed.
//!
//! It is what keeps two switches with one configuration apart, so it is made before any device is touched; who connects
//! before the [`Server`](super::server::Server) answers waits.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A control socket. Dropping it removes it.
pub struct ControlSocket {
    path: PathBuf,
    inode: (u64, u64),
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
        make_way(path)?;
        let cannot = |error: io::Error| {
            format!("control socket {}: cannot be made: {error}{}", path.display(), remedy(&error))
        };
        let listener = UnixListener::bind(path).map_err(cannot)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(cannot)?;
        let metadata = fs::metadata(path).map_err(cannot)?;
        let end = UnixStream::from(OwnedFd::from(listener.try_clone().map_err(cannot)?));
        Ok(ControlSocket { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()), listener, end })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
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

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours = fs::metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What to do about a socket that cannot be made or looked at.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => " (run as root, or name a place of your own: --control PATH)",
        _ => "",
    }
}

/// Makes the directory of `path` and removes a socket that nobody listens on any more.
fn make_way(path: &Path) -> Result<(), String> {
    let shown = path.display();
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        let cannot = |e: io::Error| {
            format!("control socket {shown}: cannot make {}: {e}{}", directory.display(), remedy(&e))
        };
        fs::create_dir_all(directory).map_err(cannot)?;
    }
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("control socket {shown}: {error}{}", remedy(&error))),
    };
    if !found.file_type().is_socket() {
        return Err(format!(
            "control socket {shown}: something else is there (remove it, or set [switch] control)"
        ));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(format!(
            "control socket {shown}: another tapyard answers on it (stop it, or set [switch] control)"
        )),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| format!("control socket {shown}: cannot be replaced: {e}"))
        }
        Err(error) => {
            Err(format!("control socket {shown}: another tapyard may be using it: {error}{}", remedy(&error)))
        }
    }
}
