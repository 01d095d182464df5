//! Network namespaces: doing something inside a named one.
//!
//! A descriptor belongs to the namespace that its thread was in when it was opened, and stays there wherever it is used
//! later. So a port is opened on a thread that enters the namespace and ends, and no other thread ever changes its own.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::thread;

use super::check;

/// Where `ip netns` keeps the namespaces it names.
const NAMED: &str = "/run/netns";

/// A network namespace by its name (`ip netns add NAME`) or, when it holds a `/`, by the path of its file, such as
/// `/proc/PID/ns/net`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Netns(String);

impl Netns {
    /// The namespace with this name or path. Nothing is opened yet.
    pub fn new(name: impl Into<String>) -> Netns {
        Netns(name.into())
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        if self.0.contains('/') { PathBuf::from(&self.0) } else { PathBuf::from(NAMED).join(&self.0) }
    }

    /// Runs `work` inside the namespace, on a thread of its own, and gives what it gives. A panic in `work` goes on in
    /// the caller.
    ///
    /// # Errors
    /// The namespace does not exist (ENOENT), is none (EINVAL), or may not be entered (EPERM), or no thread can be had (EAGAIN).
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let file = File::open(self.path())?;
        let inside = move || {
            // SAFETY: the descriptor is open, and setns changes nothing but this thread.
            check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })?;
            Ok(work())
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("netns".into()).spawn_scoped(scope, inside)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_ip_netns_and_a_path_is_a_path() {
        assert_eq!(Netns::new("blue").path(), PathBuf::from("/run/netns/blue"));
        assert_eq!(Netns::new("/proc/1/ns/net").path(), PathBuf::from("/proc/1/ns/net"));
    }

    #[test]
    fn a_missing_namespace_is_an_error_and_nothing_runs() {
        let error =
            Netns::new("no-such-namespace").run(|| unreachable!("ran outside the namespace")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
