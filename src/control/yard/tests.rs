use super::*;
use crate::control::api::{FdbFound, FdbSearch};
use crate::packet::PeerId;
use crate::switch;
use crate::table::fdb::{Allowance, Station};
use crate::time::Time;

#[test]
fn the_end_of_a_device_that_was_replaced_meanwhile_is_no_news() {
    let text = "bridge.lan = {}
        bridge.wan = {}
        port.a = { type = \"patch\", bridge = \"lan\", peer = \"b\" }
        port.b = { type = \"patch\", bridge = \"wan\", peer = \"a\" }";
    let yard = Yard::start(Document::parse(text, "t").unwrap(), None).unwrap();
    let mut state = lock(&yard.state);
    let port = state.live.ports["a"].id;
    let installed = state.installed[&port];
    state.note(Event::Gone { port, installed: installed - 1 });
    assert!(!state.live.ports["a"].missing);
    state.note(Event::Gone { port, installed });
    assert!(state.live.ports["a"].missing);
}

#[test]
fn a_search_gives_the_first_entries_and_counts_all() {
    let text = "bridge.lan = { mac = \"02:ff:00:00:00:01\" }
        bridge.wan = { mac = \"02:ff:00:00:00:02\" }
        port.a = { type = \"patch\", bridge = \"lan\", peer = \"b\" }
        port.b = { type = \"patch\", bridge = \"wan\", peer = \"a\" }
        port.site = { type = \"vxlan\", bridge = \"wan\", vni = 7, local = \"127.9.1.4\", remotes = \"127.9.1.5\" }";
    let yard = Yard::start(Document::parse(text, "t").unwrap(), None).unwrap();
    let mut state = lock(&yard.state);
    let learn = |state: &State, bridge: &str, port: &str, n: u64| {
        let port = &state.live.ports[port];
        let peer = port.tunnel.as_ref().and_then(|tunnel| tunnel.slot_of("127.9.1.5".parse().unwrap()));
        let at = Location { port: port.id, peer: peer.unwrap_or(PeerId::NONE) };
        let station = Station::new(Mac::from_bits(0x0200_0000_0000 | n), 0);
        state.live.bridges[bridge].fdb.learn(station, at, Allowance::default(), Time::ZERO);
    };
    (0..300).rev().for_each(|n| learn(&state, "lan", "a", n));
    (0..20).for_each(|n| learn(&state, "wan", "site", n));
    let mut find = |search: FdbSearch| {
        let Ok(Reply::Now(found)) = state.answer(Request::FdbFind(search)) else { panic!("no answer") };
        let found: FdbFound = serde_json::from_value(found).unwrap();
        (found.entries.iter().map(|entry| entry.mac.to_string()).collect::<Vec<_>>(), found.count)
    };
    let text = |text: &str| Some(text.to_owned());
    let (first, count) = find(FdbSearch { limit: Some(3), ..FdbSearch::default() });
    assert_eq!(first, ["02:ff:00:00:00:01", "02:00:00:00:00:00", "02:00:00:00:00:01"]);
    assert_eq!(count, 322, "with those of the bridges themselves");
    let (all, count) = find(FdbSearch { port: text("a"), ..FdbSearch::default() });
    assert_eq!((all.len(), count, all.is_sorted()), (100, 300, true));
    let (found, count) = find(FdbSearch { text: text("00:01:0"), ..FdbSearch::default() });
    assert_eq!((found.len(), count), (16, 16), "{found:?}");
    let (found, count) = find(FdbSearch { text: text("SITE"), limit: Some(2), ..FdbSearch::default() });
    assert_eq!((found, count), (vec!["02:00:00:00:00:00".into(), "02:00:00:00:00:01".into()], 20));
    assert_eq!(find(FdbSearch { text: text("127.9.1.5"), ..FdbSearch::default() }).1, 20);
    assert_eq!(find(FdbSearch { text: text("127.9.1.6"), ..FdbSearch::default() }).1, 0);
    assert_eq!(find(FdbSearch { limit: Some(0), ..FdbSearch::default() }), (Vec::new(), 322));
    let gone = FdbSearch { bridge: text("no"), ..FdbSearch::default() };
    assert!(state.answer(Request::FdbFind(gone)).is_err());
}

#[test]
fn a_socket_for_guests_that_was_lost_is_made_again() {
    let path = std::env::temp_dir().join(format!("tapyard-yard-{}.sock", std::process::id()));
    let text = format!(
        "bridge.lan = {{}}\nport.vm = {{ type = \"stream\", bridge = \"lan\", listen = \"{}\" }}",
        path.display()
    );
    let yard = Yard::start(Document::parse(&text, "t").unwrap(), None).unwrap();
    let mut state = lock(&yard.state);
    state.mark_missing("vm");
    assert!(!path.exists());
    state.do_chores();
    assert!(path.exists() && !state.live.ports["vm"].missing);
}

#[test]
fn a_tunnel_comes_with_its_underlay_and_changes_without_it() {
    let text = "bridge.lan = {}
        port.site = { type = \"vxlan\", bridge = \"lan\", vni = 7, local = \"127.9.1.1\", remotes = \"127.9.1.2\" }";
    let yard = Yard::start(Document::parse(text, "t").unwrap(), None).unwrap();
    assert!(yard.summary().contains("1 bridge, 1 port, "), "{}", yard.summary());
    let mut state = lock(&yard.state);
    let overlay_of = |state: &mut State| {
        let topology = state.next_topology();
        let port = topology.port(state.live.ports["site"].id).cloned().expect("it runs");
        assert!(port.apart.has_split_horizon());
        let switch::Way::Tunnel(overlay) = port.way else { panic!("{port:?}") };
        let underlay = topology.port(overlay.underlay).cloned().expect("it runs");
        assert_eq!(underlay.name, "udp:127.9.1.1:4789");
        let switch::Way::Underlay(below) = underlay.way else { panic!("{underlay:?}") };
        assert_eq!(below.protocol.name, "vxlan");
        assert_eq!(below.tunnels.len(), 1);
        (overlay, below)
    };
    let (overlay, below) = overlay_of(&mut state);
    assert_eq!((overlay.peers.len(), below.peers.len(), overlay.port), (1, 1, 4789));

    let remotes = crate::control::config::parse_value("[\"127.9.1.2\", \"127.9.1.3\"]");
    let applied =
        state.edit(|document| document.port_set("site", &[("remotes".into(), Some(remotes))].into()));
    assert_eq!(applied.unwrap().changes, ["~ port site: remotes 127.9.1.2 -> 127.9.1.2 127.9.1.3"]);
    let (overlay, below) = overlay_of(&mut state);
    assert_eq!((overlay.flood.len(), below.peers.len()), (2, 2));

    let applied = state.edit(|document| document.port_del("site")).unwrap();
    assert_eq!(applied.changes, ["- port site", "- port udp:127.9.1.1:4789"]);
    assert!(state.live.ports.is_empty());
}
