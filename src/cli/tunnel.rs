//! `tapyard tunnel`.

mod ping;

use clap::{Args, Subcommand};

use super::table::{Table, or_dash, si};
use super::{Format, Outcome, Switch};
use crate::control::api::{IntruderInfo, Request, TunnelInfo, TunnelPeerInfo};

/// Show tunnels and their peers, and measure the way to a peer
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Tunnel {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the peers of all tunnels, or all there is to know of one tunnel (the default)
    Show {
        /// The tunnel's port
        name: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    Ping(ping::Ping),
}

impl Tunnel {
    pub(super) fn execute(self, switch: &Switch) -> Outcome {
        match self.verb.unwrap_or(Verb::Show { name: None, format: self.format }) {
            Verb::Show { name: None, format } => {
                switch.show(&Request::TunnelShow { name: None }, format, table)
            }
            Verb::Show { name, format } => switch.show(&Request::TunnelShow { name }, format, details),
            Verb::Ping(ping) => ping.execute(switch),
        }
    }
}

/// A row for each peer of each tunnel.
fn table(tunnels: Vec<TunnelInfo>) -> String {
    if tunnels.is_empty() {
        return "there is no tunnel\n".into();
    }
    let mut table = Table::new(&[
        "TUNNEL", "TYPE", ">ID", "PEER", ">MTU", ">RX", ">TX", ">DROPS", ">FDB", ">HEARD", "STATE",
    ]);
    for tunnel in &tunnels {
        let (name, kind, id) = (tunnel.name.clone(), tunnel.kind.clone(), or_dash(tunnel.number));
        for peer in &tunnel.peers {
            table.row([
                name.clone(),
                kind.clone(),
                id.clone(),
                peer.address.to_string(),
                peer.mtu.to_string(),
                si(peer.rx_packets),
                si(peer.tx_packets),
                si(peer.drops),
                peer.fdb_entries.to_string(),
                heard(peer),
                peer.state.clone(),
            ]);
        }
        if tunnel.peers.is_empty() {
            let none = || or_dash::<u8>(None);
            let mtu = tunnel.mtu.to_string();
            table.row([name, kind, id, none(), mtu, none(), none(), none(), none(), none(), none()]);
        }
    }
    table.to_string()
}

/// All there is to know of each tunnel: a line for each fact, and a row for each peer.
fn details(tunnels: Vec<TunnelInfo>) -> String {
    let text = tunnels.iter().map(|tunnel| {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        // What carries IP is on no bridge.
        let of_bridge = |is| tunnel.bridge.as_ref().map_or_else(|| "-".to_owned(), |_| yes(is));
        let number = if tunnel.kind == "gre" { "key" } else { "vni" };
        let local = match tunnel.port {
            Some(port) => format!("{} port {port}", tunnel.local),
            None => format!("{}, over IP itself", tunnel.local),
        };
        let facts = [
            ("tunnel", tunnel.name.clone()),
            ("type", tunnel.kind.clone()),
            (number, or_dash(tunnel.number)),
            ("payload", tunnel.payload.clone()),
            ("bridge", or_dash(tunnel.bridge.clone())),
            ("wire", or_dash(tunnel.wire.clone())),
            ("local", local),
            ("netns", or_dash(tunnel.netns.clone())),
            ("underlay", tunnel.underlay.clone()),
            ("mtu", tunnel.mtu.to_string()),
            ("accept", tunnel.accept.clone()),
            ("learning", of_bridge(tunnel.learning)),
            ("split-horizon", of_bridge(tunnel.split_horizon)),
            ("mss-clamp", yes(tunnel.mss_clamp)),
            ("options", if tunnel.options.is_empty() { "-".into() } else { tunnel.options.join(" ") }),
        ];
        let facts: String = facts.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect();
        let (peers, options) = (peers(&tunnel.peers), received_options(&tunnel.peers));
        format!("{facts}\n{peers}{options}{}", intruders(&tunnel.intruders, number))
    });
    text.collect::<Vec<_>>().join("\n")
}

fn peers(peers: &[TunnelPeerInfo]) -> Table {
    let mut table = Table::new(&[
        "PEER",
        ">MTU",
        ">PATH",
        ">RX",
        ">RX-BYTES",
        ">TX",
        ">TX-BYTES",
        ">DROPS",
        ">FDB",
        ">HEARD",
        "STATE",
    ]);
    for peer in peers {
        table.row([
            peer.address.to_string(),
            peer.mtu.to_string(),
            or_dash(peer.path_mtu),
            si(peer.rx_packets),
            si(peer.rx_bytes),
            si(peer.tx_packets),
            si(peer.tx_bytes),
            si(peer.drops),
            peer.fdb_entries.to_string(),
            heard(peer),
            peer.state.clone(),
        ]);
    }
    table
}

/// A line for each peer that sends options.
fn received_options(peers: &[TunnelPeerInfo]) -> String {
    let senders = peers.iter().filter(|peer| !peer.options.is_empty());
    senders.map(|peer| format!("options from {}: {}\n", peer.address, peer.options.join(" "))).collect()
}

/// A line for each who sent last what nobody is expected to send.
fn intruders(intruders: &[IntruderInfo], number: &str) -> String {
    let line = |who: &IntruderInfo| {
        let number = who.number.map_or_else(|| format!("no {number}"), |given| format!("{number} {given}"));
        format!("last {}: {} with {number}, {}s ago\n", who.reason, who.source, who.age_secs)
    };
    intruders.iter().map(line).collect()
}

fn heard(peer: &TunnelPeerInfo) -> String {
    peer.heard_secs.map_or_else(|| "never".into(), |secs| format!("{secs}s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, state: &str) -> TunnelPeerInfo {
        TunnelPeerInfo {
            address: address.parse().unwrap(),
            state: state.into(),
            heard_secs: (state == "up").then_some(3),
            flooded: true,
            mtu: 1450,
            path_mtu: Some(1500),
            rx_packets: 12_345,
            rx_bytes: 1_234_567,
            tx_packets: 0,
            tx_bytes: 0,
            drops: 2,
            fdb_entries: 17,
            options: Vec::new(),
        }
    }

    fn tunnel(peers: Vec<TunnelPeerInfo>) -> TunnelInfo {
        TunnelInfo {
            name: "site-b".into(),
            kind: "vxlan".into(),
            number: Some(100),
            bridge: Some("lan".into()),
            wire: None,
            payload: "ethernet".into(),
            local: "10.8.0.1".parse().unwrap(),
            port: Some(4789),
            netns: None,
            underlay: "udp:10.8.0.1:4789".into(),
            mtu: 1450,
            accept: "remotes".into(),
            learning: true,
            split_horizon: true,
            mss_clamp: false,
            options: Vec::new(),
            intruders: Vec::new(),
            peers,
        }
    }

    #[test]
    fn peers_are_shown_a_row_each_within_80_columns() {
        let text = table(vec![
            tunnel(vec![peer("10.8.0.2", "up"), peer("10.8.0.3", "unheard")]),
            TunnelInfo { name: "any".into(), ..tunnel(Vec::new()) },
        ]);
        assert_eq!(
            text,
            "TUNNEL  TYPE    ID  PEER       MTU     RX  TX  DROPS  FDB  HEARD  STATE\n\
             site-b  vxlan  100  10.8.0.2  1450  12.3k   0      2   17     3s  up\n\
             site-b  vxlan  100  10.8.0.3  1450  12.3k   0      2   17  never  unheard\n\
             any     vxlan  100  -         1450      -   -      -    -      -  -\n"
        );
        let worst =
            peer("2001:db8:1111:2222:3333:4444:5555:6666", "unreachable: No route to host 86400 s ago");
        let text = table(vec![tunnel(vec![worst])]);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert_eq!(table(Vec::new()), "there is no tunnel\n");
    }

    #[test]
    fn who_sent_what_nobody_expects_is_shown() {
        let intruder = |reason: &str, number| IntruderInfo {
            reason: reason.into(),
            source: "10.8.0.9".parse().unwrap(),
            number,
            age_secs: 2,
        };
        let intruders = vec![intruder("stranger", Some(100)), intruder("tunnel-unknown", None)];
        let text = details(vec![TunnelInfo { intruders, ..tunnel(Vec::new()) }]);
        let expected = "last stranger: 10.8.0.9 with vni 100, 2s ago\nlast tunnel-unknown: 10.8.0.9 with no vni, 2s ago\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn the_options_of_peers_are_shown() {
        let sends = TunnelPeerInfo {
            options: vec!["0102:01:00".into(), "0103:02:".into()],
            ..peer("10.8.0.2", "up")
        };
        let text = details(vec![tunnel(vec![peer("10.8.0.3", "up"), sends])]);
        assert!(text.ends_with("\noptions from 10.8.0.2: 0102:01:00 0103:02:\n"), "{text}");
    }

    #[test]
    fn one_tunnel_is_shown_with_its_facts_and_peers() {
        let text = details(vec![tunnel(vec![peer("10.8.0.2", "up")])]);
        for line in ["vni           100\n", "local         10.8.0.1 port 4789\n", "options       -\n"] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let over_ip = TunnelInfo { kind: "gre".into(), number: None, port: None, ..tunnel(Vec::new()) };
        let text = details(vec![over_ip]);
        assert!(text.contains("key           -\n") && text.contains("10.8.0.1, over IP itself\n"), "{text}");
    }
}
