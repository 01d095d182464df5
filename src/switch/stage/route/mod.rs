//! Routing: what came for a router goes on to its next hop, is answered, or is dropped with a reason.
//!
//! Most packets belong to a flow that is known: `fast` finds it in the worker's own cache, edits the packet in place and
//! passes it on. Everything else walks through `slow`, in the order that Netfilter made familiar: the headers are
//! checked, fragments put together, the connection found; *prerouting* rules, translation of the destination, the
//! route; *input* rules and `local` for what is the router's own, or *forward* and *postrouting* rules, translation of
//! the source and the next hop's link address for what passes through. What `slow` has decided is then cached, so the
//! two must agree on every packet.

mod fragments;
mod leave;
mod local;
mod neighbor;
mod rules;
mod say;
mod timers;
mod track;

use std::sync::Arc;

pub(in crate::switch) use fragments::throw;
pub use rules::RuleCounters;
pub(in crate::switch) use rules::count;

use crate::packet::icmp_error::Trouble;
use crate::packet::rewrite::{self, Translation};
use crate::packet::{
    Batch, Counters, DropReason, Frame, InterfaceId, Layer, Packet, Part, PortId, RouterId, Tuple,
};
use crate::switch::counting::PortCounters;
use crate::switch::outbox::Outbox;
use crate::switch::router::{
    Attachment, Flow, FlowCache, Hook, Interface, Judged, Key, NextHop, Onward, ReversePath, Route, Router,
    Subject, Tracked,
};
use crate::switch::stage::egress;
use crate::switch::stage::filter::Filtering;
use crate::switch::walked::{self, Stage};
use crate::switch::{Event, MAX_EVENTS, Topology};
use crate::table::conntrack::{Direction, Session, State, TcpSegment};
use crate::table::fdb::Station;
use crate::table::fdb_cache::FdbCache;
use crate::table::reassembly::{Reassembly, Thrown, Whole};
use crate::time::Time;
use crate::wire::address::Address;
use crate::wire::{arp, icmp, ipv4, ipv6, nd, tcp};

/// A frame for a router.
#[derive(Clone, Copy, Debug)]
pub(in crate::switch) struct Arrived {
    pub(in crate::switch) frame: u32,
    /// The port it came in by.
    pub(in crate::switch) port: PortId,
    pub(in crate::switch) router: RouterId,
    pub(in crate::switch) interface: InterfaceId,
    /// The priority bits (PCP and DEI) of its VLAN tag, in place.
    pub(in crate::switch) priority: u16,
    /// How it came, when it was put together of parts.
    pub(in crate::switch) whole: Option<Whole>,
    /// It is for others too, so nothing in it may be changed, and what becomes of it is counted there.
    pub(in crate::switch) shared: bool,
}

/// What one worker needs for all routers.
pub(in crate::switch) struct Routing {
    /// Frames that wait for a router.
    pub(in crate::switch) inbox: Vec<Arrived>,
    pub(in crate::switch) flows: FlowCache,
    pub(in crate::switch) reassembly: Reassembly,
    pub(in crate::switch) filtering: Filtering,
    judged: Judged,
    /// By the place of a rule in the list of all.
    pub(in crate::switch) rules: Vec<RuleCounters>,
    /// When something is to be done without a packet; `None`: never.
    pub(in crate::switch) due: Option<Time>,
    /// What interfaces have to tell unasked.
    pub(in crate::switch) announcements: timers::Announcements,
}

impl Routing {
    pub(in crate::switch) fn new(seed: u64) -> Routing {
        Routing {
            inbox: Vec::new(),
            flows: FlowCache::new(seed),
            reassembly: Reassembly::default(),
            filtering: Filtering::default(),
            judged: Judged::default(),
            rules: Vec::new(),
            due: None,
            announcements: timers::Announcements::default(),
        }
    }

