//! Tunnels of a switch that runs, as its commands show and change them. No frame goes through one here.

mod common;

use common::{Host, Yard, as_root, number};
use serde_json::{Value, json};

const CONFIG: &str = "\
[bridge.lan]
[port.site]
type = \"vxlan\"
bridge = \"lan\"
vni = 100
remotes = [\"10.8.0.2\", \"10.8.0.3\"]
";

/// The one row of `tunnel show NAME -j`.
fn tunnel(yard: &Yard, name: &str) -> Value {
    let rows = yard.rows(&format!("tunnel show {name}"));
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].clone()
}

fn peers(yard: &Yard, name: &str) -> Vec<String> {
    let rows = tunnel(yard, name)["peers"].as_array().expect("a list").clone();
    rows.iter().map(|row| row["address"].as_str().expect("an address").to_owned()).collect()
}

/// The state of a port that `port show` tells of only when it is named.
fn state(yard: &Yard, underlay: &str) -> Value {
    yard.rows(&format!("port show {underlay}"))[0]["state"].clone()
}

fn names(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_tunnel_is_shown_with_its_peers_and_its_underlay_where_frames_are_counted() {
    as_root(|| {
        let yard = Yard::start(CONFIG);
        let site = tunnel(&yard, "site");
        assert_eq!(
            (&site["type"], &site["number"], &site["bridge"]),
            (&json!("vxlan"), &json!(100), &json!("lan"))
        );
        assert_eq!((&site["local"], &site["port"]), (&json!("0.0.0.0"), &json!(4789)));
        // No way leads to the peers: what a usual one lets through.
        assert_eq!(number(&site, "mtu"), 1450);
        assert_eq!(number(&yard.port("site"), "mtu"), 1450);
        for peer in site["peers"].as_array().expect("a list") {
            assert_eq!((&peer["state"], &peer["heard_secs"]), (&json!("unheard"), &Value::Null));
            assert_eq!((number(peer, "mtu"), number(peer, "fdb_entries")), (1450, 0));
        }
        assert_eq!(site["underlay"], "udp:0.0.0.0:4789");
        assert_eq!(names(&yard.rows("port show")), ["site"]);
        let underlay = yard.rows("port show udp:0.0.0.0:4789");
        assert_eq!((underlay.len(), &underlay[0]["type"]), (1, &json!("underlay")));
        let ports = yard.json("stats")["ports"].as_array().expect("a list").clone();
        assert_eq!(names(&ports), ["site", "udp:0.0.0.0:4789"]);
        assert!(yard.ok("tunnel").contains("10.8.0.3"), "{}", yard.ok("tunnel"));
        assert!(yard.ok("tunnel show site").contains("vni           100\n"));
        assert_eq!(
            yard.refused("tunnel show lan"),
            "tapyard: there is no tunnel lan (tunnel show lists them)"
        );
        assert_eq!(
            yard.refused("tunnel ping site"),
            "tapyard: tunnel site has 2 peers (name one by its address, with --port site)"
        );
        assert!(yard.log().contains("1 bridge, 1 port, "), "{}", yard.log());
    });
}

#[test]
fn peers_come_and_go_and_nothing_is_reopened() {
    as_root(|| {
        let yard = Yard::start(CONFIG);
        let changed = yard.ok("port set site remotes=10.8.0.3,10.8.0.4 mtu=1400 accept=any");
        assert_eq!(
            changed,
            "~ port site: remotes 10.8.0.2 10.8.0.3 -> 10.8.0.3 10.8.0.4, accept remotes -> any, mtu - -> 1400\n"
        );
        assert_eq!(peers(&yard, "site"), ["10.8.0.3", "10.8.0.4"]);
        assert_eq!(number(&tunnel(&yard, "site"), "mtu"), 1400);

        // A static entry makes a peer of whom it names.
        yard.ok("fdb add 02:00:00:00:00:01 site --remote 10.8.0.9");
        assert_eq!(peers(&yard, "site"), ["10.8.0.3", "10.8.0.4", "10.8.0.9"]);
        let far = &tunnel(&yard, "site")["peers"][2];
        assert_eq!(far["flooded"], false);
        assert!(yard.refused("fdb add 02:00:00:00:00:02 site").contains("port site has 2 remotes"));
        yard.ok("fdb del 02:00:00:00:00:01");
        assert_eq!(peers(&yard, "site"), ["10.8.0.3", "10.8.0.4"]);
        assert!(
            yard.rows("fdb show").iter().all(|row| row["kind"] == "local"),
            "{:?}",
            yard.rows("fdb show")
        );

        yard.ok("port del site");
        assert_eq!(yard.rows("tunnel show"), Vec::<Value>::new());
        assert!(yard.json("stats")["ports"].as_array().expect("a list").is_empty());
        assert_eq!(yard.ok("tunnel"), "there is no tunnel\n");
    });
}

#[test]
fn tunnels_share_an_underlay_for_as_long_as_one_of_them_is_there() {
    as_root(|| {
        let yard = Yard::start(CONFIG);
        let underlay = "udp:0.0.0.0:4789";
        let added = yard.ok("port add other --type vxlan --bridge lan vni=101 remotes=10.8.0.2");
        assert_eq!(added, "+ port other\n");
        assert_eq!(yard.ok("port del site"), "- port site\n");
        assert_eq!(yard.rows(&format!("port show {underlay}")).len(), 1);
        let changed = yard.ok("port set other checksum=false");
        assert_eq!(
            changed,
            format!(
                "~ port other: checksum true -> false\n~ port {underlay} (reopened): zero-checksum false -> true\n"
            )
        );
        let moved = yard.ok("port set other port=4790");
        assert_eq!(
            moved,
            format!("- port {underlay}\n~ port other: port 4789 -> 4790\n+ port udp:0.0.0.0:4790\n")
        );
        assert!(yard.refused(&format!("port show {underlay}")).contains("there is no port"));
    });
}

#[test]
fn a_tunnel_may_move_between_all_addresses_and_one_of_them() {
    as_root(|| {
        let yard = Yard::start(CONFIG);
        let [every, one] = ["udp:0.0.0.0:4789", "udp:127.0.0.1:4789"];
        for (local, from, to) in [("127.0.0.1", every, one), ("0.0.0.0", one, every)] {
            let moved = yard.ok(&format!("port set site local={local}"));
            assert!(moved.starts_with(&format!("- port {from}\n")), "{moved}");
            assert_eq!(tunnel(&yard, "site")["underlay"], to);
        }
        // The address is not here, so the one socket is opened again for the other.
        assert!(yard.refused("port set site local=198.51.100.1").contains("198.51.100.1"));
        assert_eq!(tunnel(&yard, "site")["underlay"], every);
        assert_eq!(state(&yard, every), "up");
    });
}

#[test]
fn a_socket_for_all_addresses_is_opened_anew_beside_that_of_a_group() {
    as_root(|| {
        let host = Host::new("group");
        host.ip("route add 239.0.0.0/8 dev lo");
        let space = host.name();
        let yard = Yard::start(CONFIG);
        yard.ok(&format!("port set site remotes=239.1.1.1 accept=any netns={space}"));
        for change in ["checksum=false", "checksum=true", "local=127.0.0.1", "local=0.0.0.0"] {
            yard.ok(&format!("port set site {change}"));
            let all: Vec<_> = names(&yard.json("stats")["ports"].as_array().expect("a list").clone());
            assert_eq!(all.len(), 3, "{all:?}");
            for underlay in all.iter().filter(|name| name.starts_with("udp:")) {
                assert_eq!(state(&yard, underlay), "up", "{change}: {underlay}");
            }
        }
    });
}

#[test]
fn a_tunnel_whose_address_is_not_here_is_refused_and_nothing_changes() {
    as_root(|| {
        let yard = Yard::start(CONFIG);
        let epoch = yard.epoch();
        let why =
            yard.refused("port add lost --type vxlan --bridge lan vni=7 local=198.51.100.1 remotes=10.8.0.2");
        assert!(why.contains("198.51.100.1"), "{why}");
        assert_eq!(yard.epoch(), epoch);
        assert!(yard.find_port("lost").is_none());
        assert_eq!(peers(&yard, "site"), ["10.8.0.2", "10.8.0.3"]);
        let why = yard.refused("port add twin --type vxlan --bridge lan vni=100 remotes=10.8.0.2");
        assert!(
            why.contains("port.twin.remotes: port site has 10.8.0.2 for packets with vni 100 too"),
            "{why}"
        );
    });
}

#[test]
fn a_wire_joins_two_ports_of_ip_and_goes_with_one_of_them_only_by_being_taken_away_first() {
    as_root(|| {
        let yard = Yard::start(
            "[port.vpn]\ntype = \"tun\"\n[port.far]\ntype = \"gre\"\npayload = \"ip\"\nremotes = \"10.8.0.2\"\nwire = \"vpn\"\n",
        );
        assert_eq!(tunnel(&yard, "far")["wire"], "vpn");
        assert_eq!(
            (tunnel(&yard, "far")["mtu"].as_u64(), yard.port("far")["bridge"].clone()),
            (Some(1468), Value::Null)
        );
        assert!(yard.refused("port del vpn").contains("there is no port vpn"));
        assert_eq!(yard.ok("port set far wire="), "~ port far: wire vpn -> -\n~ port vpn: wire far -> -\n");
        assert_eq!(yard.ok("port del vpn"), "- port vpn\n");
    });
}
