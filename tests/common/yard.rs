//! The switch under test: one `tapyard run`, its log, its command line.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::host::unique;
use super::{Host, bounded, send_signal, wait_for, wait_until};

/// The program.
const TAPYARD: &str = env!("CARGO_BIN_EXE_tapyard");

/// The table of a TAP port `name` whose kernel end is `name` in `host`, on the bridge `lan` unless `keys` name another.
pub(crate) fn tap(name: &str, host: &Host, keys: &str) -> String {
    let bridge = if keys.contains("bridge =") { "" } else { "bridge = \"lan\"\n" };
    format!("[port.{name}]\ntype = \"tap\"\nnetns = \"{host}\"\n{bridge}{keys}\n")
}

/// A running switch. When dropped it is asked to end and must do so at once and with success, having accounted for every
/// frame; after a failed test it prints what it knows instead.
pub(crate) struct Yard {
    child: Option<Child>,
    home: Home,
    /// Further arguments of `tapyard run`.
    arguments: Vec<String>,
    dir: Scratch,
}

/// A directory that is gone with this value, however the test ended.
pub(crate) struct Scratch(pub(super) PathBuf);

impl Scratch {
    /// An empty one.
    pub(crate) fn new() -> Scratch {
        let dir = std::env::temp_dir().join(format!("tapyard-test-{}-{}", process::id(), unique()));
        fs::create_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        Scratch(dir)
    }

    /// Where a file in it is to be; short enough for a socket.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where the switch runs.
enum Home {
    Own(Host),
    Given(String),
    /// Right here, without any privilege.
    Plain,
}

impl Yard {
    /// Starts the switch in a namespace of its own and waits until it says that it is ready.
    pub(crate) fn start(config: &str) -> Yard {
        Yard::launch(config, Home::Own(Host::new("yard")))
    }

    /// The same with further arguments of `tapyard run`.
    pub(crate) fn start_with(arguments: &[&str], config: &str) -> Yard {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Yard::launch_with(arguments, config, Home::Own(Host::new("yard")))
    }

    /// Starts it in `host`, where the devices are that it shall take.
    pub(crate) fn start_in(host: &Host, config: &str) -> Yard {
        Yard::launch(config, Home::Given(host.name().to_owned()))
    }

    /// Starts it where the test runs, as a user who may do nothing.
    pub(crate) fn start_unprivileged(config: &str) -> Yard {
        Yard::launch(config, Home::Plain)
    }

    fn launch(config: &str, home: Home) -> Yard {
        Yard::launch_with(Vec::new(), config, home)
    }

    fn launch_with(arguments: Vec<String>, config: &str, home: Home) -> Yard {
        let mut yard = Yard { child: None, home, arguments, dir: Scratch::new() };
        yard.write_config(config);
        yard.run();
        yard
    }