    /// Follows a change of the topology: what was decided by the old one is forgotten, what was counted is not. Parts of
    /// packets that came in where no more will come are added to `thrown`.
    pub(in crate::switch) fn set_topology(
        &mut self,
        before: &Topology,
        next: &Topology,
        thrown: &mut Vec<Thrown>,
    ) {
        self.flows.clear();
        if self.flows.forget_some() {
            self.wake_at(Some(Time::ZERO));
        }
        self.reassembly.retain(
            |router, interface| {
                let on = |topology: &Topology| Some(topology.router(router)?.interface(interface)?.on);
                on(next).is_some() && on(before) == on(next)
            },
            thrown,
        );
        self.rules = rules::carried(&before.rules, &self.rules, &next.rules);
        self.announcements.note(before, next);
    }

    /// Has the timers run no later than at `due`.
    pub(in crate::switch) fn wake_at(&mut self, due: Option<Time>) {
        self.due = [self.due, due].into_iter().flatten().min();
    }
}

/// What became of a frame that was not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is in a port's queue, or counted already.
    Gone,
    /// It is taken: answered, kept, or understood.
    Taken,
}

/// Frames of one router, on their way.
pub(in crate::switch) struct Walk<'a> {
    pub(in crate::switch) topology: &'a Topology,
    pub(in crate::switch) id: RouterId,
    pub(in crate::switch) router: &'a Router,
    pub(in crate::switch) now: Time,
    pub(in crate::switch) batch: &'a mut Batch,
    pub(in crate::switch) cache: &'a mut FdbCache,
    pub(in crate::switch) counters: &'a mut PortCounters,
    pub(in crate::switch) outbox: &'a mut Outbox,
    pub(in crate::switch) events: &'a mut Vec<Event>,
    pub(in crate::switch) routing: &'a mut Routing,
}

/// How a packet passes through: filled in from hook to hook.
struct Passage {
    /// What rules are asked about: its flow as far as it is translated.
    subject: Subject,
    /// A hash of the flow as it came in.
    flow: u64,
    known: Option<(Arc<Session>, Direction)>,
}

