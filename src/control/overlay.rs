//! Tunnel ports as they run: which slot each peer has, what its path lets through, and the [`Overlay`] and [`Underlay`]
//! that the workers take.
//!
//! A peer keeps its slot as long as it is configured, since FDB entries name it by that. The slot of one that went is
//! free again only when [`LiveTunnel::release`] says that nothing names it any more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::config::{Config, Encapsulation, TunnelConfig, VlanMode};
use crate::packet::{Layer, PeerId, PortId};
use crate::port::underlay;
use crate::switch::{Overlay, Peer, Underlay};
use crate::sys::netns::Netns;
use crate::table::strangers::Strangers;
use crate::tunnel::geneve::{self, Geneve};
use crate::tunnel::gre::Gre;
use crate::tunnel::vxlan::Vxlan;
use crate::tunnel::{Protocol, Tunnel};

/// The MTU of an underlay that nobody can tell: that of Ethernet.
const USUAL_MTU: u32 = 1500;
/// The bounds of what is derived: every host takes 68 bytes (RFC 791), and no datagram holds much more.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65_000;

/// What a tunnel port has that outlives changes of its keys.
pub(super) struct LiveTunnel {
    slots: Vec<Slot>,
    /// Counts the packets sent, for GRE's sequence numbers: a change of another key does not start it anew.
    sequence: Arc<AtomicU32>,
    /// The peers that nobody configured.
    strangers: Arc<Strangers>,
    /// What the kernel last said of the ways to those.
    ways: BTreeMap<IpAddr, Option<u32>>,
    tunnel: Arc<dyn Tunnel>,
    /// What of an underlay's packet is not the inner one.
    overhead: u32,
    config: TunnelConfig,
}

enum Slot {
    Free,
    /// Its peer went; FDB entries may still name it.
    Leaving,
    Held(LivePeer),
}

/// A peer of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LivePeer {
    pub(super) address: IpAddr,
    /// It gets what is flooded.
    pub(super) flooded: bool,
    /// What the kernel last said of the way there, in bytes with the outer IP header; `None`: there is none.
    pub(super) path_mtu: Option<u32>,
}

impl LiveTunnel {
    /// The tunnel `name` of `config`, with its peers in slots of their own.
    pub(super) fn new(name: &str, tunnel: &TunnelConfig, vlan: &VlanMode, config: &Config) -> LiveTunnel {
        let sequence = Arc::default();
        let mut live = LiveTunnel {
            slots: Vec::new(),
            tunnel: codec(tunnel, &sequence),
            sequence,
            strangers: Arc::default(),
            ways: BTreeMap::new(),
            overhead: 0,
            config: tunnel.clone(),
        };
        live.configure(name, tunnel, vlan, config);
        live
    }

    /// Takes what the tunnel is to be. Gives the slots of the peers that went: to be released when nothing names them.
    pub(super) fn configure(
        &mut self,
        name: &str,
        tunnel: &TunnelConfig,
        vlan: &VlanMode,
        config: &Config,
    ) -> Vec<PeerId> {
        let elsewhere = self.config.local != tunnel.local || self.config.netns != tunnel.netns;
        if self.config.leads_elsewhere(tunnel) {
            // Nothing is known any more of what is behind it, so nothing names those who were met.
            self.strangers = Arc::default();
        }
        self.tunnel = codec(tunnel, &self.sequence);
        self.overhead = overhead(tunnel, self.tunnel.header_len(), matches!(vlan, VlanMode::Trunk { .. }));
        self.config = tunnel.clone();
        let (flooded, others) = config.peers(name, tunnel);
        let mut wanted: BTreeMap<IpAddr, bool> = others.into_iter().map(|address| (address, false)).collect();
        wanted.extend(flooded.into_iter().map(|address| (address, true)));

        let mut left = Vec::new();
        for (slot, index) in self.slots.iter_mut().zip(0..) {
            let Slot::Held(peer) = slot else { continue };
            match wanted.remove(&peer.address) {
                Some(flooded) => peer.flooded = flooded,
                None => {
                    *slot = Slot::Leaving;
                    left.push(PeerId(index));
                }
            }
        }
        let mut free = 0;
        let addresses: Vec<_> = wanted.keys().copied().collect();
        for ((address, flooded), path_mtu) in wanted.into_iter().zip(look(&self.config, &addresses)) {
            let peer = Slot::Held(LivePeer { address, flooded, path_mtu });
            while self.slots.get(free).is_some_and(|slot| !matches!(slot, Slot::Free)) {
                free += 1;
            }
            match self.slots.get_mut(free) {
                Some(slot) => *slot = peer,
                None => self.slots.push(peer),
            }
        }
        if elsewhere {
            self.look();
        } else {
            self.tell_of_strangers();
        }
        left
    }

