//! Tunnel ports and the underlays below them, as the topology has them: peers, and how what goes to them is sent.

use core::net::IpAddr;
use std::ops::AddAssign;
use std::sync::Arc;

use foldhash::HashMap;

use super::outbox::Recipients;
use super::stage::egress;
use crate::packet::{Frame, Inner, PeerId, PortId};
use crate::table::strangers::Strangers;
use crate::time::Time;
use crate::tunnel::{Protocol, Tunnel, TunnelId};

/// A tunnel port's own half: what stands in its packets, and who gets them.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Writes and checks the tunnel header.
    pub tunnel: Arc<dyn Tunnel>,
    /// The underlay it sends by.
    pub underlay: PortId,
    /// The UDP port of its peers; nothing where the underlay is IP itself.
    pub port: u16,
    /// Its peers, by [`PeerId`]. A free slot is `None`.
    pub peers: Vec<Option<Peer>>,
    /// The peers that get what is flooded.
    pub flood: Vec<PeerId>,
    /// What stands in the outer headers.
    pub outer: Outer,
    /// The MSS option of TCP is lowered to what fits, both ways.
    pub mss_clamp: bool,
    /// Peers that nobody configured, if those are accepted.
    pub strangers: Option<Arc<Strangers>>,
}

impl Overlay {
    /// The address of a peer, configured or not.
    #[inline]
    pub(super) fn address(&self, peer: PeerId) -> Option<IpAddr> {
        match self.peers.get(peer.index()) {
            Some(known) => known.as_ref().map(|peer| peer.address),
            None => self.strangers.as_ref()?.address(peer),
        }
    }

    /// Whether a frame may be sent where packets of `mtu` bytes get through: it fits, or may be cut until it does, by us
    /// or, where the outer packet may be fragmented because the inner one may, by the network.
    #[inline]
    pub(super) fn takes(&self, frame: &Frame, mtu: u32) -> bool {
        frame.offload.guessed
            || egress::fits(frame, mtu)
            || self.outer.dont_fragment.is_none() && !Inner::of(frame, 0).dont_fragment
    }

    /// The longest packet that gets to whom a frame is for; `None` where only the port's MTU is known.
    #[inline]
    pub(super) fn mtu_to(&self, recipients: Recipients) -> Option<u32> {
        let peer = recipients.peer()?;
        match self.peers.get(peer.index()) {
            Some(known) => Some(known.as_ref()?.mtu),
            None => self.strangers.as_ref()?.mtu(peer),
        }
    }
}

/// A peer of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where its packets go to, and where those it sends must come from. A multicast group only gets.
    pub address: IpAddr,
    /// Longest payload that gets there whole, in bytes behind the Ethernet header and tags.
    pub mtu: u32,
}

/// What stands in the outer headers of a tunnel's packets. ECN is as RFC 6040 says, whatever is set here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The DSCP, in the place of the TOS or traffic class; `None`: that of the inner packet.
    pub tos: Option<u8>,
    /// The TTL or hop limit; `None`: that of the inner packet.
    pub ttl: Option<u8>,
    /// Whether the network may fragment; `None`: as the inner packet says.
    pub dont_fragment: Option<bool>,
    /// Packets carry a UDP checksum.
    pub checksum: bool,
}

impl Default for Outer {
    fn default() -> Outer {
        Outer { tos: Some(0), ttl: Some(64), dont_fragment: Some(true), checksum: true }
    }
}

/// An underlay's own half: whose a datagram is that came in there.
#[derive(Clone, Debug)]
pub struct Underlay {
    /// The type of all the tunnels over it.
    pub protocol: &'static Protocol,
    /// The tunnel port and the peer by number and source address.
    pub peers: HashMap<(TunnelId, IpAddr), (PortId, PeerId)>,
    /// A tunnel port with this number, for what comes from nobody's peer.
    pub tunnels: HashMap<TunnelId, PortId>,
}

/// What a worker has seen of a peer of a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Packets that came from it and were taken.
    pub rx_packets: u64,
    /// Their bytes, tunnel headers included.
    pub rx_bytes: u64,
    /// Packets that the underlay took for it.
    pub tx_packets: u64,
    /// Their bytes, tunnel headers included.
    pub tx_bytes: u64,
    /// Packets to it that the underlay did not take.
    pub drops: u64,
    /// When a packet last came from it.
    pub heard: Option<Time>,
    /// What was last wrong with it.
    pub trouble: Option<Unreachable>,
}

/// The network has said that a peer is not to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreachable {
    /// When it said so.
    pub at: Time,
    /// The errno that stands for what it said.
    pub errno: i32,
}

/// A packet that was refused because nobody is expected to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intruder {
    /// Who sent it.
    pub source: IpAddr,
    /// The number that was in it.
    pub id: TunnelId,
    /// When it came.
    pub at: Time,
}

impl PeerCounters {
    #[inline]
    pub(super) fn received(&mut self, bytes: usize, now: Time) {
        self.rx_packets += 1;
        self.rx_bytes += bytes as u64;
        self.heard = Some(now);
    }

    #[inline]
    pub(super) fn sent(&mut self, bytes: usize, taken: bool) {
        if taken {
            self.tx_packets += 1;
            self.tx_bytes += bytes as u64;
        } else {
            self.drops += 1;
        }
    }
}

/// What several workers have seen is what all of it comes to, and the last that any of them has heard.
impl AddAssign<&PeerCounters> for PeerCounters {
    fn add_assign(&mut self, other: &PeerCounters) {
        self.rx_packets += other.rx_packets;
        self.rx_bytes += other.rx_bytes;
        self.tx_packets += other.tx_packets;
        self.tx_bytes += other.tx_bytes;
        self.drops += other.drops;
        self.heard = self.heard.max(other.heard);
        self.trouble = self.trouble.max(other.trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_several_workers_add_up_and_the_last_that_was_heard_counts() {
        let at = |secs, errno| Some(Unreachable { at: Time::from_secs(secs), errno });
        let one = PeerCounters {
            rx_packets: 1,
            rx_bytes: 2,
            heard: Some(Time::from_secs(5)),
            ..Default::default()
        };
        let two =
            PeerCounters { tx_packets: 3, tx_bytes: 4, drops: 5, trouble: at(7, 111), ..Default::default() };
        let mut sum = PeerCounters { trouble: at(8, 113), heard: Some(Time::from_secs(4)), ..one };
        sum += &one;
        sum += &two;
        let expected = PeerCounters {
            rx_packets: 2,
            rx_bytes: 4,
            tx_packets: 3,
            tx_bytes: 4,
            drops: 5,
            heard: Some(Time::from_secs(5)),
            trouble: at(8, 113),
        };
        assert_eq!(sum, expected);
    }
}
