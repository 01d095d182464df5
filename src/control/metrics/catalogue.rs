//! Every family of numbers, one by one.

/// Some numbers of one meaning, told apart by labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, with the unit at its end.
    pub name: &'static str,
    /// What its numbers do.
    pub kind: Kind,
    /// What tells them apart.
    pub labels: &'static [&'static str],
    /// What they mean, in a line.
    pub help: &'static str,
}

/// What a number does as time goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It grows, or starts anew from zero.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts how often something had which size: `_bucket` those up to the size in the label `le`, `_count` all of
    /// them, and `_sum` is their sum.
    Histogram,
}

impl Kind {
    /// Its name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Declares the families so that none is missing from [`FAMILIES`].
macro_rules! families {
    ($($constant:ident $kind:ident $name:literal $labels:tt $help:literal;)*) => {
        $(pub(super) static $constant: Family =
            Family { name: $name, kind: Kind::$kind, labels: &$labels, help: $help };)*

        /// Every family, in the order in which they are told.
        pub static FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    BUILD_INFO Gauge "tapyard_build_info" ["version"] "Which version runs; always 1.";
    UPTIME Gauge "tapyard_uptime_seconds" [] "How long the switch has been running.";
    TOPOLOGY_EPOCH Gauge "tapyard_topology_epoch" [] "Counts the changes of what runs, also those that nobody asked for.";
    CONFIG_RELOADED Gauge "tapyard_config_last_reload_successful" [] "Whether the configuration file was fine when it was last read: 1 or 0.";
    CONFIG_RELOADED_AT Gauge "tapyard_config_last_reload_success_timestamp_seconds" [] "When it was last read and put in place.";
    SCRAPE_DURATION Gauge "tapyard_scrape_duration_seconds" [] "How long it took to gather these numbers.";

    PORT_INFO Gauge "tapyard_port_info" ["port", "type", "bridge", "device"] "What a port is; always 1.";
    PORT_UP Gauge "tapyard_port_up" ["port"] "Whether a port can send: 1 or 0.";
    PORT_STATE Gauge "tapyard_port_state" ["port", "state"] "Which state a port is in (up, down, no-carrier, waiting, missing); 1 for that one, no row for the others.";
    PORT_MTU Gauge "tapyard_port_mtu_bytes" ["port"] "MTU of a port's device.";
    PORT_QUEUES Gauge "tapyard_port_queues" ["port"] "Queues of a port's device, or that its guest uses.";
    PORT_FDB_ENTRIES Gauge "tapyard_port_fdb_entries" ["port"] "Addresses learned behind a port.";
    PORT_RECEIVE_FRAMES Counter "tapyard_port_receive_frames_total" ["port"] "Frames that came in by a port, those included that were dropped then.";
    PORT_RECEIVE_BYTES Counter "tapyard_port_receive_bytes_total" ["port"] "Bytes of the frames that came in by a port.";
    PORT_TRANSMIT_FRAMES Counter "tapyard_port_transmit_frames_total" ["port"] "Frames that went out by a port.";
    PORT_TRANSMIT_BYTES Counter "tapyard_port_transmit_bytes_total" ["port"] "Bytes of the frames that went out by a port.";
    PORT_MADE_FRAMES Counter "tapyard_port_made_frames_total" ["port"] "Frames that the switch made at a port: copies, segments of superframes, answers.";
    PORT_ANSWERED_FRAMES Counter "tapyard_port_answered_frames_total" ["port"] "Frames from a port that were for the switch itself.";
    PORT_DROPPED_FRAMES Counter "tapyard_port_dropped_frames_total" ["port", "reason"] "Frames dropped at a port; a reason has a row when it has dropped something.";

    BRIDGE_FDB_ENTRIES Gauge "tapyard_bridge_fdb_entries" ["bridge"] "Addresses that a bridge has learned.";
    BRIDGE_FDB_LIMIT Gauge "tapyard_bridge_fdb_limit" ["bridge"] "The most addresses that a bridge learns.";
    BRIDGE_FDB_EVICTIONS Counter "tapyard_bridge_fdb_evictions_total" ["bridge"] "Addresses that made room for others in a full FDB.";
    BRIDGE_FDB_MOVES Counter "tapyard_bridge_fdb_moves_total" ["bridge"] "Stations that moved to another port.";
    BRIDGE_FDB_FLAPS Counter "tapyard_bridge_fdb_flaps_total" ["bridge"] "Stations that moved to and fro too often: a loop, or an address that two have.";
    BRIDGE_BINDINGS Gauge "tapyard_bridge_bindings" ["bridge"] "IP addresses whose MAC address a bridge knows to answer for them.";
    BRIDGE_BINDINGS_LIMIT Gauge "tapyard_bridge_bindings_limit" ["bridge"] "The most of those.";
    BRIDGE_SESSIONS Gauge "tapyard_bridge_sessions" ["bridge"] "Connections that a bridge tracks, in all VLANs.";
    BRIDGE_SESSIONS_FULLEST Gauge "tapyard_bridge_sessions_fullest_vlan" ["bridge"] "Connections in the VLAN of a bridge that has the most.";
    BRIDGE_SESSIONS_LIMIT Gauge "tapyard_bridge_sessions_limit" ["bridge"] "The most connections that a bridge tracks in one VLAN.";

    ROUTER_NEIGHBORS Gauge "tapyard_router_neighbors" ["router"] "Neighbours whose MAC address a router knows, static ones apart.";
    ROUTER_NEIGHBORS_LIMIT Gauge "tapyard_router_neighbors_limit" ["router"] "The most of those.";
    ROUTER_UNKNOWN Gauge "tapyard_router_unknown_neighbors" ["router"] "Neighbours that a router asks for, or that did not answer lately.";
    ROUTER_UNKNOWN_LIMIT Gauge "tapyard_router_unknown_neighbors_limit" ["router"] "The most of those.";
    ROUTER_SESSIONS Gauge "tapyard_router_sessions" ["router"] "Connections that a router tracks.";
    ROUTER_SESSIONS_LIMIT Gauge "tapyard_router_sessions_limit" ["router"] "The most of those.";
    ROUTER_HALF_OPEN Gauge "tapyard_router_half_open_sessions" ["router"] "Connections of a router that nobody has answered yet.";
    ROUTER_OPENED Counter "tapyard_router_sessions_opened_total" ["router"] "Connections that began.";
    ROUTER_EVICTED Counter "tapyard_router_sessions_evicted_total" ["router"] "Connections that made room for others in a full table.";
    ROUTER_REFUSED Counter "tapyard_router_sessions_refused_total" ["router", "reason"] "Connections that could not begin: the table was full, their source had as many as it may have, or NAT had no port left.";

    RULES Gauge "tapyard_rules" [] "Filter rules that there are.";
    RULE_MATCHED_FRAMES Counter "tapyard_rule_matched_frames_total" ["rule", "scope", "hook", "action"] "Packets that a rule matched, by its number; the first 1000 rules have a row.";
    RULE_MATCHED_BYTES Counter "tapyard_rule_matched_bytes_total" ["rule", "scope", "hook", "action"] "Bytes of the packets that a rule matched.";

    TUNNEL_INFO Gauge "tapyard_tunnel_info" ["tunnel", "type", "local", "underlay"] "What a tunnel is; always 1.";
    TUNNEL_MTU Gauge "tapyard_tunnel_mtu_bytes" ["tunnel"] "The longest inner packet that gets to all peers of a tunnel.";
    TUNNEL_PEERS Gauge "tapyard_tunnel_peers" ["tunnel"] "Peers of a tunnel.";
    PEER_UP Gauge "tapyard_tunnel_peer_up" ["tunnel", "remote"] "Whether a peer was heard, and the network has not called it unreachable since: 1 or 0; no row for a multicast group.";
    PEER_STATE Gauge "tapyard_tunnel_peer_state" ["tunnel", "remote", "state"] "Which state a peer is in (up, unheard, unreachable, group); 1 for that one, no row for the others.";
    PEER_HEARD_AT Gauge "tapyard_tunnel_peer_last_heard_timestamp_seconds" ["tunnel", "remote"] "When a packet last came from a peer; no row before the first.";
    PEER_PATH_MTU Gauge "tapyard_tunnel_peer_path_mtu_bytes" ["tunnel", "remote"] "The longest packet that the network lets through to a peer; no row when no way leads there.";
    PEER_RECEIVE_PACKETS Counter "tapyard_tunnel_peer_receive_packets_total" ["tunnel", "remote"] "Packets that came from a peer.";
    PEER_RECEIVE_BYTES Counter "tapyard_tunnel_peer_receive_bytes_total" ["tunnel", "remote"] "Bytes of the packets that came from a peer, tunnel headers included.";
    PEER_TRANSMIT_PACKETS Counter "tapyard_tunnel_peer_transmit_packets_total" ["tunnel", "remote"] "Packets that went to a peer.";
    PEER_TRANSMIT_BYTES Counter "tapyard_tunnel_peer_transmit_bytes_total" ["tunnel", "remote"] "Bytes of the packets that went to a peer, tunnel headers included.";
    PEER_DROPPED_PACKETS Counter "tapyard_tunnel_peer_dropped_packets_total" ["tunnel", "remote"] "Packets to a peer that the underlay did not take.";

    MIRROR_COPIES Counter "tapyard_mirror_copies_total" ["mirror"] "Copies that a mirror has made, those also that could not be sent.";
    MIRROR_CUT Counter "tapyard_mirror_cut_copies_total" ["mirror"] "Copies that were cut.";
    MIRROR_DROPPED Counter "tapyard_mirror_dropped_copies_total" ["mirror"] "Copies that the mirror's port did not take.";
    EXPORT_UP Gauge "tapyard_export_up" ["export", "protocol"] "Whether a collector can be reached, as far as the network says: 1 or 0.";
    EXPORT_SAMPLES Counter "tapyard_export_samples_total" ["export", "protocol"] "Frames that were sampled for a collector.";
    EXPORT_MISSED Counter "tapyard_export_missed_samples_total" ["export", "protocol"] "Samples that there was no room for.";
    EXPORT_DATAGRAMS Counter "tapyard_export_datagrams_total" ["export", "protocol"] "Datagrams that were sent to a collector.";
    EXPORT_ERRORS Counter "tapyard_export_errors_total" ["export", "protocol"] "Datagrams to a collector that could not be sent.";

    WORKERS Gauge "tapyard_workers" [] "Workers that there are; one that has no row below does not answer.";
    WORKER_BUSY Counter "tapyard_worker_busy_seconds_total" ["worker"] "How long a worker had something to do: its rate is the part of the time that it is busy.";
    WORKER_SLEEPS Counter "tapyard_worker_sleeps_total" ["worker"] "Times that a worker went to sleep.";
    WORKER_BUSY_POLLS Counter "tapyard_worker_busy_polls_total" ["worker"] "Times that a worker found frames before it went to sleep.";
    WORKER_BATCHES Histogram "tapyard_worker_batch_frames" ["worker"] "Frames in a batch.";
    WORKER_RECENT_PAUSE Gauge "tapyard_worker_recent_pause_seconds" ["worker", "chore"] "The longest that ports had to wait in the last ten to twenty seconds because a worker did something else than moving frames, and what.";
    WORKER_LONGEST_PAUSE Gauge "tapyard_worker_longest_pause_seconds" ["worker", "chore"] "The same since the start.";
    WORKER_RECENT_TURN Gauge "tapyard_worker_recent_turn_seconds" ["worker"] "The longest that all other ports had to wait for one port's turn in the last ten to twenty seconds.";
    WORKER_LONGEST_TURN Gauge "tapyard_worker_longest_turn_seconds" ["worker"] "The same since the start.";
    WORKER_REASSEMBLY_PACKETS Gauge "tapyard_worker_reassembly_packets" ["worker"] "Packets of which a worker has some fragments and waits for the rest.";
    WORKER_REASSEMBLY_PACKETS_LIMIT Gauge "tapyard_worker_reassembly_packets_limit" ["worker"] "The most of those.";
    WORKER_REASSEMBLY_BYTES Gauge "tapyard_worker_reassembly_bytes" ["worker"] "Bytes of the fragments that a worker keeps.";
    WORKER_REASSEMBLY_BYTES_LIMIT Gauge "tapyard_worker_reassembly_limit_bytes" ["worker"] "The most of those.";
}
