//! Where a guest and its port meet: a socket in the file system that the one listens at and the other connects to.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::port::PortError;

/// What may be done with a socket's file: owner and group may use it, and nobody else.
const RIGHTS: u32 = 0o660;

/// How many may wait to be met.
const BACKLOG: i32 = 128;

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
        let (socket, place) = Place::take(options, Type::STREAM)?;
        Ok(Listener { socket: OwnedFd::from(socket).into(), _place: place })
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

/// A path at which a socket of ours is. Dropping it removes the socket, unless another is there by now.
pub struct Place {
    path: PathBuf,
    inode: (u64, u64),
}

impl Place {
    /// Makes a socket of this kind at a place that is free or where one was left behind, and lets in who may use it.
    pub(in crate::port) fn take(options: &DoorOptions, kind: Type) -> Result<(Socket, Place), PortError> {
        let path = &options.path;
        let shown = || path.display().to_string();
        let failed = |error: io::Error| PortError::Socket(shown(), error);
        claim(path).map_err(|obstacle| match obstacle {
            Obstacle::Directory(_, error) | Obstacle::Stays(error) | Obstacle::Hidden(error) => failed(error),
            Obstacle::NoSocket => PortError::SocketInTheWay(shown()),
            Obstacle::Taken | Obstacle::Doubtful(_) => PortError::SocketTaken(shown()),
        })?;
        let (socket, place) = Place::make(path, kind).map_err(failed)?;
        place.give(options.owner, options.group).map_err(failed)?;
        Ok((socket, place))
    }

    /// Makes a socket of this kind at `path`, where nothing is; one of streams listens.
    ///
    /// # Errors
    /// The kernel's; nothing is left behind then.
    pub fn make(path: &Path, kind: Type) -> io::Result<(Socket, Place)> {
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        // Said before there is a file: it is made with these rights, or fewer, so nobody else gets in first.
        File::from(OwnedFd::from(socket.try_clone()?)).set_permissions(Permissions::from_mode(RIGHTS))?;
        socket.bind(&SockAddr::unix(path)?)?;
        let metadata = fs::symlink_metadata(path)?;
        let place = Place { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) };
        if kind == Type::STREAM {
            // Soon: where nobody listens, another switch sees what was left behind.
            socket.listen(BACKLOG)?;
        }
        place.give(None, None)?;
        Ok((socket, place))
    }

    /// Has the socket belong to these, with all of [`RIGHTS`], of which the umask may have taken some.
    ///
    /// Whoever may write to its directory can put something else there at any time, a link to a file that is not theirs
    /// for one. So the file is looked at first, and then changed by what holds it, not by its name.
    fn give(&self, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let held =
            OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(&self.path)?;
        let metadata = held.metadata()?;
        if !metadata.file_type().is_socket() || (metadata.dev(), metadata.ino()) != self.inode {
            return Err(io::Error::other("somebody has put something else in its place"));
        }
        let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
        fs::set_permissions(&itself, Permissions::from_mode(RIGHTS))?;
        if owner.is_some() || group.is_some() {
            chown(&itself, owner, group)?;
        }
        Ok(())
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
    match connect(path) {
        Ok(_) => Err(Obstacle::Taken),
        // Who listens has let nobody in for long.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Obstacle::Taken),
        // A socket of datagrams, which only a living one says of itself.
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => Err(Obstacle::Taken),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(Obstacle::Stays)
        }
        Err(error) => Err(Obstacle::Doubtful(error)),
    }
}

/// Connects to who listens at `path`, if that can be done at once: one who lets nobody in is not waited for.
///
/// # Errors
/// The kernel's; EAGAIN when as many wait there already as may.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(OwnedFd::from(socket).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of a test's own, which goes with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("tapyard-door-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Directory(path)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_link_in_the_place_of_a_socket_is_not_followed() {
        let directory = Directory::new("link");
        let (path, other) = (directory.at("s"), directory.at("precious"));
        fs::write(&other, "").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        let (_socket, place) = Place::make(&path, Type::DGRAM).unwrap();
        assert_eq!(mode(&path), RIGHTS);
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert!(place.give(Some(crate::sys::effective_user()), None).is_err());
        assert_eq!(mode(&other), 0o600);
        drop(place);
        assert!(path.is_symlink(), "what is not ours stays");
    }

    #[test]
    fn one_who_listens_and_lets_nobody_in_is_not_waited_for() {
        let directory = Directory::new("full");
        let path = directory.at("s");
        let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        full.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        full.listen(0).unwrap();
        let mut waiting = Vec::new();
        let refused = loop {
            match connect(&path) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        assert!(matches!(claim(&path), Err(Obstacle::Taken)));
    }
}
