//! docs/tunnels.md, as a reader pastes it: its configurations and its commands are taken out of the page and run, its
//! namespaces under names that no other test has. What the page says of the result is asked beside.

mod common;

use std::collections::BTreeMap;

use common::overlay::{Family, Overlay, Plan, Side, Tunnel, dropped};
use common::traffic::{ping, tcp, wait_for_ping};
use common::{Host, Yard, as_root, bounded, number};

const PAGE: &str = include_str!("../docs/tunnels.md");

/// The commands and files in the section of the page under `heading`: its indented lines.
fn section(heading: &str) -> Vec<&'static str> {
    let mut lines = PAGE.lines().skip_while(|line| line.strip_prefix("## ") != Some(heading));
    assert!(lines.next().is_some(), "docs/tunnels.md has no section {heading}");
    let section = lines.take_while(|line| !line.starts_with("## "));
    section.filter_map(|line| if line.is_empty() { Some("") } else { line.strip_prefix("    ") }).collect()
}

/// What somebody has on his machine who reads the page and does as it says.
#[derive(Default)]
struct Reader {
    /// The switches, by the names of their control sockets; they end before their namespaces.
    switches: BTreeMap<String, Yard>,
    files: BTreeMap<String, String>,
    /// The configurations that the switches run.
    running: Vec<String>,
    /// The namespaces, by the names that the page gives them.
    hosts: BTreeMap<String, Host>,
}

impl Reader {
    /// A reader who has two hosts.
    fn with_two_hosts() -> Reader {
        let mut reader = Reader::default();
        reader.paste("Two hosts on one machine", |_| ());
        reader
    }

    /// Runs what is in a section; `look` is called before its `kill`.
    fn paste(&mut self, heading: &str, mut look: impl FnMut(&Reader)) {
        let mut lines = section(heading).into_iter().filter(|line| !line.is_empty());
        while let Some(line) = lines.next() {
            if self.write_file(line, &mut lines) {
                continue;
            }
            if let Some(jobs) = line.strip_prefix("kill ") {
                look(self);
                self.end(jobs);
            } else {
                self.run(line);
            }
        }
    }

    /// Writes the files of a section, and runs none of its commands.
    fn paste_files(&mut self, heading: &str) {
        let mut lines = section(heading).into_iter();
        while let Some(line) = lines.next() {
            self.write_file(line, &mut lines);
        }
    }

    /// Writes the file that `line` begins, if it begins one.
    fn write_file(&mut self, line: &str, rest: &mut impl Iterator<Item = &'static str>) -> bool {
        let Some(file) = line.strip_prefix("cat > ").and_then(|name| name.strip_suffix(" <<'END'")) else {
            return false;
        };
        let text = rest.take_while(|line| *line != "END").map(|line| format!("{line}\n")).collect();
        self.files.insert(file.to_owned(), text);
        true
    }

