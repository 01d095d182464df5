//! Containers, which are namespaces with an end of a veth each, whose other end is a `netdev` port: on a bridge, and in the
//! modes of macvlan, beside a Linux bridge that reflects.

mod common;

use common::frames::{BROADCAST, STAG, ether, frame, station, tagged, vlan};
use common::traffic::{ping, ping_in_vain, tcp, wait_for_ping};
use common::{Host, Lan, Yard, as_root, number, wait_until};

/// A switch and two containers, 10.9.0.1 and 10.9.0.2, whose ends of the veths were made beside the switch's and moved when
/// it had taken those; behind its uplink a Linux bridge with the address 10.9.0.254.
struct Site {
    yard: Yard,
    here: Host,
    c: [Host; 2],
    outside: Host,
}

/// The end of container `n` when it is made.
fn far_end(n: usize) -> String {
    format!("far{n}")
}

impl Site {
    fn start(mode: &str) -> Site {
        let [here, outside, c1, c2] = ["here", "outside", "c1", "c2"].map(Host::new);
        outside.ip("link add name br0 type bridge mcast_snooping 0");
        outside.veth("tor", "", &here, "up");
        outside.ip("link set dev tor master br0");
        outside.ip("addr add 10.9.0.254/24 dev br0");
        outside.ip("link set dev br0 up");
        let mut config =
            "[bridge.lan]\n[port.up]\ntype = \"netdev\"\nbridge = \"lan\"\nuplink = true\n".to_owned();
        for n in 1..=2 {
            here.ip(&format!("link add name c{n} type veth peer name {}", far_end(n)));
            here.ip(&format!("link set dev c{n} up"));
            config += &format!("[port.c{n}]\ntype = \"netdev\"\nbridge = \"lan\"\nmode = \"{mode}\"\n");
        }
        let yard = Yard::start_in(&here, &config);
        let site = Site { yard, here, c: [c1, c2], outside };
        site.attach(0);
        site.attach(1);
        site
    }

    /// Moves the end of a veth into its container, and sets it up there.
    fn attach(&self, index: usize) {
        let (host, n) = (&self.c[index], index + 1);
        self.here.ip(&format!("link set dev {} netns {host} name eth0", far_end(n)));
        host.ip(&format!("addr add 10.9.0.{n}/24 dev eth0"));
        host.ip("link set dev eth0 up");
        self.yard.wait_for_state(&format!("c{n}"), "up");
    }

    /// Has the bridge outside send frames back by the port that they came by, or not.
    fn reflect(&self, on: bool) {
        let output = self.outside.run(
            10,
            "bridge",
            &["link", "set", "dev", "tor", "hairpin", if on { "on" } else { "off" }],
        );
        assert!(output.status.success(), "{output:?}");
    }

    /// Both reach what is outside, and are reached from there.
    fn reaches_outside(&self) {
        for (n, host) in (1..).zip(&self.c) {
            ping(host, "10.9.0.254", 3200, 3);
            ping(&self.outside, &format!("10.9.0.{n}"), 56, 3);
            tcp(host, &self.outside, "10.9.0.254", 4 << 20);
        }
    }

    /// The two reach one another.
    fn reach_each_other(&self) {
        let [c1, c2] = &self.c;
        for size in [56, 1600, 8000] {
            ping(c1, "10.9.0.2", size, 3);
            ping(c2, "10.9.0.1", size, 3);
        }
        tcp(c1, c2, "10.9.0.2", 16 << 20);
        tcp(c2, c1, "10.9.0.1", 16 << 20);
    }

    /// Neither hears anything of the other.
    fn are_apart(&self) {
        for (from, to) in [(0, "10.9.0.2"), (1, "10.9.0.1")] {
            // A neighbour that is known is told nothing either.
            self.c[from].ip("neigh flush all");
            ping_in_vain(&self.c[from], to, 2);
        }
    }

    /// Each container is known where it is, and never was anywhere else.
    fn nobody_moved(&self) {
        for (host, port) in self.c.iter().zip(["c1", "c2"]) {
            assert_eq!(self.yard.behind(host.mac("eth0")).as_deref(), Some(port));
        }
        let lan = self.yard.bridge("lan");
        assert_eq!((number(&lan, "moves"), number(&lan, "flaps")), (0, 0), "{lan}");
    }

