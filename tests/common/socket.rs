//! Guests at a port's socket, as programs that speak its protocol.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::frames::{ether, show, station};
use super::yard::Scratch;
use super::{PATIENCE, wait_for};

/// A directory for sockets, where an unprivileged switch may make its own.
pub(crate) struct Sockets(Scratch);

impl Sockets {
    pub(crate) fn new() -> Sockets {
        let dir = Scratch::new();
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o777)).expect("it is ours");
        Sockets(dir)
    }

    /// The path of a socket.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }
}

/// Frame number `n` from station 1 to station 2, `len` bytes long.
pub(crate) fn numbered(n: u32, len: usize) -> Vec<u8> {
    let mut frame = ether(station(2), station(1), 0x88b5, &n.to_be_bytes());
    frame.extend((frame.len()..len).map(|i| (i as u32).wrapping_mul(n | 1) as u8));
    frame
}

/// The number of a frame, all of whose bytes have to be as [`numbered`] makes them.
pub(crate) fn number_of(frame: &[u8]) -> u32 {
    let n = u32::from_be_bytes(frame[14..18].try_into().expect("four bytes"));
    assert!(frame == numbered(n, frame.len()), "frame {n} is torn: {}", show(frame));
    n
}

/// A guest at a `stream` port.
pub(crate) struct Guest {
    pub(crate) socket: UnixStream,
    /// What was received of the frame that is on its way.
    begun: Vec<u8>,
}

impl Guest {
    fn new(socket: UnixStream) -> Guest {
        socket.set_nonblocking(false).expect("a socket can be");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Guest { socket, begun: Vec::new() }
    }

    /// Connects to a port that listens.
    pub(crate) fn connect(path: &Path) -> Guest {
        Guest::new(wait_for("the port to listen", || UnixStream::connect(path).ok()))
    }

    /// Waits for a port that connects.
    pub(crate) fn accept(listener: &UnixListener) -> Guest {
        listener.set_nonblocking(true).expect("a socket can be");
        Guest::new(wait_for("the port to connect", || listener.accept().ok()).0)
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.send_bytes(&packed(frame));
    }

    /// Sends any bytes.
    pub(crate) fn send_bytes(&self, bytes: &[u8]) {
        (&self.socket).write_all(bytes).expect("the port reads");
    }

    /// The next frame; panics when none comes.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        self.receive_within(PATIENCE).expect("a frame")
    }

    /// The next frame, if one comes in time.
    pub(crate) fn receive_within(&mut self, patience: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
        self.fill(4)?;
        let len = u32::from_be_bytes(self.begun[..4].try_into().expect("four bytes")) as usize;
        assert!((14..70_000).contains(&len), "a frame of {len} bytes: {}", show(&self.begun));
        self.fill(4 + len)?;
        Some(std::mem::take(&mut self.begun).split_off(4))
    }

    /// Reads until so many bytes are there.
    fn fill(&mut self, len: usize) -> Option<()> {
        while self.begun.len() < len {
            let mut buffer = vec![0; len - self.begun.len()];
            match self.socket.read(&mut buffer) {
                Ok(0) => panic!("the port hung up"),
                Ok(read) => self.begun.extend_from_slice(&buffer[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Err(error) => panic!("reading from the port: {error}"),
            }
        }
        Some(())
    }

    /// Waits until the port has hung up; what it sent before is lost.
    pub(crate) fn wait_for_end(mut self) {
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the port did not hang up: {error}"),
            }
        }
    }

    /// Sends no more, and still receives.
    pub(crate) fn finish(&self) {
        self.socket.shutdown(Shutdown::Write).expect("it is connected");
    }
}

/// A frame as it is on a stream.
pub(crate) fn packed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}
