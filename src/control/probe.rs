//! Echoes to peers of tunnels: whom one goes to, and waiting for its answer.

use std::net::IpAddr;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::api::ProbeInfo;
use super::overlay::{LivePeer, LiveTunnel};
use super::shape::Live;
use crate::packet::{PeerId, PortId};
use crate::worker::Echo;

/// How long an answer may be on its way.
const PATIENCE: Duration = Duration::from_secs(1);

/// An echo that is on its way.
pub(super) struct Sent {
    pub(super) info: ProbeInfo,
    pub(super) echo: Receiver<Echo>,
}

impl Sent {
    /// Waits until it is known how the echo ended; one that does not come back is lost.
    pub(super) fn wait(self) -> ProbeInfo {
        match self.echo.recv_timeout(PATIENCE) {
            Ok(Echo::Answered(after)) => {
                ProbeInfo { rtt_nanos: Some(after.as_nanos().try_into().unwrap_or(u64::MAX)), ..self.info }
            }
            Ok(Echo::NotSent(why)) => ProbeInfo { not_sent: Some(why), ..self.info },
            Err(_) => self.info,
        }
    }
}

/// Whom an echo goes to: a peer in its slot, of a tunnel port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) tunnel: PortId,
    pub(super) peer: PeerId,
    pub(super) address: IpAddr,
    /// The longest inner packet that gets there.
    pub(super) mtu: u32,
}

/// The peer that `to` means: its address, or the name of a tunnel port that has one peer only. `port` says of which
/// tunnel, where several have that peer.
pub(super) fn target<'a>(live: &'a Live, to: &str, port: Option<&str>) -> Result<Target<'a>, String> {
    let tunnels = live.ports.iter().filter_map(|(name, port)| Some((name, port.id, port.tunnel.as_ref()?)));
    let of = |(name, id, tunnel): (&'a String, PortId, &'a LiveTunnel), (peer, it): (PeerId, LivePeer)| {
        Target { name, tunnel: id, peer, address: it.address, mtu: tunnel.mtu_over(it.path_mtu) }
    };
    let senders = |tunnel: &'a LiveTunnel| {
        let all = tunnel.peers().map(|(id, peer)| (id, *peer)).chain(tunnel.strangers());
        all.filter(|(_, peer)| !peer.address.is_multicast())
    };
    let named = |name: &str| tunnels.clone().find(|(tunnel, ..)| *tunnel == name);
    if let Some(name) = port
        && named(name).is_none()
    {
        return Err(format!("there is no tunnel {name} (tunnel show lists them)"));
    }
    let Ok(address) = to.parse::<IpAddr>() else {
        let tunnel = named(to).ok_or_else(|| format!("there is no tunnel {to} (tunnel show lists them)"))?;
        let peers: Vec<_> = senders(tunnel.2).collect();
        return match peers[..] {
            [peer] => Ok(of(tunnel, peer)),
            _ => Err(format!(
                "tunnel {to} has {} peers (name one by its address, with --port {to})",
                peers.len()
            )),
        };
    };
    let has = |tunnel: (&'a String, PortId, &'a LiveTunnel)| {
        let peer = senders(tunnel.2).find(|(_, peer)| peer.address == address)?;
        Some(of(tunnel, peer))
    };
    let found: Vec<_> =
        tunnels.clone().filter(|(name, ..)| port.is_none_or(|port| port == *name)).filter_map(has).collect();
    match found[..] {
        [target] => Ok(target),
        [] => {
            Err(format!("{address} is no peer of {} (tunnel show lists them)", port.unwrap_or("any tunnel")))
        }
        [first, second, ..] => Err(format!(
            "{address} is a peer of {} tunnels, such as {} and {} (say which: --port {})",
            found.len(),
            first.name,
            second.name,
            first.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Document;
    use super::super::shape::LivePort;
    use super::*;
    use crate::packet::Capabilities;
    use crate::port::Opened;

    fn live(text: &str) -> Live {
        let config =
            Document::parse(text, "t").unwrap().to_config().unwrap_or_else(|errors| panic!("{errors}"));
        let mut live = Live::default();
        for name in config.ports.keys() {
            let opened = Opened {
                made: None,
                queues: Vec::new(),
                capabilities: Capabilities::NONE,
                link: None,
                guest: None,
                look: Box::new(|| None),
            };
            let (port, _) = LivePort::new(live.free_port(), opened, Default::default());
            live.ports.insert(name.clone(), port);
        }
        assert_eq!(live.configure_tunnels(&config), []);
        live
    }

    #[test]
    fn an_echo_goes_to_the_peer_that_is_meant_or_the_refusal_says_what_to_say() {
        let text = "bridge.lan = {}
            port.a = { type = \"vxlan\", bridge = \"lan\", vni = 1, remotes = \"10.8.0.2\" }
            port.b = { type = \"vxlan\", bridge = \"lan\", vni = 2, remotes = \"10.8.0.2,10.8.0.3\" }
            port.c = { type = \"gre\", bridge = \"lan\", accept = \"any\", remotes = \"239.1.1.1\" }
            port.d = { type = \"patch\", bridge = \"lan\", peer = \"e\" }
            port.e = { type = \"patch\", bridge = \"wan\", peer = \"d\" }
            bridge.wan = {}";
        let live = live(text);
        for (to, port, name, address) in [
            ("a", None, "a", "10.8.0.2"),
            ("10.8.0.3", None, "b", "10.8.0.3"),
            ("10.8.0.2", Some("b"), "b", "10.8.0.2"),
        ] {
            let target = target(&live, to, port).unwrap();
            assert_eq!((target.name, target.address.to_string().as_str()), (name, address), "{to}");
            assert_eq!(live.ports[name].id, target.tunnel);
        }
        for (to, port, why) in [
            ("b", None, "tunnel b has 2 peers (name one by its address, with --port b)"),
            ("c", None, "tunnel c has 0 peers (name one by its address, with --port c)"),
            ("d", None, "there is no tunnel d (tunnel show lists them)"),
            ("10.8.0.2", None, "10.8.0.2 is a peer of 2 tunnels, such as a and b (say which: --port a)"),
            ("10.8.0.9", None, "10.8.0.9 is no peer of any tunnel (tunnel show lists them)"),
            ("10.8.0.3", Some("a"), "10.8.0.3 is no peer of a (tunnel show lists them)"),
            ("239.1.1.1", None, "239.1.1.1 is no peer of any tunnel (tunnel show lists them)"),
            ("10.8.0.2", Some("x"), "there is no tunnel x (tunnel show lists them)"),
        ] {
            assert_eq!(target(&live, to, port), Err(why.into()), "{to}");
        }
    }

    #[test]
    fn an_echo_ends_as_it_is_told_and_is_lost_when_nobody_tells() {
        let sent = || {
            let (done, echo) = crossbeam_channel::bounded(1);
            let remote = "10.8.0.2".parse().unwrap();
            let info =
                ProbeInfo { port: "a".into(), remote, size: 64, mtu: 1450, rtt_nanos: None, not_sent: None };
            (done, Sent { info, echo })
        };
        let (done, answered) = sent();
        done.send(Echo::Answered(Duration::from_micros(5))).unwrap();
        assert_eq!(answered.wait().rtt_nanos, Some(5000));
        let (done, refused) = sent();
        done.send(Echo::NotSent("no".into())).unwrap();
        assert_eq!(refused.wait().not_sent.as_deref(), Some("no"));
        let (done, lost) = sent();
        drop(done);
        let info = lost.wait();
        assert_eq!((info.rtt_nanos, info.not_sent), (None, None));
    }
}