    fn run(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["ip", "netns", "add", name] => {
                self.hosts.insert(name.to_owned(), Host::with_ipv6(name));
            }
            ["ip", "netns", "del", name] => {
                self.hosts.remove(name).unwrap_or_else(|| panic!("{line}: there is none"));
            }
            ["ip", "netns", "exec", host, "tapyard", "run", "--config", file, "&"] => self.start(host, file),
            ["ip", "netns", "exec", host, program, ref args @ ..] => {
                let output = self.host(host).run(20, program, args);
                assert!(output.status.success(), "{line}: {output:?}");
            }
            ["tapyard", "--control", socket, ref args @ ..] => {
                let switch = self.switches.get(socket).unwrap_or_else(|| panic!("{line}: it does not run"));
                assert!(!switch.cli(args).is_empty(), "{line} says nothing");
            }
            ["ip", ref args @ ..] => {
                let names = args.iter().map(|word| self.hosts.get(*word).map_or(*word, Host::name));
                let output = bounded(10, "ip", &names.collect::<Vec<_>>());
                assert!(output.status.success(), "{line}: {output:?}");
            }
            _ => panic!("the page has a command that this test does not know: {line}"),
        }
    }

    fn start(&mut self, host: &str, file: &str) {
        let text = self.files.get(file).unwrap_or_else(|| panic!("the page has not written {file}"));
        let (mut socket, mut config) = (None, String::new());
        for line in text.lines() {
            match line.strip_prefix("control = ") {
                Some(path) => socket = Some(path.trim_matches('"').to_owned()), // the test's is another
                None => config += &format!("{line}\n"),
            }
        }
        for (name, host) in &self.hosts {
            config = config.replace(&format!("\"{name}\""), &format!("\"{host}\""));
        }
        let socket = socket.expect("two switches on one machine have a socket each");
        self.running.push(file.to_owned());
        self.switches.insert(socket, Yard::start_in(self.host(host), &config));
    }

    /// Ends all switches; `jobs` are the shell's words for them, each by a part of its command that no other has.
    fn end(&mut self, jobs: &str) {
        for job in jobs.split(' ') {
            let part =
                job.strip_prefix("%?").unwrap_or_else(|| panic!("{job} is not by a part of its command"));
            let meant: Vec<_> = self.running.iter().filter(|file| file.contains(part)).cloned().collect();
            assert_eq!(meant.len(), 1, "{job} of {:?}", self.running);
            self.running.retain(|file| *file != meant[0]);
        }
        assert!(self.running.is_empty(), "{jobs} leaves {:?}", self.running);
        self.switches.clear(); // which asserts that all frames are accounted for
    }

    fn host(&self, name: &str) -> &Host {
        self.hosts.get(name).unwrap_or_else(|| panic!("the page has made no namespace {name}"))
    }

    fn switch(&self, site: &str) -> &Yard {
        self.switches.get(&format!("/run/tapyard/{site}.sock")).expect("it runs")
    }

    /// What the page promises: everything passes, both ways. `names` are two namespaces, `addresses` those of each.
    fn all_passes(&self, names: [&str; 2], addresses: [[&str; 2]; 2]) {
        let [one, two] = names.map(|name| self.host(name));
        // The page's `tunnel ping` has tried a packet that is too long.
        let too_long =
            || self.switches.values().map(|switch| dropped(switch, "exceeds-mtu")).collect::<Vec<_>>();
        let before = too_long();
        for (from, to, addresses) in [(one, two, addresses[1]), (two, one, addresses[0])] {
            for address in addresses {
                ping(from, address, 4000, 2);
                tcp(from, to, address, 8 << 20);
            }
        }
        assert_eq!(too_long(), before, "the MTUs fit");
        for switch in self.switches.values() {
            // The interface's MTU, which the page has in its configuration, is the tunnel's, which is derived.
            let tunnel = &switch.rows("tunnel show")[0];
            let inner = switch.rows("port show").into_iter().find(|row| row["name"] != tunnel["name"]);
            assert_eq!(tunnel["peers"][0]["mtu"], inner.expect("two ports")["mtu"], "{tunnel}");
            assert_eq!(tunnel["peers"][0]["state"], "up", "{tunnel}");
        }
    }
}

#[test]
fn bridges_joined_by_vxlan() {
    as_root(|| {
        let mut reader = Reader::with_two_hosts();
        let addresses = [["10.9.0.1", "fd00:9::1"], ["10.9.0.2", "fd00:9::2"]];
        let mut looked = false;
        reader.paste("L2: a bridge on each host", |reader| {
            reader.all_passes(["guest-a", "guest-b"], addresses);
            let mac = reader.host("guest-b").mac("eth0");
            assert_eq!(reader.switch("site-a").behind(mac), Some("far".to_owned()));
            for heading in ["How to look", "Three hosts and more"] {
                let commands = section(heading).into_iter().filter_map(|line| line.strip_prefix("tapyard "));
                let commands: Vec<_> = commands.map(|line| line.split('#').next().unwrap_or(line)).collect();
                assert!(commands.len() >= 3, "{commands:?}");
                commands.iter().for_each(|command| drop(reader.switch("site-a").ok(command)));
            }
            looked = true;
        });
        assert!(looked);
    });
}

#[test]
fn interfaces_joined_by_gre_and_by_geneve() {
    as_root(|| {
        let mut reader = Reader::with_two_hosts();
        let addresses = [["10.99.0.1", "fd00:99::1"], ["10.99.0.2", "fd00:99::2"]];
        let mut looked = 0;
        for heading in ["L3: an interface on each host, by GRE", "L3: the same by GENEVE"] {
            reader.paste(heading, |reader| {
                reader.all_passes(["site-a", "site-b"], addresses);
                looked += 1;
            });
        }
        assert_eq!(looked, 2);
        assert!(reader.hosts.is_empty(), "the last section removes all that the page has made");
    });
}

