//! What nobody asks for: taking what the workers, the kernel and guests tell, and looking for what nobody tells.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, never, select};

use super::{State, about, lock};
use crate::control::config::protocol_text;
use crate::control::opening;
use crate::control::shape::{Flap, LivePort};
use crate::packet::{BridgeId, PortId, Tuple};
use crate::port::guest::News;
use crate::port::watch::LinkEvent;
use crate::switch;
use crate::sys::netns::Netns;
use crate::wire::address::Address;
use crate::wire::ethernet::Mac;
use crate::wire::{tcp, udp};
use crate::worker::{Echo, Event};

/// How often the device of a port that is missing is looked for, besides when the kernel tells that it came.
const RETRY: Duration = Duration::from_secs(1);
/// How often the ways to peers are looked at. That one has become narrower is told; that it is wide again is not.
const LOOK: Duration = Duration::from_secs(60);
/// How soon after guests were taken note of they are again. One that comes and goes as fast as it can is to keep neither
/// the workers busy with new topologies nor the log.
const GUESTS_PAUSE: Duration = Duration::from_millis(50);

/// Takes what the workers and the kernel tell, and looks now and then for what nobody tells. Ends with the workers.
pub(super) fn watch(
    state: &Mutex<State>,
    events: &Receiver<Event>,
    woken: &Receiver<()>,
    links: &Receiver<LinkEvent>,
) {
    let (mut chores, mut links) = (never(), links.clone());
    loop {
        select! {
            recv(events) -> event => match event {
                Ok(event) => lock(state).note(event),
                Err(_) => return,
            },
            recv(links) -> event => match event {
                Ok(event) if lock(state).note_link(&event) => {}
                Ok(_) => continue, // of an interface that no port has
                Err(_) => links = never(), // the thread that listened has ended, and said so
            },
            recv(woken) -> _ => {}
            recv(chores) -> _ => {}
        }
        chores = lock(state).do_chores().map_or_else(never, after);
    }
}

impl State {
    /// Looks for what nobody tells, and says when to do so again, if ever.
    pub(super) fn do_chores(&mut self) -> Option<Duration> {
        let guests = self.look_at_guests();
        let missing = self.look_for_missing().then_some(RETRY);
        let ways = self.look_at_ways();
        let exports = self.tell_exporters();
        [guests, missing, ways, exports].into_iter().flatten().min()
    }