impl Walk<'_> {
    /// Does with a frame what a router does.
    pub(in crate::switch) fn take(&mut self, arrived: Arrived) {
        let fate = self.route(&arrived);
        if arrived.shared {
            return;
        }
        match fate {
            Ok(Fate::Gone) => {}
            Ok(Fate::Taken) => self.of(&arrived).replied += 1,
            Err(reason) => self.lose(arrived.port, arrived.frame, reason),
        }
    }

    /// Counts a frame that goes nowhere, at the port whose doing it is.
    fn lose(&mut self, port: PortId, frame: u32, reason: DropReason) {
        self.counters.drop(port, reason);
        self.outbox.watching.lost(port, &self.batch.frames()[frame as usize], reason);
    }

    fn of(&mut self, arrived: &Arrived) -> &mut Counters {
        self.counters.of(arrived.port)
    }

    fn route(&mut self, arrived: &Arrived) -> Result<Fate, DropReason> {
        let frame = &mut self.batch.frames_mut()[arrived.frame as usize];
        if frame.layer == Layer::Ethernet && !arrived.shared {
            frame.retag(None);
        }
        match frame.layer.network(frame.bytes()) {
            // Behind a tag that is none of the bridge's: it is of somebody else's VLAN, and so is what it says.
            Some((_, at)) if at != frame.link_len() => return Err(DropReason::Local),
            Some((arp::ETHER_TYPE, _)) => return self.arp(arrived),
            _ => {}
        }
        let frame = &self.batch.frames()[arrived.frame as usize];
        let packet = Packet::of(frame)?;
        self.say(Stage::Route, |walk| {
            let own = walk.topology.interface_name(walk.id, arrived.interface);
            format!("in by its interface {own}: {}, TTL {}", walked::flow(&packet.tuple), packet.ttl)
        });
        if arrived.shared {
            return self.neighbor_message(arrived, &packet);
        }
        if is_for_all(&self.batch.frames()[arrived.frame as usize]) {
            // Never passed on (RFC 1812 section 5.3.4), nor answered: it came only because nobody else is there.
            let fate = self.neighbor_message(arrived, &packet);
            return fate.map_err(|reason| match reason {
                DropReason::NotLocal => DropReason::NoMember,
                other => other,
            });
        }
        // The slow way decides the same, and says why.
        let recording = self.outbox.watching.recorder.is_on();
        match if recording { None } else { self.fast(arrived, &packet) } {
            Some(fate) => Ok(fate),
            None => self.slow(arrived, packet),
        }
    }

    /// Passes on a packet of a flow that is known; `None`: it has to be looked at again.
    #[inline]
    fn fast(&mut self, arrived: &Arrived, packet: &Packet) -> Option<Fate> {
        if !may_go_fast(packet) {
            return None;
        }
        let hash = self.routing.flows.hash(&packet.tuple);
        let key = Key { tuple: packet.tuple, at: (self.id.0, arrived.interface) };
        let flow = self.routing.flows.get(&key, hash)?;
        let frame = &mut self.batch.frames_mut()[arrived.frame as usize];
        if flow.neighbors != self.router.neighbors.generation() || !egress::fits(frame, flow.mtu) {
            return None;
        }
        if let Some((session, stamp, direction)) = &flow.session {
            if session.stamp() != *stamp || !session.is_live(self.now) {
                return None;
            }
            session.touch(*direction, self.now, segment(frame, packet));
        }
        for &rule in &flow.rules {
            count(&mut self.routing.rules, rule, packet.len());
        }
        rewrite::hop(frame, packet);
        if let Some(translation) = &flow.translation {
            translation.apply(frame, packet);
        }
        if flow.told != self.now.secs()
            && let Onward::Bridge { via, .. } = flow.onward
        {
            flow.told = self.now.secs();
            self.router.neighbors.lookup(flow.output, via, self.now);
            self.routing.due =
                [self.routing.due, self.router.neighbors.deadline()].into_iter().flatten().min();
        }
        let onward = flow.onward;
        self.leave(arrived.frame, arrived.port, arrived.priority, packet, &onward);
        Some(Fate::Gone)
    }

    /// Decides about a packet from its headers on.
    #[cold]
    fn slow(&mut self, arrived: &Arrived, packet: Packet) -> Result<Fate, DropReason> {
        self.check(arrived, &packet)?;
        if packet.part != Part::Whole && self.router.reassembles {
            return self.reassemble(arrived, &packet);
        }
        self.decide(arrived, packet)
    }

    /// Whether a router may have to do with a packet at all.
    fn check(&mut self, arrived: &Arrived, packet: &Packet) -> Result<(), DropReason> {
        let (source, destination) = (packet.tuple.source, packet.tuple.destination);
        let frame = &self.batch.frames()[arrived.frame as usize];
        if has_source_route(frame, packet) {
            return Err(DropReason::IpHeader);
        }
        let is_question = source.is_unspecified() && destination.is_multicast();
        let back = self.router.routes.lookup(source);
        if source.is_unspecified() && !is_question
            || matches!(back, Some(Route::Local | Route::Broadcast))
            || self.router.interface(arrived.interface).is_some_and(|own| own.has(source))
        {
            return Err(DropReason::Martian);
        }
        let strictness = self.router.interface(arrived.interface).map(|interface| interface.reverse_path);
        let reached = match strictness {
            _ if source.is_link_local() || is_question => true,
            Some(ReversePath::Strict) => back.is_some_and(|route| route.leaves_by(arrived.interface)),
            Some(ReversePath::Loose) => matches!(back, Some(Route::Connected(_) | Route::Via(_))),
            Some(ReversePath::Off) | None => true,
        };
        self.say(Stage::Check, |_| {
            let way = match back {
                Some(route) if route.leaves_by(arrived.interface) => "by the interface it came in by",
                Some(Route::Connected(_) | Route::Via(_)) => "by another interface",
                Some(_) => "nowhere",
                None => "not known",
            };
            format!(
                "the way back to {source} is {way} (reverse path: {})",
                match strictness {
                    Some(ReversePath::Strict) => "strict",
                    Some(ReversePath::Loose) => "loose",
                    Some(ReversePath::Off) | None => "off",
                }
            )
        });
        if reached { Ok(()) } else { Err(DropReason::ReversePath) }
    }

    /// Decides about a whole packet, or a part that passes as it is.
    fn decide(&mut self, arrived: &Arrived, packet: Packet) -> Result<Fate, DropReason> {
        // Links work whatever rules say: of ARP they see nothing either.
        if packet.tuple.destination.is_multicast() || self.is_from_neighbor(arrived, &packet) {
            return self.neighbor_message(arrived, &packet);
        }
        self.routing.judged.clear();
        let fate = self.pass(arrived, &packet);
        self.note_rules(arrived, &packet);
        if fate == Err(DropReason::Rejected) {
            self.refuse(arrived, &packet);
        }
        fate
    }

    /// Whether it is neighbour discovery for an address of the interface that it came in by.
    fn is_from_neighbor(&self, arrived: &Arrived, packet: &Packet) -> bool {
        packet.tuple.protocol == icmp::V6_PROTOCOL
            && nd::is_nd(packet.kind)
            && self
                .router
                .interface(arrived.interface)
                .is_some_and(|interface| interface.has(packet.tuple.destination))
    }

    fn pass(&mut self, arrived: &Arrived, packet: &Packet) -> Result<Fate, DropReason> {
        let input = arrived.interface;
        let mut passage = self.track(arrived, packet);
        self.judge(Hook::Prerouting, &passage)?;
        let rule = self.redirect(input, packet, &mut passage)?;
        let router = self.router;
        let destination = passage.subject.tuple.destination;
        let route = router.routes.lookup(destination);
        self.say(Stage::Route, |walk| walk.route_text(destination, passage.flow));
        let own_link =
            router.interface(input).is_some_and(|own| destination.is_link_local() && own.has(destination));
        if matches!(route, Some(Route::Local)) || own_link {
            self.judge(Hook::Input, &passage)?;
            return self.local(arrived, packet);
        }
        if packet.tuple.source.is_link_local() || destination.is_link_local() {
            return Err(DropReason::Martian);
        }
        let hop = match route {
            Some(Route::Broadcast) => return Err(DropReason::Martian),
            Some(Route::Blackhole) => return Err(DropReason::Blackhole),
            Some(Route::Prohibit) => {
                self.report(arrived, packet, Trouble::Prohibited);
                return Err(DropReason::NoRoute);
            }
            route => route.and_then(|route| route.next_hop(passage.flow)),
        };
        let Some((hop, output)) = hop.and_then(|hop| Some((hop, router.interface(hop.interface)?))) else {
            self.report(arrived, packet, Trouble::NoRoute);
            return Err(DropReason::NoRoute);
        };
        if packet.ttl <= 1 {
            self.say(Stage::Check, |_| format!("TTL {}: it must not go further", packet.ttl));
            self.report(arrived, packet, Trouble::TtlExceeded);
            return Err(DropReason::TtlExceeded);
        }
        passage.subject.output = Some(hop.interface.0);
        self.judge(Hook::Forward, &passage)?;
        self.judge(Hook::Postrouting, &passage)?;
        if passage.subject.state == Tracked::Invalid {
            return Err(if passage.known.is_some() {
                DropReason::SessionInvalid
            } else {
                DropReason::NoSession
            });
        }
        let frame = &self.batch.frames()[arrived.frame as usize];
        let (fits, may_cut) = match &arrived.whole {
            None => (egress::fits(frame, output.mtu) || frame.offload.guessed, !packet.dont_fragment),
            // It leaves in parts no longer than those it came in.
            Some(whole) => {
                let too_long = whole.dont_fragment && whole.largest > output.mtu;
                (packet.len() <= output.mtu.min(whole.largest) as usize, !too_long)
            }
        };
        if !fits && may_cut {
            self.say(Stage::Fragment, |_| format!("longer than the MTU {} of {}", output.mtu, output.name));
        }
        if !fits && !may_cut {
            self.report(arrived, packet, Trouble::TooBig(output.mtu));
            return Err(DropReason::ExceedsMtu);
        }
        if packet.is_icmp_error() {
            self.translate_error(arrived, packet, &passage, hop.interface);
            return self.onward(arrived, packet, &passage, hop, None, fits);
        }
        let to = self.translate(arrived, packet, &mut passage, rule, hop.interface)?;
        self.onward(arrived, packet, &passage, hop, Some(to), fits)
    }

    /// Sends a packet that may pass to its next hop, as the flow `to`.
    fn onward(
        &mut self,
        arrived: &Arrived,
        packet: &Packet,
        passage: &Passage,
        hop: NextHop,
        to: Option<Tuple>,
        fits: bool,
    ) -> Result<Fate, DropReason> {
        let router = self.router;
        let translation = to.and_then(|to| Translation::new(&packet.tuple, &to));
        if let Some(to) = to.filter(|_| translation.is_some()) {
            self.say(Stage::Nat, |_| {
                format!("{} leaves as {}", walked::flow(&packet.tuple), walked::flow(&to))
            });
        }
        let frame = &mut self.batch.frames_mut()[arrived.frame as usize];
        rewrite::hop(frame, packet);
        if let Some(translation) = &translation {
            translation.apply(frame, packet);
        }
        let Some(output) = router.interface(hop.interface) else { return Err(DropReason::NoRoute) };
        let next =
            hop.via.unwrap_or_else(|| to.map_or(passage.subject.tuple.destination, |to| to.destination));
        if !fits {
            return self.cut(arrived, hop.interface, next);
        }
        // Read before the address is, so that one that changes meanwhile is not taken for what is true now.
        let neighbors = router.neighbors.generation();
        let Some(onward) = self.way(hop.interface, output, next) else {
            return self.ask(arrived.frame, arrived.port, packet, hop.interface, next);
        };
        self.leave(arrived.frame, arrived.port, arrived.priority, packet, &onward);
        let session = passage.known.as_ref();
        let session = session.map(|(session, direction)| (Arc::clone(session), session.stamp(), *direction));
        let settled = session.as_ref().is_none_or(|(session, ..)| is_settled(session, packet, passage));
        if may_go_fast(packet) && settled && to.is_some() && !self.routing.judged.varies {
            let flow = Flow {
                key: Key { tuple: packet.tuple, at: (self.id.0, arrived.interface) },
                neighbors,
                session,
                translation,
                output: hop.interface,
                mtu: output.mtu,
                onward,
                rules: self.routing.judged.rules.as_slice().into(),
                told: self.now.secs(),
            };
            self.routing.flows.put(passage.flow, flow);
        }
        Ok(Fate::Gone)
    }

    /// The way to a next hop, if its link address is known.
    fn way(&mut self, id: InterfaceId, interface: &Interface, next: Address) -> Option<Onward> {
        match interface.on {
            Attachment::Port(port) => Some(Onward::Port(port)),
            Attachment::Bridge { bridge, vid, mac } => {
                let to = self.router.neighbors.lookup(id, next, self.now)?;
                self.say(Stage::Neighbor, |_| format!("{next} has {to}, by interface {}", interface.name));
                let place = self.cache.place(bridge, Station::new(to, vid));
                if self.outbox.watching.recorder.is_on() {
                    self.cache.forget(&place);
                }
                Some(Onward::Bridge { bridge, vid, to, place, from: mac, via: next })
            }
        }
    }

    /// What the rules of a hook say.
    fn judge(&mut self, hook: Hook, passage: &Passage) -> Result<(), DropReason> {
        let before = self.routing.judged.rules.len();
        let verdict = self.router.filter.judge(hook, &passage.subject, self.now, &mut self.routing.judged);
        self.say_verdict(hook, before, verdict);
        verdict
    }

    /// Counts the rules that a packet met, and has it logged where one wants that.
    fn note_rules(&mut self, arrived: &Arrived, packet: &Packet) {
        let Routing { judged, rules, .. } = &mut *self.routing;
        judged.rules.iter().for_each(|&rule| count(rules, rule, packet.len()));
        for &rule in &judged.log {
            if self.events.len() < MAX_EVENTS {
                self.events.push(Event::Logged { rule, port: arrived.port, tuple: packet.tuple });
            }
        }
    }
}

