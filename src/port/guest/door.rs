//! Where a guest and its port meet: a socket in the file system that the one listens at and the other connects to.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::port::PortError;

/// A socket's place, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorOptions {
    /// Where to listen; otherwise, where to connect to.
    pub listen: bool,
    /// The socket's path, at most 107 bytes.
    pub path: PathBuf,
    /// The user who owns a socket that is listened at.
    pub owner: Option<u32>,
    /// The group it belongs to; owner and group may connect.
    pub group: Option<u32>,
}

/// A door that is open. Dropping one that is listened at removes the socket.
pub enum Door {
    /// Peers come here.
    Listen(Listener),
    /// The peer is looked for there.
    Connect(PathBuf),
}

impl Door {
    /// Makes the socket that is listened at; one to connect to need not be there yet.
    ///
    /// # Errors
    /// Something else is there, or somebody listens at it, or it cannot be made.
    pub fn open(options: &DoorOptions) -> Result<Door, PortError> {
        match options.listen {
            true => Listener::bind(options).map(Door::Listen),
            false => Ok(Door::Connect(options.path.clone())),
        }
    }
}

/// A socket that is listened at.
pub struct Listener {
    socket: UnixListener,
    _place: Place,
}

impl Listener {
    fn bind(options: &DoorOptions) -> Result<Listener, PortError> {
        let (socket, place) = Place::take(options, UnixListener::bind)?;
        Ok(Listener { socket, _place: place })
    }

    /// The next peer; waits for it. Fails when [`Listener::end`] was shut down.
    pub(super) fn accept(&self) -> io::Result<UnixStream> {
        self.socket.accept().map(|(stream, _)| stream)
    }

    /// The same socket as a type that can be shut down, which wakes who waits in [`Listener::accept`].
    pub(super) fn end(&self) -> io::Result<UnixStream> {
        Ok(UnixStream::from(OwnedFd::from(self.socket.try_clone()?)))
    }
}

/// Connects to the socket at `path`, and never waits for who listens there: where too many others do, it fails with EAGAIN.
pub(super) fn knock(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// A path at which a socket of ours is. Dropping it removes the socket, unless another is there by now.
pub struct Place {
    path: PathBuf,
    inode: (u64, u64),
}

impl Place {
    /// Makes a socket by `bind`, at a place that is free or where one was left behind, and lets in who may use it.
    pub(in crate::port) fn take<'a, S>(
        options: &'a DoorOptions,
        bind: impl FnOnce(&'a Path) -> io::Result<S>,
    ) -> Result<(S, Place), PortError> {
        let path = &options.path;
        let shown = || path.display().to_string();
        let failed = |error: io::Error| PortError::Socket(shown(), error);
        claim(path).map_err(|obstacle| match obstacle {
            Obstacle::Directory(_, error) | Obstacle::Stays(error) | Obstacle::Hidden(error) => failed(error),
            Obstacle::NoSocket => PortError::SocketInTheWay(shown()),
            Obstacle::Taken | Obstacle::Doubtful(_) => PortError::SocketTaken(shown()),
        })?;
        let socket = bind(path).map_err(failed)?;
        let place = Place::let_in(path, options.owner, options.group).map_err(failed)?;
        Ok((socket, place))
    }

    /// Takes charge of the socket that was just made at `path`: owner and group may use it, and nobody else.
    ///
    /// # Errors
    /// It is not there.
    pub fn of(path: &Path) -> io::Result<Place> {
        Place::let_in(path, None, None)
    }

    /// Whoever may write to the directory could have put something else there meanwhile, such as a link to a file of ours:
    /// what is changed is what was looked at, and a socket.
    fn let_in(path: &Path, owner: Option<u32>, group: Option<u32>) -> io::Result<Place> {
        let found = File::options().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
        let metadata = found.metadata()?;
        if !metadata.file_type().is_socket() {
            return Err(io::Error::other("something else was put in its place"));
        }
        let place = Place { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) };
        let it = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
        fs::set_permissions(&it, fs::Permissions::from_mode(0o660))?;
        if owner.is_some() || group.is_some() {
            chown(&it, owner, group)?;
        }
        Ok(place)
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What keeps a socket from being made.
#[derive(Debug)]
pub enum Obstacle {
    /// Its directory cannot be made.
    Directory(PathBuf, io::Error),
    /// What is there cannot be seen.
    Hidden(io::Error),
    /// Something that is no socket is there.
    NoSocket,
    /// Somebody listens at a socket there.
    Taken,
    /// Somebody may listen at a socket there: it cannot be found out.
    Doubtful(io::Error),
    /// A socket that was left behind there cannot be removed.
    Stays(io::Error),
}

/// Makes the directory of `path` and removes a socket that nobody listens at any more.
///
/// # Errors
/// See [`Obstacle`].
pub fn claim(path: &Path) -> Result<(), Obstacle> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(|error| Obstacle::Directory(directory.to_owned(), error))?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(Obstacle::NoSocket),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Obstacle::Hidden(error)),
    }
    match knock(path) {
        Ok(_) => Err(Obstacle::Taken),
        // Whoever listens has more guests waiting than it takes.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Obstacle::Taken),
        // A socket of datagrams, which only a living one says of itself.
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => Err(Obstacle::Taken),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(Obstacle::Stays)
        }
        Err(error) => Err(Obstacle::Doubtful(error)),
    }
}
