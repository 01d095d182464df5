//! Facts to begin a test from.

use super::{Contact, Facts};
use crate::control::api::{
    BridgeInfo, DeviceInfo, HostInfo, NatInfo, NetnsInfo, PortInfo, PortStats, StatsInfo, TunNodeInfo,
    TunnelInfo, TunnelPeerInfo, VersionInfo, WorkerInfo,
};
use crate::control::config::{Config, Document};
use crate::wire::ethernet::Mac;

impl Facts {
    /// A switch that is well: two ports, one of them a `netdev`, and a tunnel.
    pub(in crate::cli::doctor) fn healthy() -> Facts {
        let config = Facts::config_of(
            "port.vm1 = { type = \"tap\", bridge = \"lan\" }
             port.vm2 = { type = \"netdev\", bridge = \"lan\" }
             port.far = { type = \"vxlan\", bridge = \"lan\", vni = 1, local = \"10.8.0.1\", remotes = \"10.8.0.2\" }",
        );
        let (version, pid) = (env!("CARGO_PKG_VERSION").to_owned(), 1);
        Facts {
            contact: Contact::Answers(VersionInfo { version, pid }),
            config: Ok(config),
            file: None,
            host: Ok(host()),
            ports: Ok(vec![port("vm1", "tap", 1450), port("vm2", "netdev", 1450)]),
            tunnels: Ok(vec![tunnel()]),
            bridges: Ok(vec![bridge()]),
            routers: Ok(Vec::new()),
            nat: Ok(NatInfo::default()),
            stats: Ok(stats()),
            drops: Ok(Vec::new()),
            echoes: Vec::new(),
        }
    }

    /// The same before it was started.
    pub(in crate::cli::doctor) fn idle() -> Facts {
        let Facts { config, host, .. } = Facts::healthy();
        Facts { config, host, ..Facts::nothing() }
    }

    /// Of nothing anything is known.
    pub(in crate::cli::doctor) fn nothing() -> Facts {
        Facts::unknown("it was not looked")
    }

    /// These ports, on the bridge `lan`, and two workers.
    pub(in crate::cli::doctor) fn config_of(ports: &str) -> Config {
        let text = format!("bridge.lan = {{}}\nswitch.workers = 2\n{ports}");
        let config = Document::parse(&text, "t").and_then(|document| document.to_config());
        config.unwrap_or_else(|errors| panic!("{errors}"))
    }
}

fn host() -> HostInfo {
    let device = |port: &str, multi_queue| DeviceInfo {
        port: port.into(),
        name: port.into(),
        exists: Some(true),
        multi_queue,
        ..DeviceInfo::default()
    };
    let devices = vec![device("vm1", Some(true)), device("vm2", None)];
    HostInfo {
        capabilities: Some(["net_admin", "net_raw", "sys_admin"].map(str::to_owned).into()),
        user_namespaces: Some(true),
        cores: 2,
        tun: TunNodeInfo { exists: true, error: None },
        receive_buffer_limit: Some(212_992),
        saw_all_processes: true,
        namespaces: vec![NetnsInfo { devices, ..NetnsInfo::default() }],
        ..HostInfo::default()
    }
}

fn port(name: &str, kind: &str, mtu: u32) -> PortInfo {
    PortInfo {
        name: name.into(),
        kind: kind.into(),
        bridge: Some("lan".into()),
        wire: None,
        device: Some(name.into()),
        netns: None,
        state: "up".into(),
        mtu: Some(mtu),
        mac: None,
        vlan: "-".into(),
        mode: "bridge".into(),
        hairpin: false,
        isolated: false,
        mirrors: Vec::new(),
        queues: 2,
        offloads: Vec::new(),
        rx_frames: 0,
        rx_bytes: 0,
        tx_frames: 0,
        tx_bytes: 0,
        drops: 0,
        fdb_entries: 0,
    }
}

fn tunnel() -> TunnelInfo {
    let peer = TunnelPeerInfo {
        address: [10, 8, 0, 2].into(),
        state: "up".into(),
        heard_secs: Some(1),
        flooded: true,
        mtu: 1450,
        path_mtu: Some(1500),
        rx_packets: 1,
        rx_bytes: 100,
        tx_packets: 1,
        tx_bytes: 100,
        drops: 0,
        fdb_entries: 0,
        options: Vec::new(),
    };
    TunnelInfo {
        name: "far".into(),
        kind: "vxlan".into(),
        number: Some(1),
        bridge: Some("lan".into()),
        wire: None,
        payload: "ethernet".into(),
        local: [10, 8, 0, 1].into(),
        port: Some(4789),
        netns: None,
        underlay: "udp:10.8.0.1:4789".into(),
        mtu: 1450,
        accept: "remotes".into(),
        learning: true,
        split_horizon: true,
        mss_clamp: true,
        options: Vec::new(),
        intruders: Vec::new(),
        peers: vec![peer],
    }
}

fn bridge() -> BridgeInfo {
    BridgeInfo {
        name: "lan".into(),
        mac: Mac::new([2, 0, 0, 0, 0, 1]),
        ports: vec!["far".into(), "vm1".into(), "vm2".into()],
        vlan_aware: false,
        ageing_secs: 300,
        fdb_entries: 2,
        fdb_limit: 8192,
        evictions: 0,
        flaps: 0,
        moves: 0,
        last_flap: None,
    }
}

fn stats() -> StatsInfo {
    let port = PortStats {
        name: "vm1".into(),
        rx_frames: 1000,
        rx_bytes: 60_000,
        tx_frames: 0,
        tx_bytes: 0,
        drops: 0,
        groups: 1,
        unknown: 1,
    };
    let worker = |index| WorkerInfo { index, ..WorkerInfo::default() };
    StatsInfo {
        epoch: 1,
        uptime_secs: 60,
        workers: vec![worker(0), worker(1)],
        rx_frames: 1000,
        tx_frames: 1000,
        copies: 0,
        replied: 0,
        drops: 0,
        conserved: true,
        ports: vec![port],
    }
}