    /// Starts the program with the configuration as it stands in the file; for a switch that has ended.
    pub(crate) fn run(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = File::create(self.dir.0.join("log")).expect("the directory is ours");
        let mut command = match &self.home {
            Home::Plain => self.unprivileged(),
            Home::Own(_) | Home::Given(_) => Command::new(TAPYARD),
        };
        command.args(["run", "--config"]).arg(self.config_path()).args(&self.arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
        let netns = match &self.home {
            Home::Own(host) => Some(host.name().to_owned()),
            Home::Given(name) => Some(name.clone()),
            Home::Plain => None,
        };
        let child = match netns {
            Some(netns) => super::raw::spawn_in(&netns, &mut command),
            None => command.spawn().expect("the program starts"),
        };
        self.child = Some(child);
        wait_for("the switch to be ready", || {
            let ready = self.log().lines().any(|line| line.contains("ready"));
            let ended = self.child().try_wait().expect("it is our child");
            assert!(ended.is_none(), "tapyard ended at its start ({}):\n{}", ended.unwrap(), self.log());
            ready.then_some(())
        });
    }

    /// The program as a user who may do nothing runs it: as nobody where the test is root, else as who runs the test.
    fn unprivileged(&self) -> Command {
        const NOBODY: u32 = 65534;
        if fs::metadata("/proc/self").expect("/proc is there").uid() != 0 {
            return Command::new(TAPYARD);
        }
        // Where it was built, nobody may not be let in.
        let program = self.dir.0.join("tapyard");
        if !program.exists() {
            // By another process: who forks here while this one writes the file would keep it from being run (ETXTBSY).
            let copied = bounded(30, "cp", &[TAPYARD, program.to_str().expect("the path is text")]);
            assert!(copied.status.success(), "cp: {}", String::from_utf8_lossy(&copied.stderr));
        }
        chown(&self.dir.0, Some(NOBODY), Some(NOBODY)).expect("root may");
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]);
        command.args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]).arg(program);
        command
    }

    /// Writes the configuration file; where `config` has no `[switch]` table, that follows at the end, so that the lines
    /// of `config` are the lines of the file.
    pub(crate) fn write_config(&self, config: &str) {
        let control = format!("control = \"{}\"\n", self.control().display());
        let text = match config.split_once("[switch]\n") {
            Some((before, after)) => format!("{before}[switch]\n{control}{after}"),
            None => format!("{config}\n[switch]\n{control}"),
        };
        fs::write(self.config_path(), text).expect("the directory is ours");
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.0.join("tapyard.toml")
    }

    /// The control socket.
    pub(crate) fn control(&self) -> PathBuf {
        self.dir.0.join("control.sock")
    }

    /// A directory for the test's own files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir.0
    }

    /// What the switch has logged since it was last started.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.0.join("log")).unwrap_or_default()
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it runs")
    }

    /// Clock ticks (1/100 s) of CPU time the process has used.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        // Fields are counted from behind the program's name, which may hold anything: utime and stime are 14 and 15.
        let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has one");
        line.split_whitespace().nth(1).expect("a value").parse().expect("a number")
    }

    // -- The command line

    /// Runs `tapyard ARGUMENTS` against this switch.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        let control = self.control();
        let control = control.to_str().expect("the path is text");
        bounded(30, "env", &[&[&format!("TAPYARD_CONTROL={control}"), TAPYARD], arguments].concat())
    }

    /// Runs a command that must succeed (exit code 0); its standard output.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "tapyard {}: {stderr}", arguments.join(" "));
        String::from_utf8(output.stdout).expect("its output is text")
    }

    /// Runs a command, given as one line, that must succeed.
    pub(crate) fn ok(&self, line: &str) -> String {
        self.cli(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a command that must be refused: exit code 1, one line why on stderr, which is given back.
    pub(crate) fn refused(&self, line: &str) -> String {
        let output = self.output(&line.split_whitespace().collect::<Vec<_>>());
        let stderr = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        assert_eq!(output.status.code(), Some(1), "tapyard {line} was to be refused: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "tapyard {line} was to say why in one line: {stderr}");
        stderr
    }

    /// Runs a reading command with `-j`.
    pub(crate) fn json(&self, line: &str) -> Value {
        let text = self.ok(&format!("{line} -j"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("tapyard {line} -j: {error} in\n{text}"))
    }

    /// Rows of a listing.
    pub(crate) fn rows(&self, line: &str) -> Vec<Value> {
        match self.json(line) {
            Value::Array(rows) => rows,
            other => panic!("tapyard {line} -j is to be a list: {other}"),
        }
    }

    /// The row of `port show -j` about `name`, if there is one.
    pub(crate) fn find_port(&self, name: &str) -> Option<Value> {
        self.rows("port show").into_iter().find(|row| row["name"] == name)
    }

    /// The row of `port show -j` about `name`.
    pub(crate) fn port(&self, name: &str) -> Value {
        self.find_port(name).unwrap_or_else(|| panic!("port show -j has no port {name}"))
    }

    /// Waits until the port is in `state`.
    pub(crate) fn wait_for_state(&self, port: &str, state: &str) {
        wait_until(&format!("port {port} to be {state}"), || self.port(port)["state"] == state);
    }

    /// The row of `bridge show -j` about `name`.
    pub(crate) fn bridge(&self, name: &str) -> Value {
        let row = self.rows("bridge show").into_iter().find(|row| row["name"] == name);
        row.unwrap_or_else(|| panic!("bridge show -j has no bridge {name}"))
    }

    /// A number in a row.
    pub(crate) fn port_count(&self, port: &str, key: &str) -> u64 {
        number(&self.port(port), key)
    }

    /// The learned entries of the FDB as (VLAN, MAC, port), sorted; VLAN 0 on a bridge without VLANs.
    pub(crate) fn learned(&self) -> Vec<(u64, String, String)> {
        let text = |row: &Value, key: &str| row[key].as_str().expect("a string").to_owned();
        let rows = self.rows("fdb show").into_iter().filter(|row| row["kind"] == "learned");
        let mut entries: Vec<_> = rows
            .map(|row| (row["vlan"].as_u64().unwrap_or(0), text(&row, "mac"), text(&row, "port")))
            .collect();
        entries.sort();
        entries
    }

    /// The port behind which the FDB has `mac`, if it has.
    pub(crate) fn behind(&self, mac: [u8; 6]) -> Option<String> {
        let mac = super::frames::text(mac);
        let row = self
            .rows("fdb show")
            .into_iter()
            .find(|row| row["mac"] == mac.as_str() && row["kind"] != "local")?;
        row["port"].as_str().map(str::to_owned)
    }

    /// Waits until the FDB has `mac` behind `port`, on whatever bridge that is.
    pub(crate) fn wait_until_learned(&self, mac: [u8; 6], port: &str) {
        let mac = super::frames::text(mac);
        wait_until(&format!("{mac} to be learned on {port}"), || {
            self.rows("fdb show").iter().any(|row| row["mac"] == mac.as_str() && row["port"] == port)
        });
    }

    /// How many frames were dropped on `port` for `reason`.
    pub(crate) fn drops(&self, port: &str, reason: &str) -> u64 {
        let rows = self.rows("drops").into_iter();
        rows.filter(|row| row["port"] == port && row["reason"] == reason)
            .map(|row| number(&row, "frames"))
            .sum()
    }

    /// The epoch of the running configuration.
    pub(crate) fn epoch(&self) -> u64 {
        number(&self.json("stats"), "epoch")
    }

    /// Writes `config` and reloads it.
    pub(crate) fn reload(&self, config: &str) {
        self.write_config(config);
        self.ok("reload");
    }

    /// Waits until the counters add up: received = forwarded + replied + dropped. They are read while frames move, so
    /// one look may come between the two sides.
    pub(crate) fn assert_conserved(&self) {
        wait_until("every frame to be accounted for", || self.json("stats")["conserved"] == true);
    }

    // -- The end

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) {
        send_signal(self.pid(), signal);
    }

    /// Sends `signal` and waits for the end; panics when that does not come, and kills it.
    pub(crate) fn end(&mut self, signal: i32) -> ExitStatus {
        self.signal(signal);
        let mut child = self.child.take().expect("it runs");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match child.try_wait().expect("it is our child") {
                Some(status) => return status,
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
                None => {
                    let _ = child.kill().and_then(|()| child.wait());
                    panic!("tapyard did not end after signal {signal}:\n{}", self.log());
                }
            }
        }
    }

    /// Kills it as a crash would, leaving it no time to clean up.
    pub(crate) fn kill(&mut self) {
        assert_eq!(self.end(libc::SIGKILL).signal(), Some(libc::SIGKILL));
    }
}

/// The number `key` of a row.
pub(crate) fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("{key} is to be a number in {row}"))
}

impl Drop for Yard {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the switch's log\n{}", self.log());
            if let Some(mut child) = self.child.take() {
                for line in ["port show", "bridge show", "fdb show", "drops", "stats -j"] {
                    let output = self.output(&line.split_whitespace().collect::<Vec<_>>());
                    eprintln!("--- {line}\n{}", String::from_utf8_lossy(&output.stdout));
                }
                let _ = child.kill();
                let _ = child.wait();
            }
        } else if self.child.is_some() {
            self.assert_conserved();
            let status = self.end(libc::SIGTERM);
            assert!(status.success(), "tapyard ended with {status}:\n{}", self.log());
            assert!(!self.control().exists(), "it left its control socket behind");
        }
    }
}