    /// Makes the slot of a peer that went free for another. No FDB entry names it any more.
    pub(super) fn release(&mut self, peer: PeerId) {
        if let Some(slot @ Slot::Leaving) = self.slots.get_mut(peer.index()) {
            *slot = Slot::Free;
        }
    }

    /// Asks the kernel what the ways to the peers let through; true when that is another than it was.
    pub(super) fn look(&mut self) -> bool {
        let addresses: Vec<_> = self.peers().map(|(_, peer)| peer.address).collect();
        let mut seen = look(&self.config, &addresses).into_iter();
        let mut changed = false;
        for slot in &mut self.slots {
            if let Slot::Held(peer) = slot
                && let Some(path_mtu) = seen.next()
            {
                changed |= std::mem::replace(&mut peer.path_mtu, path_mtu) != path_mtu;
            }
        }
        let met: Vec<_> = self.strangers.all().into_iter().map(|(_, address)| address).collect();
        let path_mtus = look(&self.config, &met);
        let ways = met.into_iter().zip(path_mtus).collect();
        changed |= std::mem::replace(&mut self.ways, ways) != self.ways;
        self.tell_of_strangers();
        changed
    }

    /// Lets the workers know what gets to the peers that nobody configured.
    fn tell_of_strangers(&self) {
        for (id, peer) in self.strangers().filter(|(_, peer)| self.ways.contains_key(&peer.address)) {
            self.strangers.set_mtu(id, self.mtu_over(peer.path_mtu));
        }
    }

    /// The peers by their slots.
    pub(super) fn peers(&self) -> impl Iterator<Item = (PeerId, &LivePeer)> {
        self.slots.iter().zip(0..).filter_map(|(slot, index)| match slot {
            Slot::Held(peer) => Some((PeerId(index), peer)),
            Slot::Free | Slot::Leaving => None,
        })
    }

    /// The address of a peer, configured or not.
    pub(super) fn address_of(&self, peer: PeerId) -> Option<IpAddr> {
        match self.slots.get(peer.index()) {
            Some(Slot::Held(held)) => Some(held.address),
            Some(Slot::Free | Slot::Leaving) => None,
            None => self.strangers.address(peer),
        }
    }

    /// The peers that nobody configured, and that were met; not those that were configured since.
    pub(super) fn strangers(&self) -> impl Iterator<Item = (PeerId, LivePeer)> {
        let met = self.strangers.all().into_iter().filter(|(_, address)| self.slot_of(*address).is_none());
        met.map(|(id, address)| {
            let path_mtu = self.ways.get(&address).copied().flatten();
            (id, LivePeer { address, flooded: false, path_mtu })
        })
    }

    /// The slot of the peer with this address.
    pub(super) fn slot_of(&self, address: IpAddr) -> Option<PeerId> {
        self.peers().find(|(_, peer)| peer.address == address).map(|(id, _)| id)
    }

    /// The longest inner packet that gets whole to a peer behind a path with this MTU.
    pub(super) fn mtu_over(&self, path_mtu: Option<u32>) -> u32 {
        let fits = path_mtu.unwrap_or(USUAL_MTU).saturating_sub(self.overhead);
        let fits = fits.clamp(*MTUS.start(), *MTUS.end());
        match self.config.mtu {
            // The network fragments what is longer.
            Some(mtu) if self.config.outer.dont_fragment == Some(false) => mtu,
            Some(mtu) => mtu.min(fits),
            None => fits,
        }
    }

    /// Whether it has a peer with this address, configured or not.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.slot_of(address).is_some() || self.strangers().any(|(_, peer)| peer.address == address)
    }

    /// The longest inner packet that gets whole to every peer.
    pub(super) fn mtu(&self) -> u32 {
        let known = self.ways.values().flatten().map(|&path_mtu| self.mtu_over(Some(path_mtu)));
        let mtus = self.peers().map(|(_, peer)| self.mtu_over(peer.path_mtu)).chain(known);
        mtus.min().unwrap_or_else(|| self.mtu_over(None))
    }

    /// The half of the port that the workers take; `underlay` is what it sends by.
    pub(super) fn overlay(&self, underlay: PortId) -> Overlay {
        let peer = |slot: &Slot| match slot {
            Slot::Held(peer) => Some(Peer { address: peer.address, mtu: self.mtu_over(peer.path_mtu) }),
            Slot::Free | Slot::Leaving => None,
        };
        Overlay {
            tunnel: Arc::clone(&self.tunnel),
            underlay,
            port: self.config.port.unwrap_or_default(),
            peers: self.slots.iter().map(peer).collect(),
            flood: self.peers().filter(|(_, peer)| peer.flooded).map(|(id, _)| id).collect(),
            outer: self.config.outer,
            mss_clamp: self.config.mss_clamp,
            strangers: self.config.accept_any.then(|| Arc::clone(&self.strangers)),
        }
    }

    fn protocol(&self) -> &'static Protocol {
        self.config.protocol()
    }
}