#[test]
fn the_mtu_inside_wireguard_is_what_the_page_says() {
    as_root(|| {
        let (mut reader, heading) = (Reader::default(), "Inside WireGuard");
        reader.paste_files(heading);
        // Any device of its MTU does: what a tunnel may use is the kernel's word.
        let host = Host::new("wg");
        host.ip("link add name wg0 mtu 1420 type bridge");
        host.ip("addr add 10.7.0.1/24 dev wg0");
        host.ip("link set dev wg0 up");
        let yard = Yard::start_in(&host, &reader.files["wireguard-a.toml"]);
        assert_eq!(number(&yard.rows("tunnel show")[0]["peers"][0], "mtu"), 1370);
        assert_eq!(yard.port_count("guest", "mtu"), 1370);
        for said in ["`wg0`'s 1420", "1370 are left for a guest"] {
            assert!(PAGE.replace('\n', " ").contains(said), "{said}");
        }
    });
}

#[test]
fn the_kernel_at_the_other_end() {
    as_root(|| {
        let mut reader = Reader::with_two_hosts();
        reader.paste_files("L2: a bridge on each host");
        reader.start("site-a", "l2-a.toml");
        let commands = section("With other ends").into_iter().filter_map(|line| line.strip_prefix("ip "));
        let commands: Vec<_> = commands.collect();
        assert_eq!(commands.len(), 3, "{commands:?}");
        commands.iter().for_each(|command| drop(reader.host("site-b").ip(command)));
        let (guest, far) = (reader.host("guest-a"), reader.host("site-b"));
        wait_for_ping(guest, "10.9.0.2");
        tcp(guest, far, "10.9.0.2", 8 << 20);
        tcp(far, guest, "10.9.0.1", 8 << 20);
    });
}

#[test]
fn open_vswitch_at_the_other_end() {
    as_root(|| {
        let lines = section("With other ends").into_iter();
        let lines: Vec<_> = lines.filter_map(|line| line.strip_prefix("ovs-vsctl ")).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, tunnel) in lines.into_iter().zip([Tunnel::Vxlan, Tunnel::Geneve, Tunnel::GreIp]) {
            let sides = [Side::Tapyard, Side::OpenVSwitch];
            let overlay = Overlay::start(&Plan::new(tunnel, Family::V4, &sides));
            // The bench's bridge has another name, and its hosts have other addresses.
            let line = line
                .replace(" br0 ", " lan ")
                .replace("10.8.0.1", "10.8.1.1")
                .replace("10.8.0.2", "10.8.2.1");
            let ovs = overlay.openvswitch(2);
            ovs.vsctl("del-port lan peer");
            ovs.vsctl(&line);
            wait_for_ping(overlay.guest(1), "10.9.0.2");
            tcp(overlay.guest(2), overlay.guest(1), "10.9.0.1", 1 << 20);
        }
    });
}

/// The rows of the page's table of what the headers take: a tunnel's keys, and the bytes over IPv4 and IPv6.
fn overheads() -> Vec<(String, [u64; 2])> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with("| of the network's MTU |")).skip(2);
    let rows = rows.map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let row = |row: &str| {
        let mut cells = row.split(" | ");
        let words: Vec<_> = cells.next().expect("a cell").split('`').skip(1).step_by(2).collect();
        let (types, keys) = words.split_at(words.iter().take_while(|word| !word.contains('=')).count());
        let bytes = [(); 2].map(|()| cells.next().expect("three cells").parse().expect("a number"));
        types
            .iter()
            .map(|kind| (format!("type = \"{kind}\"\n{}", keys.join("\n")), bytes))
            .collect::<Vec<_>>()
    };
    rows.flat_map(row).collect()
}

#[test]
fn the_headers_take_what_the_page_says() {
    as_root(|| {
        let yard = Yard::start("[bridge.lan]\n");
        let rows = overheads();
        assert_eq!(rows.len(), 7, "{rows:?}");
        for (keys, bytes) in rows {
            for (remote, bytes) in ["10.8.0.2", "fd00:8::2"].into_iter().zip(bytes) {
                let bridge = if keys.contains("payload") { "" } else { "bridge = \"lan\"\n" };
                let vni = if keys.contains("gre") { "" } else { "vni = 1\n" };
                // No way leads there: the network's MTU is taken to be 1500.
                let port = format!("[port.far]\n{keys}\n{bridge}{vni}remotes = \"{remote}\"\n");
                yard.reload(&format!("[bridge.lan]\n{port}"));
                assert_eq!(yard.port_count("far", "mtu"), 1500 - bytes, "{port}");
            }
        }
    });
}
