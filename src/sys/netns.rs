//! Network namespaces: making one, and doing something inside one.
//!
//! A descriptor belongs to the namespace that its thread was in when it was opened, and stays there wherever it is used
//! later. So a port is opened on a thread that enters the namespace and ends, and no other thread ever changes its own.

use std::fmt;
use std::fs::{self, File};
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

    /// The name or path that it was given by.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        if self.0.contains('/') { PathBuf::from(&self.0) } else { PathBuf::from(NAMED).join(&self.0) }
    }

    /// Runs `work` inside the namespace, on a thread of its own, and gives what it gives. A panic in `work` goes on in
    /// the caller.
    ///
    /// # Errors
    /// The namespace does not exist (ENOENT), is none (EINVAL), or may not be entered (EPERM); or no thread can be had
    /// (EAGAIN).
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        run_in(&File::open(self.path())?, work)
    }
}

/// Runs `work` inside the namespace that `file` stands for, as [`Netns::run`] does.
///
/// # Errors
/// It is none (EINVAL), or may not be entered (EPERM).
pub fn run_in<T: Send>(file: &File, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let inside = || {
        // SAFETY: the descriptor is open, and setns changes nothing but this thread.
        check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })?;
        Ok(work())
    };
    on_own_thread(inside)
}

/// Makes a network namespace without a name. It goes with the last of its descriptors, devices and threads, however
/// the process ends.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, ENOSPC when `user.max_net_namespaces` are there.
pub fn create() -> io::Result<File> {
    on_own_thread(|| {
        unshare(libc::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    })
}

/// Moves the process into a network namespace of its own. To be called before there are other threads, which would stay
/// where they are.
///
/// # Errors
/// As [`create`].
pub fn leave() -> io::Result<()> {
    unshare(libc::CLONE_NEWNET)
}

/// The same for a plain user: moves the process into a user namespace, too, in which it keeps its user and group and has
/// every capability over the network namespaces that it makes.
///
/// # Errors
/// EINVAL when there are other threads, ENOSPC when `user.max_user_namespaces` are there, EPERM where the machine's
/// policy forbids it.
pub fn leave_as_user() -> io::Result<()> {
    // SAFETY: neither call can fail or touches memory.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)?;
    // A user who maps a group must first give up setgroups, by which one could leave a group (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare touches no memory, and without CLONE_FS, CLONE_FILES or CLONE_VM none of what std relies on.
    check(unsafe { libc::unshare(flags) })?;
    Ok(())
}

/// Runs `work` on a thread of its own, since a namespace is a thread's. A panic in `work` goes on in the caller.
fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
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