/// The half of an underlay that the workers take, of all the tunnels over it; `None` when there are none.
pub(super) fn underlay(tunnels: &[(PortId, &LiveTunnel)]) -> Option<Underlay> {
    let (_, first) = tunnels.first()?;
    let mut underlay =
        Underlay { protocol: first.protocol(), peers: Default::default(), tunnels: Default::default() };
    for (port, live) in tunnels {
        let id = live.config.id();
        // A group is nobody that sends.
        let senders = live.peers().filter(|(_, peer)| !peer.address.is_multicast());
        underlay.peers.extend(senders.map(|(peer, live)| ((id, live.address), (*port, peer))));
        // Of several with one number, the one that takes what comes from strangers.
        if live.config.accept_any || !underlay.tunnels.contains_key(&id) {
            underlay.tunnels.insert(id, *port);
        }
    }
    Some(underlay)
}

/// What writes the headers of a tunnel.
fn codec(config: &TunnelConfig, count: &Arc<AtomicU32>) -> Arc<dyn Tunnel> {
    let layer = config.payload;
    match &config.encapsulation {
        Encapsulation::Vxlan { vni, strict } => Arc::new(Vxlan { vni: *vni, strict: *strict }),
        Encapsulation::Geneve { vni, options } => {
            let options: Vec<_> = options.iter().map(geneve::Opt::from).collect();
            // The configuration was checked: they can be encoded.
            let options = geneve::encode(&options).unwrap_or_default();
            Arc::new(Geneve { vni: *vni, options, layer })
        }
        Encapsulation::Gre { key, checksum, sequence } => {
            let sequence = sequence.then(|| Arc::clone(count));
            Arc::new(Gre { key: *key, checksum: *checksum, sequence, layer })
        }
    }
}

/// Bytes of an outer packet that are not the inner one, with an inner Ethernet header and tag.
fn overhead(config: &TunnelConfig, header: usize, tagged: bool) -> u32 {
    let ip = if config.local.is_ipv4() { 20 } else { 40 };
    let udp = if config.port.is_some() { 8 } else { 0 };
    let ethernet = match config.payload {
        Layer::Ethernet if tagged => 18,
        Layer::Ethernet => 14,
        Layer::Ip => 0,
    };
    ip + udp + header as u32 + ethernet
}

fn look(config: &TunnelConfig, addresses: &[IpAddr]) -> Vec<Option<u32>> {
    let netns = config.netns.clone().map(Netns::new);
    underlay::path_mtus(netns.as_ref(), config.local, addresses)
}

#[cfg(test)]
mod tests {
    use super::super::config::Document;
    use super::*;
    use crate::time::Time;

