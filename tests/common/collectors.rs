//! Collectors that nobody here wrote, nfcapd and sfcapd, and what they have kept, as nfdump and tshark read it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::host::expect_success;
use super::raw::{send_signal, spawn_in};
use super::yard::Scratch;
use super::{Host, bounded, command, wait_until};

/// The collectors' address, and that of the switch on the same link.
pub(crate) const COLLECTOR: &str = "10.77.0.2";
/// The collectors' address of IPv6.
pub(crate) const COLLECTOR_V6: &str = "fd00:77::2";

/// A row of what a collector has kept, by nfdump's names of columns.
pub(crate) type Row = BTreeMap<String, String>;

/// Collectors of IPFIX and of sFlow in a namespace of their own, beside that of a switch.
pub(crate) struct Collectors {
    host: Host,
    dir: Scratch,
    running: Vec<Child>,
}

impl Collectors {
    /// A place for them on a link to `switch`, where nobody listens yet.
    pub(crate) fn beside(switch: &Host) -> Collectors {
        let host = Host::with_ipv6("collect");
        host.veth("eth", &format!("{COLLECTOR}/24"), switch, "collect");
        host.ip(&format!("-6 addr add {COLLECTOR_V6}/64 dev eth nodad"));
        switch.ip("addr add 10.77.0.1/24 dev collect");
        switch.ip("-6 addr add fd00:77::1/64 dev collect nodad");
        Collectors { host, dir: Scratch::new(), running: Vec::new() }
    }

    /// Has them listen at `address`, and what comes to them be captured.
    pub(crate) fn listen(&mut self, address: &str) {
        let pcap = self.path("pcap");
        self.run(
            "tcpdump",
            &["--immediate-mode", "-U", "-i", "eth", "-w", pcap.to_str().expect("the path is text"), "udp"],
        );
        wait_until("the capture to begin", || fs::metadata(&pcap).is_ok_and(|file| file.len() > 0));
        for (program, port) in [("nfcapd", "4739"), ("sfcapd", "6343")] {
            let kept = self.path(program);
            fs::create_dir(&kept).expect("the directory is ours");
            let kept = kept.to_str().expect("the path is text").to_owned();
            self.run(program, &["-w", &kept, "-p", port, "-b", address, "-t", "3600"]);
            let port: u16 = port.parse().expect("a number");
            wait_until(&format!("{program} to listen"), || self.hears(port));
        }
    }

    fn run(&mut self, program: &str, args: &[&str]) {
        let log = File::create(self.path(&format!("{program}.log"))).expect("the directory is ours");
        let mut command = command(program);
        command.args(args).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
        self.running.push(spawn_in(self.host.name(), &mut command));
    }

    /// Whether a UDP socket has this port.
    fn hears(&self, port: u16) -> bool {
        let ends = format!(":{port:04X}");
        let is_there = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines()
                .any(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&ends)))
        };
        self.host.enter(|| is_there("/proc/thread-self/net/udp") || is_there("/proc/thread-self/net/udp6"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    /// Ends them, so that all that has come to them is kept.
    pub(crate) fn end(&mut self) {
        for mut child in self.running.drain(..) {
            send_signal(child.id(), libc::SIGTERM);
            let mut ended = false;
            wait_until("a collector to end", || {
                ended = ended || child.try_wait().expect("it is our child").is_some();
                ended
            });
        }
    }

    /// The flows that `collector` has kept. Call [`Collectors::end`] before.
    pub(crate) fn flows(&self, collector: &str) -> Vec<Row> {
        let kept = self.path(collector);
        let text =
            bounded(30, "nfdump", &["-R", kept.to_str().expect("the path is text"), "-o", "csv", "-N"]);
        let text = expect_success(text, "nfdump");
        let mut lines = text.lines().take_while(|line| *line != "Summary" && !line.is_empty());
        let heading: Vec<_> = lines.next().expect("a heading").split(',').map(str::to_owned).collect();
        let row = |line: &str| heading.iter().cloned().zip(line.split(',').map(str::to_owned)).collect();
        lines.map(row).collect()
    }

    /// What a collector has logged.
    pub(crate) fn log(&self, collector: &str) -> String {
        fs::read_to_string(self.path(&format!("{collector}.log"))).unwrap_or_default()
    }

    /// What tshark reads in the datagrams that fit `filter`: these fields, a list of values each.
    pub(crate) fn tshark(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let pcap = self.path("pcap");
        let mut args = vec!["-r", pcap.to_str().expect("the path is text"), "-d", "udp.port==4739,cflow"];
        args.extend(["-Y", filter, "-T", "fields", "-E", "separator=;"]);
        args.extend(fields.iter().flat_map(|field| ["-e", field]));
        let text = expect_success(bounded(60, "tshark", &args), "tshark");
        text.lines().map(|line| line.split(';').map(str::to_owned).collect()).collect()
    }

    /// Asserts that tshark finds datagrams of both protocols, and nothing wrong with any.
    pub(crate) fn assert_well_formed(&self) {
        for protocol in ["cflow", "sflow"] {
            assert!(!self.tshark(protocol, &["frame.number"]).is_empty(), "no {protocol}");
        }
        // Frames that are told are cut off, which tshark remarks on; of the datagrams themselves nothing is.
        let wrong = self.tshark("(cflow || sflow) && _ws.malformed", &["frame.number", "_ws.expert.message"]);
        assert!(wrong.is_empty(), "{wrong:?}");
        let templates = self.tshark("cflow.no_template_found || cflow.unknown_field_type", &["frame.number"]);
        assert!(templates.is_empty(), "{templates:?}");
    }
}

impl Drop for Collectors {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for program in ["nfcapd", "sfcapd"] {
                eprintln!("--- {program}\n{}", self.log(program));
            }
        }
    }
}

/// The sum of a column.
pub(crate) fn sum(rows: &[&Row], column: &str) -> u64 {
    rows.iter().map(|row| row[column].parse::<u64>().unwrap_or_else(|_| panic!("{column} of {row:?}"))).sum()
}
