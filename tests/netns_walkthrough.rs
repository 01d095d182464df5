//! docs/tunnels.md, as a reader pastes it. What the page says of the result is asked beside.

mod common;

use common::overlay::{Family, Overlay, Plan, Side, Tunnel, dropped};
use common::page::{self, Reader};
use common::traffic::{ping, tcp, wait_for_ping};
use common::{Host, Yard, as_root, number};

const PAGE: &str = include_str!("../docs/tunnels.md");

/// The commands and files in a section of the page.
fn section(heading: &str) -> Vec<&'static str> {
    page::section(PAGE, heading)
}

/// A reader who has two hosts.
fn with_two_hosts() -> Reader {
    let mut reader = Reader::of(PAGE);
    reader.paste("Two hosts on one machine", |_| ());
    reader
}

/// What the page promises: everything passes, both ways. `names` are two namespaces, `addresses` those of each.
fn all_passes(reader: &Reader, names: [&str; 2], addresses: [[&str; 2]; 2]) {
    let [one, two] = names.map(|name| reader.host(name));
    // The page's `tunnel ping` has tried a packet that is too long.
    let too_long = || reader.switches().map(|switch| dropped(switch, "exceeds-mtu")).collect::<Vec<_>>();
    let before = too_long();
    for (from, to, addresses) in [(one, two, addresses[1]), (two, one, addresses[0])] {
        for address in addresses {
            ping(from, address, 4000, 2);
            tcp(from, to, address, 8 << 20);
        }
    }
    assert_eq!(too_long(), before, "the MTUs fit");
    for switch in reader.switches() {
        // The interface's MTU, which the page has in its configuration, is the tunnel's, which is derived.
        let tunnel = &switch.rows("tunnel show")[0];
        let inner = switch.rows("port show").into_iter().find(|row| row["name"] != tunnel["name"]);
        assert_eq!(tunnel["peers"][0]["mtu"], inner.expect("two ports")["mtu"], "{tunnel}");
        assert_eq!(tunnel["peers"][0]["state"], "up", "{tunnel}");
    }
}

#[test]
fn bridges_joined_by_vxlan() {
    as_root(|| {
        let mut reader = with_two_hosts();
        let addresses = [["10.9.0.1", "fd00:9::1"], ["10.9.0.2", "fd00:9::2"]];
        let mut looked = false;
        reader.paste("L2: a bridge on each host", |reader| {
            all_passes(reader, ["guest-a", "guest-b"], addresses);
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
        let mut reader = with_two_hosts();
        let addresses = [["10.99.0.1", "fd00:99::1"], ["10.99.0.2", "fd00:99::2"]];
        let mut looked = 0;
        for heading in ["L3: an interface on each host, by GRE", "L3: the same by GENEVE"] {
            reader.paste(heading, |reader| {
                all_passes(reader, ["site-a", "site-b"], addresses);
                looked += 1;
            });
        }
        assert_eq!(looked, 2);
        assert!(reader.has_cleaned_up(), "the last section removes all that the page has made");
    });
}

#[test]
fn the_mtu_inside_wireguard_is_what_the_page_says() {
    as_root(|| {
        let (mut reader, heading) = (Reader::of(PAGE), "Inside WireGuard");
        reader.paste_files(heading);
        // Any device of its MTU does: what a tunnel may use is the kernel's word.
        let host = Host::new("wg");
        host.ip("link add name wg0 mtu 1420 type bridge");
        host.ip("addr add 10.7.0.1/24 dev wg0");
        host.ip("link set dev wg0 up");
        let yard = Yard::start_in(&host, reader.file("wireguard-a.toml"));
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
        let mut reader = with_two_hosts();
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
