//! Open vSwitch with its userspace datapath, as a peer that nobody here wrote. The daemons are the test's own, with
//! their sockets and database in a directory of theirs; the system's service, if there is one, is not touched.

use std::fs::File;
use std::process::{Child, Stdio};

use super::host::expect_success;
use super::yard::Scratch;
use super::{Host, bounded, command, wait_until};

/// The database and the switch. Both end when this is dropped.
pub(crate) struct OpenVSwitch {
    switch: Daemon,
    database: Daemon,
    dir: Scratch,
}

impl OpenVSwitch {
    /// Starts them in `host`.
    pub(crate) fn start(host: &Host) -> OpenVSwitch {
        let dir = Scratch::new();
        let path = |name: &str| dir.0.join(name).to_str().expect("the path is text").to_owned();
        let (database, socket) = (path("db"), path("db.sock"));
        let created =
            bounded(10, "ovsdb-tool", &["create", &database, "/usr/share/openvswitch/vswitch.ovsschema"]);
        expect_success(created, "ovsdb-tool create");
        let remote = format!("--remote=punix:{socket}");
        let database = Daemon::start(host, &dir, "ovsdb-server", &[&database, &remote]);
        wait_until("the database to listen", || dir.0.join("db.sock").exists());
        expect_success(vsctl(&dir, "--no-wait init"), "ovs-vsctl init");
        let switch = Daemon::start(host, &dir, "ovs-vswitchd", &[&format!("unix:{socket}")]);
        OpenVSwitch { switch, database, dir }
    }

    /// `ovs-vsctl …`, which must succeed; the switch has done it when this returns.
    pub(crate) fn vsctl(&self, arguments: &str) {
        expect_success(vsctl(&self.dir, arguments), &format!("ovs-vsctl {arguments}"));
    }
    /// `ovs-ofctl …` on a bridge, which must succeed; its output.
    pub(crate) fn ofctl(&self, arguments: &[&str]) -> String {
        let rundir = format!("OVS_RUNDIR={}", self.dir.0.display());
        let output = bounded(20, "env", &[&[&rundir, "ovs-ofctl"], arguments].concat());
        expect_success(output, &format!("ovs-ofctl {arguments:?}"))
    }
}

fn vsctl(dir: &Scratch, arguments: &str) -> std::process::Output {
    let database = format!("--db=unix:{}", dir.0.join("db.sock").display());
    let args: Vec<_> = [&database, "--timeout=15"].into_iter().chain(arguments.split_whitespace()).collect();
    bounded(20, "ovs-vsctl", &args)
}

/// A process that is killed when this is dropped.
struct Daemon(Child);

impl Daemon {
    fn start(host: &Host, dir: &Scratch, program: &str, args: &[&str]) -> Daemon {
        let log = File::create(dir.0.join(format!("{program}.log"))).expect("the directory is ours");
        let mut daemon = command(program);
        daemon.args(args).arg("-vsyslog:off").arg(format!("--unixctl={}", dir.0.join(program).display()));
        daemon.env("OVS_RUNDIR", &dir.0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = host.enter(|| daemon.spawn());
        Daemon(child.unwrap_or_else(|error| panic!("{program} (Debian: openvswitch-switch): {error}")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}
