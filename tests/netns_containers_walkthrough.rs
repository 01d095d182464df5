//! docs/containers.md, as a reader pastes it. What the page says of the result is asked beside.

mod common;

use common::page::Reader;
use common::traffic::{ping, ping_in_vain, tcp};
use common::{as_root, number};

const PAGE: &str = include_str!("../docs/containers.md");

/// The two containers reach one another with all that TCP brings.
fn reach_each_other(reader: &Reader) {
    for (from, to, address) in [("c1", "c2", "10.9.0.2"), ("c2", "c1", "10.9.0.1")] {
        ping(reader.host(from), address, 4000, 2);
        tcp(reader.host(from), reader.host(to), address, 4 << 20);
    }
}

/// Both reach the machine itself and the world.
fn reach_uplinks(reader: &Reader) {
    for from in ["c1", "c2"] {
        for (to, address) in [("rack", "10.9.0.254"), ("site", "10.9.0.200")] {
            ping(reader.host(from), address, 4000, 2);
            tcp(reader.host(from), reader.host(to), address, 1 << 20);
        }
    }
}

#[test]
fn containers_on_a_bridge_then_private_then_vepa() {
    as_root(|| {
        let mut reader = Reader::of(PAGE);
        reader.paste("A machine with two containers", |_| panic!("nothing runs yet"));
        reader.paste("A veth into each container", |_| panic!("it goes on"));
        reach_each_other(&reader);
        reach_uplinks(&reader);

        reader.paste("Private: containers that reach the uplink only", |_| panic!("it goes on"));
        reach_uplinks(&reader);
        ping_in_vain(reader.host("c1"), "10.9.0.2", 2);
        assert!(reader.switch("site").drops("c1", "private") >= 2);

        let mut looked = false;
        reader.paste("VEPA: by the switch outside, and back", |reader| {
            reach_each_other(reader);
            reach_uplinks(reader);
            let yard = reader.switch("site");
            assert!(number(&yard.port("nic"), "tx_bytes") > 8 << 20, "it went out");
            let shown = yard.ok("port show c1");
            assert!(shown.contains("mode      vepa\n") && shown.contains("hairpin   no\n"), "{shown}");
            assert!(yard.ok("port show nic").contains("mode      uplink\n"));
            assert_eq!(yard.behind(reader.host("c1").mac("eth0")).as_deref(), Some("c1"));
            assert_eq!(number(&yard.bridge("lan"), "moves"), 0);
            looked = true;
        });
        assert!(looked && reader.has_cleaned_up());
    });
}
