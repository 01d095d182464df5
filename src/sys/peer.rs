//! What a unix socket tells of its other end: who it is (SO_PEERCRED), and what it says next.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// The process that connected, as the kernel noted it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// The peer of a connected socket.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of the plain struct that the pointer leads to; both
    // outlive the call, and the descriptor is open as long as `stream` is borrowed.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Ok(Peer { pid: credentials.pid, uid: credentials.uid, gid: credentials.gid }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Looks at what the peer says next, without taking it, and waits until it fills `into`. Fewer bytes: the peer has gone, or
/// says it in pieces.
pub fn peek(stream: &UnixStream, into: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the kernel writes at most `into.len()` bytes to `into`, which outlives the call, and the descriptor is
        // open as long as `stream` is borrowed.
        let seen = unsafe {
            libc::recv(
                stream.as_raw_fd(),
                into.as_mut_ptr().cast(),
                into.len(),
                libc::MSG_PEEK | libc::MSG_WAITALL,
            )
        };
        match usize::try_from(seen) {
            Ok(seen) => return Ok(seen),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_was_looked_at_is_still_there() {
        let (a, mut b) = UnixStream::pair().unwrap();
        b.write_all(b"abcd").unwrap();
        let mut bytes = [0; 3];
        assert_eq!(peek(&a, &mut bytes).unwrap(), 3);
        assert_eq!(&bytes, b"abc");
        let mut bytes = [0; 4];
        (&a).read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"abcd");
        drop(b);
        assert_eq!(peek(&a, &mut bytes).unwrap(), 0);
    }

    #[test]
    fn the_peer_of_ones_own_socket_is_oneself() {
        let (a, _b) = UnixStream::pair().unwrap();
        assert_eq!(peer(&a).unwrap().pid, std::process::id() as i32);
    }
}