    fn config(keys: &str) -> Config {
        let text = format!("bridge.lan = {{}}\n[port.t]\nbridge = \"lan\"\n{keys}\n");
        Document::parse(&text, "t").unwrap().to_config().unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn tunnel(config: &Config) -> (&TunnelConfig, &VlanMode) {
        config.tunnels().map(|(_, tunnel, port)| (tunnel, &port.vlan)).next().expect("there is one")
    }

    fn live(config: &Config) -> LiveTunnel {
        let (tunnel, vlan) = tunnel(config);
        LiveTunnel::new("t", tunnel, vlan, config)
    }

    fn addresses(live: &LiveTunnel) -> Vec<(u16, String)> {
        live.peers().map(|(id, peer)| (id.0, peer.address.to_string())).collect()
    }

    #[test]
    fn a_peer_keeps_its_slot_and_one_that_went_gives_its_own_up_when_it_is_released() {
        let with = |remotes: &str| config(&format!("type = \"vxlan\"\nvni = 1\nremotes = \"{remotes}\""));
        let before = with("10.8.0.5,10.8.0.3");
        let mut live = live(&before);
        assert_eq!(addresses(&live), [(0, "10.8.0.3".into()), (1, "10.8.0.5".into())]);

        let change = |live: &mut LiveTunnel, remotes: &str| {
            let config = with(remotes);
            let (tunnel, vlan) = tunnel(&config);
            live.configure("t", tunnel, vlan, &config)
        };
        assert_eq!(change(&mut live, "10.8.0.5,10.8.0.1"), [PeerId(0)]);
        assert_eq!(addresses(&live), [(1, "10.8.0.5".into()), (2, "10.8.0.1".into())]);
        let overlay = live.overlay(PortId(9));
        assert_eq!(overlay.peers[0], None);
        assert_eq!(overlay.flood, [PeerId(1), PeerId(2)]);

        live.release(PeerId(0));
        // Nothing but a slot that was left can be released.
        live.release(PeerId(1));
        live.release(PeerId(77));
        assert_eq!(change(&mut live, "10.8.0.5,10.8.0.1,10.8.0.9"), []);
        assert_eq!(addresses(&live).len(), 3);
        assert_eq!(live.slot_of("10.8.0.9".parse().unwrap()), Some(PeerId(0)));
    }

    #[test]
    fn who_was_met_is_known_only_while_unknown_peers_are_taken() {
        let with = |keys: &str| config(&format!("type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.5\"\n{keys}"));
        let open = with("accept = \"any\"");
        for (change, forgotten) in
            [("accept = \"any\"\nmtu = 1400", false), ("", true), ("port = 4790", true)]
        {
            let mut live = live(&open);
            live.strangers.meet("10.8.0.9".parse().unwrap(), Time::ZERO);
            let to = with(change);
            let (tunnel, vlan) = tunnel(&to);
            live.configure("t", tunnel, vlan, &to);
            assert_eq!(live.strangers().count(), usize::from(!forgotten), "{change}");
        }
    }

    #[test]
    fn peers_of_static_entries_get_nothing_that_is_flooded() {
        let entry = "[[fdb]]\nmac = \"02:00:00:00:00:01\"\nport = \"t\"\nremote = \"10.8.0.9\"";
        let config = config(&format!("type = \"gre\"\nremotes = [\"10.8.0.2\"]\n{entry}"));
        let overlay = live(&config).overlay(PortId(9));
        assert_eq!(overlay.peers.iter().flatten().count(), 2);
        let flooded: Vec<_> =
            overlay.flood.iter().map(|id| overlay.peers[id.index()].unwrap().address).collect();
        assert_eq!(flooded, ["10.8.0.2".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn the_mtu_is_what_the_headers_leave() {
        for (keys, mtu) in [
            ("type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.2\"", 1450),
            ("type = \"vxlan\"\nvni = 1\nremotes = \"fd00::2\"", 1430),
            ("type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.2\"\ntrunk = \"all\"", 1446),
            ("type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.2\"\nvlan = 5", 1450),
            ("type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.2\"\nmtu = 1400", 1400),
            ("type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.2\"\nmtu = 9000", 1450),
            ("type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.2\"\nmtu = 9000\ndf = false", 9000),
            ("type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.2\"\ndf = false", 1450),
            ("type = \"gre\"\nkey = 7\ntransport = \"ip\"\nremotes = \"10.8.0.2\"", 1458),
            (
                "type = \"geneve\"\nvni = 1\nremotes = \"10.8.0.2\"\noptions = [{ class = 1, type = 1, data = \"00000000\" }]",
                1442,
            ),
        ] {
            assert_eq!(live(&config(keys)).mtu_over(Some(1500)), mtu, "{keys}");
        }
        let live = live(&config("type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.2\""));
        assert_eq!(
            (live.mtu_over(None), live.mtu_over(Some(0)), live.mtu_over(Some(u32::MAX))),
            (1450, 68, 65_000)
        );
    }

    #[test]
    fn an_underlay_knows_whose_a_packet_is() {
        let both = config(
            "type = \"vxlan\"\nvni = 1\nremotes = \"10.8.0.2\"\n[port.any]\ntype = \"vxlan\"\nbridge = \"lan\"\nvni = 1\n\
             accept = \"any\"\nremotes = [\"239.1.1.1\", \"10.8.0.3\"]",
        );
        let live = |name: &str| {
            let (_, tunnel, port) = both.tunnels().find(|(port, ..)| *port == name).unwrap();
            LiveTunnel::new(name, tunnel, &port.vlan, &both)
        };
        let (one, any) = (live("t"), live("any"));
        let underlay = underlay(&[(PortId(4), &one), (PortId(5), &any)]).unwrap();
        let id = crate::tunnel::TunnelId::new(1);
        let peer = |address: &str| underlay.peers.get(&(id, address.parse().unwrap())).copied();
        assert_eq!(peer("10.8.0.2"), Some((PortId(4), PeerId(0))));
        assert_eq!(peer("10.8.0.3"), any.slot_of("10.8.0.3".parse().unwrap()).map(|peer| (PortId(5), peer)));
        assert_eq!(peer("239.1.1.1"), None);
        assert_eq!(underlay.tunnels.get(&id), Some(&PortId(5)));
    }
}