    fn sent_outside(&self) -> u64 {
        self.yard.port_count("up", "tx_bytes")
    }
}

#[test]
fn containers_get_their_ends_when_the_switch_has_the_others() {
    as_root(|| {
        let site = Site::start("bridge");
        for host in &site.c {
            host.assert_offloads_on("eth0");
        }
        site.reaches_outside();
        let before = site.sent_outside();
        site.reach_each_other();
        assert!(site.sent_outside() < before + (1 << 20), "it stays here");
        let row = site.yard.port("c1");
        assert!(
            number(&row, "rx_bytes") / number(&row, "rx_frames") > 1514,
            "TCP was cut into segments: {row}"
        );
        assert_eq!((&row["mode"], &row["hairpin"]), (&"bridge".into(), &false.into()));
        assert_eq!(site.yard.port("up")["mode"], "uplink");

        // A container that ends takes its veth along; the next one gets a new one.
        site.c[0].ip("link del dev eth0");
        site.yard.wait_for_state("c1", "missing");
        site.here.ip(&format!("link add name c1 type veth peer name {}", far_end(1)));
        site.here.ip("link set dev c1 up");
        site.attach(0);
        wait_for_ping(&site.c[0], "10.9.0.2");
        site.reach_each_other();
    });
}

#[test]
fn the_machine_itself_talks_to_containers_of_every_mode() {
    as_root(|| {
        let site = Site::start("private");
        site.yard.ok("port set c2 mode=vepa");
        // As uplink, since it is one of those that all talk to.
        site.yard.ok("port add host --type tap --bridge lan uplink=true address=10.9.0.200/24");
        for (n, host) in (1..).zip(&site.c) {
            ping(&site.here, &format!("10.9.0.{n}"), 3200, 3);
            tcp(host, &site.here, "10.9.0.200", 4 << 20);
            tcp(&site.here, host, &format!("10.9.0.{n}"), 4 << 20);
        }
        site.reaches_outside();
        site.are_apart();
    });
}

#[test]
fn private_containers_reach_the_uplink_and_nobody_else() {
    as_root(|| {
        let site = Site::start("private");
        site.reaches_outside();
        site.are_apart();
        site.reflect(true);
        site.reaches_outside();
        site.are_apart();
        assert!(site.yard.drops("up", "reflected") > 0, "what came back ended at the uplink");
        // They know each other's address from now on, which changes nothing.
        for (host, other, address) in [(0, 1, "10.9.0.2"), (1, 0, "10.9.0.1")] {
            let mac = common::frames::text(site.c[other].mac("eth0"));
            site.c[host].ip(&format!("neigh replace {address} lladdr {mac} dev eth0"));
            ping_in_vain(&site.c[host], address, 2);
        }
        // Beside these, the pings that had waited for the address.
        assert!(site.yard.drops("c1", "private") >= 2 && site.yard.drops("c2", "private") >= 2);
        site.nobody_moved();

        site.yard.ok("port set c1 mode=bridge");
        ping_in_vain(&site.c[0], "10.9.0.2", 1);
        assert!(site.yard.ok("port set c2 mode=").contains("~ port c2: mode private -> bridge"));
        site.reach_each_other();
        site.nobody_moved();
    });
}

#[test]
fn vepa_containers_talk_by_the_switch_outside_if_that_reflects() {
    as_root(|| {
        let site = Site::start("vepa");
        site.reaches_outside();
        site.are_apart();
        site.reflect(true);
        site.reaches_outside();
        let before = site.sent_outside();
        site.reach_each_other();
        assert!(site.sent_outside() > before + (32 << 20), "all of it went out, and came back");
        let row = site.yard.port("up");
        assert!(number(&row, "rx_bytes") / number(&row, "rx_frames") > 1514, "it was cut on its way: {row}");
        site.nobody_moved();

        // A bridge port among them talks to a vepa port by the same way.
        site.yard.ok("port set c2 mode=bridge");
        site.reach_each_other();
        site.nobody_moved();
        site.reflect(false);
        site.are_apart();
    });
}