    /// Looks at the ways to the peers of tunnels when that is due, and says when it is due again.
    fn look_at_ways(&mut self) -> Option<Duration> {
        let tunnels = self.live.ports.values().filter(|port| port.tunnel.is_some());
        let tunnels: Vec<_> = tunnels.map(|port| port.id).collect();
        if tunnels.is_empty() {
            return None;
        }
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.look_at_links(|port| tunnels.contains(&port));
        }
        Some(LOOK.saturating_sub(self.looked.elapsed()))
    }

    /// Takes note of guests that have attached to a port, and of those that have left; or says when to, where that was done
    /// just now.
    fn look_at_guests(&mut self) -> Option<Duration> {
        let since = self.guests_noted.map(|noted| noted.elapsed());
        if let Some(since) = since.filter(|&since| since < GUESTS_PAUSE) {
            return Some(GUESTS_PAUSE - since);
        }
        let mut left = Vec::new();
        let mut changed = false;
        for (name, port) in &mut self.live.ports {
            let before = (port.waits_for_guest(), port.capabilities());
            port.look_at_guest();
            let now = (port.waits_for_guest(), port.capabilities());
            let told = match (before.0, now.0) {
                (true, false) => Some("a guest is attached"),
                (false, true) => {
                    left.push(port.id);
                    Some("its guest has left; the port waits for the next")
                }
                _ => None,
            };
            if let Some(what) = told {
                tracing::info!(port = name, "{what}");
            }
            changed |= before != now;
        }
        if changed {
            self.guests_noted = Some(Instant::now());
            let topology = self.next_topology();
            self.exchange(topology, Vec::new(), Vec::new());
        }
        for id in left {
            self.live.bridges.values().for_each(|bridge| {
                bridge.fdb.flush(|_, entry| entry.port == id);
            });
        }
        None
    }

    /// The callback by which a port says that its guest has come or gone.
    pub(super) fn news(&self) -> News {
        let wake = self.wake.clone();
        // When one is on its way already, that is enough.
        Arc::new(move || _ = wake.try_send(()))
    }

    /// Looks for the devices of ports that are missing; true when some still are.
    fn look_for_missing(&mut self) -> bool {
        let missing: Vec<_> =
            self.live.ports.iter().filter(|(_, port)| port.missing).map(|(name, _)| name.clone()).collect();
        for name in missing {
            let Some(config) = self.config.ports.get(&name) else { continue };
            if !opening::exists(&config.kind) {
                continue;
            }
            match self.open(&name, config) {
                Ok(opened) => {
                    self.reattach(&name, opened);
                    tracing::info!(port = name, "its device is back");
                }
                Err(why) => self.complain(&name, why),
            }
        }
        self.live.ports.values().any(|port| port.missing)
    }

    /// Logs why a missing port cannot be taken again, once: it is tried every second.
    pub(super) fn complain(&mut self, name: &str, why: String) {
        if let Some(port) = self.live.ports.get_mut(name)
            && port.complaint != why
        {
            tracing::warn!(port = name, "{}", about(name, &why));
            port.complaint = why;
        }
    }

    /// Asks anew what the way to a peer lets through.
    fn look_at_ways_to(&mut self, address: IpAddr) {
        let has = |port: &LivePort| port.tunnel.as_ref().is_some_and(|t| t.has(address));
        let ports: Vec<_> = self.live.ports.values().filter(|port| has(port)).map(|port| port.id).collect();
        self.look_at_links(|port| ports.contains(&port));
    }

    /// Looks at the devices of ports, and publishes what MTUs have changed.
    pub(super) fn look_at_links(&mut self, which: impl Fn(PortId) -> bool) {
        let mut changed = false;
        for (name, port) in self.live.ports.iter_mut().filter(|(_, port)| which(port.id)) {
            let before = port.mtu();
            changed |= port.look();
            if port.mtu() != before {
                tracing::info!(port = name, mtu = port.mtu(), "its MTU is another now");
            }
        }
        if changed {
            let topology = self.next_topology();
            self.exchange(topology, Vec::new(), Vec::new());
        }
    }

    /// Logs a packet that a rule wants logged.
    fn note_logged(&mut self, rule: u32, port: PortId, tuple: Tuple) {
        let port = self.live.port_name(port).unwrap_or("-");
        let end = |address: Address, port: u16| match (tuple.protocol, port) {
            (tcp::PROTOCOL | udp::PROTOCOL, port) => SocketAddr::new(address.into(), port).to_string(),
            _ => address.to_string(),
        };
        let from = end(tuple.source, tuple.source_port);
        let to = end(tuple.destination, tuple.destination_port);
        let protocol = protocol_text(tuple.protocol);
        let comment = self.config.rules.get(rule as usize).and_then(|rule| rule.comment.as_deref());
        tracing::info!(rule = rule + 1, port, comment, "{protocol} from {from} to {to}");
    }

    fn note_flap(&mut self, bridge: BridgeId, mac: Mac, from: PortId, to: PortId) {
        let Some((name, live)) = self.live.bridges.iter_mut().find(|(_, live)| live.id == bridge) else {
            return;
        };
        live.last_flap = Some(Flap { mac, from, to, at: Instant::now() });
        let bridge = name.clone();
        let port = |id| self.live.port_name(id).unwrap_or("-");
        let (from, to) = (port(from), port(to));
        tracing::warn!(
            bridge, %mac, from, to,
            "a station moves to and fro: two hosts with one address, or a loop (bridge show counts further flaps)"
        );
    }

    /// Looks at the ports whose interface something has happened to; false when there are none.
    fn note_link(&mut self, event: &LinkEvent) -> bool {
        let concerns = |(name, port): &(&String, &LivePort)| {
            let Some(config) = self.config.ports.get(*name) else { return false };
            let Some((device, netns)) = config.kind.device() else { return false };
            let Some((index, name)) = &event.link else { return true };
            netns == event.netns.as_ref().map(Netns::as_str)
                && (name == device || port.link.as_ref().is_some_and(|link| link.index == *index))
        };
        let ports: Vec<_> = self.live.ports.iter().filter(concerns).map(|(_, port)| port.id).collect();
        self.look_at_links(|port| ports.contains(&port));
        !ports.is_empty()
    }

    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::Switch(switch::Event::TooLong(id)) => self.look_at_links(|port| port == id),
            // What was gone may have been replaced while the worker told it.
            Event::Gone { port, installed } if self.installed.get(&port) == Some(&installed) => {
                if let Some(name) = self.live.port_name(port).map(str::to_owned) {
                    self.mark_missing(&name);
                }
            }
            Event::Gone { .. } => {}
            Event::PathMtu { to } => self.look_at_ways_to(to),
            Event::NotSent { token, reason } => self.end_echo(token, Echo::NotSent(reason.meaning().into())),
            Event::Switch(switch::Event::Echo { token, after }) => {
                self.end_echo(token, Echo::Answered(after))
            }
            Event::Switch(switch::Event::Logged { rule, port, tuple }) => self.note_logged(rule, port, tuple),
            Event::Switch(switch::Event::Flap { bridge, mac, from, to }) => {
                self.note_flap(bridge, mac, from, to);
            }
        }
    }
}
