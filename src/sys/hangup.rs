//! Waiting for the end of a connection without being woken by what it carries.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Waits until the other end of a stream sends no more, or either end has shut it down.
///
/// # Errors
/// The kernel cannot wait.
pub fn wait(stream: BorrowedFd<'_>) -> io::Result<()> {
    while !poll(stream, -1)? {}
    Ok(())
}

/// Whether it is so already.
pub fn has_come(stream: BorrowedFd<'_>) -> bool {
    poll(stream, 0).unwrap_or(false)
}

fn poll(stream: BorrowedFd<'_>, timeout_ms: libc::c_int) -> io::Result<bool> {
    let mut watched = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    loop {
        // SAFETY: the pointer is to one pollfd, which lives across the call.
        match check(unsafe { libc::poll(&mut watched, 1, timeout_ms) }) {
            Ok(ready) => return Ok(ready > 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn either_end_is_told_of_the_others_and_of_its_own() {
        let ends: [fn(&UnixStream, UnixStream); 3] = [
            |_, theirs| drop(theirs),
            |_, theirs| theirs.shutdown(Shutdown::Write).unwrap(),
            |ours, _theirs| ours.shutdown(Shutdown::Both).unwrap(),
        ];
        for end in ends {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            thread::scope(|scope| {
                let waiting = scope.spawn(|| wait(ours.as_fd()));
                theirs.write_all(b"unread").unwrap();
                assert!(!waiting.is_finished());
                assert!(!has_come(ours.as_fd()));
                end(&ours, theirs);
                waiting.join().unwrap().unwrap();
                assert!(has_come(ours.as_fd()));
            });
        }
    }
}