#[test]
fn the_switch_is_a_reflecting_one_to_a_linux_macvlan_vepa() {
    as_root(|| {
        // The other side: containers on kernel macvlans in mode vepa, whose lower device leads to a port with hairpin.
        let [here, edge, c1, c2] = ["here", "edge", "c1", "c2"].map(Host::new);
        edge.veth("lower", "", &here, "rack");
        for (n, host) in [(1, &c1), (2, &c2)] {
            edge.ip(&format!("link add link lower name mv{n} type macvlan mode vepa"));
            edge.ip(&format!("link set dev mv{n} netns {host} name eth0"));
            host.ip(&format!("addr add 10.9.0.{n}/24 dev eth0"));
            host.ip("link set dev eth0 up");
        }
        let yard = Yard::start_in(&here, "[bridge.lan]\n[port.rack]\ntype = \"netdev\"\nbridge = \"lan\"\n");
        ping_in_vain(&c1, "10.9.0.2", 2);
        yard.ok("port set rack hairpin=true");
        assert_eq!(yard.port("rack")["hairpin"], true);
        for size in [56, 8000] {
            ping(&c1, "10.9.0.2", size, 3);
            ping(&c2, "10.9.0.1", size, 3);
        }
        tcp(&c1, &c2, "10.9.0.2", 8 << 20);
        assert_eq!(yard.drops("rack", "same-port"), 0);
    });
}

const PASSTHROUGH: [(&str, &str); 2] =
    [("c", "type = \"netdev\"\nmode = \"passthrough\""), ("up", "type = \"netdev\"\nuplink = true")];

#[test]
fn a_passthrough_port_passes_tags_and_reserved_groups_untouched() {
    as_root(|| {
        let lan = Lan::start("", &PASSTHROUGH);
        let plain = frame(BROADCAST, station(1));
        for bytes in [
            plain.clone(),
            frame(station(2), station(1)),
            frame(station(1), station(2)),
            vlan(0xe000 | 10, &plain),
            vlan(4095, &plain),
            tagged(STAG, 7, &vlan(20, &plain)),
            ether([1, 0x80, 0xc2, 0, 0, 2], station(1), 0x8809, &[1; 110]),
            ether([1, 0x80, 0xc2, 0, 0, 0x0e], station(1), 0x88cc, &[2; 46]),
        ] {
            lan.check_flood("c", &bytes, &["up"]);
            lan.check_flood("up", &bytes, &["c"]);
        }
        assert_eq!(lan.yard.learned(), []);
        let own = lan.yard.bridge("lan")["mac"].as_str().map(common::frames::mac).expect("a bridge has one");
        lan.check_flood("up", &frame(own, station(1)), &["c"]);
    });
}

#[test]
fn stacks_talk_through_a_passthrough_port_by_any_address() {
    as_root(|| {
        let [c, here, outside] = ["c", "here", "outside"].map(Host::new);
        c.veth("eth0", "10.9.0.1/24", &here, "c");
        outside.veth("eth0", "10.9.0.2/24", &here, "up");
        let ports = PASSTHROUGH.map(|(name, keys)| format!("[port.{name}]\nbridge = \"lan\"\n{keys}\n"));
        let yard = Yard::start_in(&here, &format!("[bridge.lan]\n{}", ports.concat()));
        ping(&c, "10.9.0.2", 3200, 3);
        ping(&outside, "10.9.0.1", 3200, 3);
        tcp(&c, &outside, "10.9.0.2", 16 << 20);
        tcp(&outside, &c, "10.9.0.1", 16 << 20);
        // Another address than the switch ever saw is as good.
        c.ip("link set dev eth0 address 02:00:00:00:77:01");
        ping(&c, "10.9.0.2", 56, 3);
        assert_eq!(yard.learned(), []);
        yard.ok("port set c mode=bridge");
        ping(&c, "10.9.0.2", 56, 3);
        assert_eq!(yard.learned().len(), 2);
        yard.ok("port set c mode=passthrough");
        assert_eq!(yard.learned(), [], "a wire knows nobody");
        ping(&c, "10.9.0.2", 56, 3);
        assert!(yard.refused("port set c vlan=10").contains("expected no VLANs"));
        wait_until("the counters to rest", || yard.json("stats")["conserved"] == true);
    });
}