/// Whether what was decided about a packet holds for all like it of its flow: it is whole, has a hop left and no options,
/// opens and closes no connection, and is of a protocol whose flows have the tuple to themselves.
#[inline]
fn may_go_fast(packet: &Packet) -> bool {
    let header = if packet.tuple.source.is_v4() { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
    let plain = packet.part == Part::Whole && packet.ttl > 1 && usize::from(packet.l4 - packet.l3) == header;
    plain
        && match packet.tuple.protocol {
            tcp::PROTOCOL => packet.kind & (tcp::SYN | tcp::FIN | tcp::RST | tcp::ACK) == tcp::ACK,
            // Without an identifier a request and a reply have the same tuple.
            icmp::PROTOCOL | icmp::V6_PROTOCOL => packet.tuple.source_port != packet.tuple.destination_port,
            _ => true,
        }
}

/// Whether a connection stays as it is while only packets come that go the fast way, and is what it was when this one was
/// decided about: another worker may have moved it on. Asked when its stamp has been read, so that what moves it on later
/// shows.
fn is_settled(session: &Session, packet: &Packet, passage: &Passage) -> bool {
    let is_new = passage.subject.state == Tracked::New;
    is_new == (session.state() == State::New)
        && (packet.tuple.protocol != tcp::PROTOCOL
            || session.state() == State::Established && !session.is_half_open())
}

/// What conntrack is to know of a TCP segment.
#[inline]
pub(in crate::switch) fn segment(frame: &Frame, packet: &Packet) -> Option<TcpSegment> {
    if packet.tuple.protocol != tcp::PROTOCOL || packet.part == Part::Later {
        return None;
    }
    let l4 = packet.upper_layer(frame);
    let header = tcp::header_len(l4)?;
    let scale = || tcp::window_scale(l4.get(..header)?);
    Some(TcpSegment {
        flags: packet.kind,
        sequence: tcp::sequence(l4),
        ack: tcp::acknowledgement(l4),
        window: tcp::window(l4),
        len: l4.len().saturating_sub(header) as u32,
        window_scale: if packet.kind & tcp::SYN != 0 { scale() } else { None },
    })
}

/// Whether a frame went to all stations of a link, or to a group of them.
#[inline]
fn is_for_all(frame: &Frame) -> bool {
    frame.layer == Layer::Ethernet && frame.bytes().first().is_some_and(|first| first & 1 != 0)
}

/// Whether a packet says which way it wants to go, which nobody is to be trusted to (RFC 7126 section 4.3, RFC 5095).
fn has_source_route(frame: &Frame, packet: &Packet) -> bool {
    let header = &frame.bytes()[usize::from(packet.l3)..usize::from(packet.l4)];
    match packet.tuple.source.is_v4() {
        true => ipv4::has_source_route(header),
        false => ipv6::has_routing_header(header),
    }
}

/// The Ethernet type of a packet with this address.
fn ether_type(address: Address) -> u16 {
    if address.is_v4() { ipv4::ETHER_TYPE } else { ipv6::ETHER_TYPE }
}
