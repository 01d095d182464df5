//! What the black-box suites stand on: the real `tapyard` program, real namespaces, real devices.
//!
//! A test makes [`Host`]s (namespaces), starts a [`Yard`] (the switch, in a namespace of its own) and sends through it:
//! what a kernel's stack sends ([`traffic`]), or exact frames ([`Lan`], [`Station`]); or several hosts with tunnels between
//! them, some of whose ends nobody here wrote ([`overlay`]); or networks around a router ([`routed`]); or virtual machines
//! ([`guest`]). Whatever was made is removed when its value is dropped, also when the test fails; a failing test prints the switch's log and its tables.
//!
//! Nothing waits without a bound, and nothing is proved by waiting: a frame that must *not* arrive is looked for after
//! the switch has said that it handled the frame.

#![allow(dead_code, unused_imports, reason = "each suite uses its own part")]

pub(crate) mod attached;
pub(crate) mod browser;
pub(crate) mod capturing;
pub(crate) mod collectors;
pub(crate) mod end;
pub(crate) mod frames;
pub(crate) mod guest;
mod host;
mod lan;
mod openvswitch;
pub(crate) mod overlay;
pub(crate) mod page;
#[allow(unsafe_code, reason = "namespaces and packet sockets, as in the program's own `sys`")]
mod raw;
pub(crate) mod routed;
pub(crate) mod socket;
pub(crate) mod tap_guest;
pub(crate) mod traffic;
pub(crate) mod web;
mod yard;

use std::any::type_name;
use std::env;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use host::Host;
pub(crate) use lan::{Lan, Station};
pub(crate) use raw::{PacketSocket, become_user, send_signal, spawn_in};
pub(crate) use yard::{Scratch, Yard, number, tap};

/// How long anything that must happen may take: far longer than it does, even on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks `probe` until it answers; panics, naming `what`, when it has not within [`PATIENCE`].
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `condition` holds; panics, naming `what`, when it does not within [`PATIENCE`].
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Runs a program to its end, at most `seconds` long (exit code 124 when it took longer).
pub(crate) fn bounded(seconds: u32, program: &str, args: &[&str]) -> Output {
    let mut command = command("timeout");
    command.args(["-k", "1", &seconds.to_string(), program]).args(args);
    command.output().unwrap_or_else(|error| panic!("timeout {program}: {error}"))
}

/// A program to start, which may be among those of administrators that a plain user's PATH leaves out.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Runs `test` where it may make namespaces: right here, or else in a user namespace in which this program starts again
/// with that one test.
///
/// # Panics
/// Where the machine permits neither: a test that cannot run has not passed.
pub(crate) fn as_root<F: FnOnce()>(test: F) {
    static MAY: OnceLock<bool> = OnceLock::new();
    if *MAY.get_or_init(|| bounded(10, "unshare", &["--net", "true"]).status.success()) {
        return test();
    }
    const INSIDE: &str = "TAPYARD_TEST_IN_USER_NAMESPACE";
    assert!(env::var_os(INSIDE).is_none(), "a user namespace was made, but it may make no network namespace");

    // `crate::module::test::{{closure}}` names the test, whatever thread it runs on.
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    let (_, name) = path.split_once("::").expect("a path begins with its crate");
    let program = env::current_exe().expect("this program has a path");
    let output = Command::new("timeout")
        .args(["-k", "1", "300", "unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c"])
        .args(["mount -t tmpfs tmpfs /run && exec \"$0\" \"$@\""])
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("timeout (coreutils) runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{name} failed in a user namespace. These tests need root, or else user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1) and a /dev/net/tun open to all.\n{stdout}\n{stderr}"
    );
}
