//! Datagrams that come in fragments and are wanted whole.

use crate::packet::{DropReason, Frame, InterfaceId, Layer, Packet, PortId, RouterId};
use crate::time::Time;

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was the one that was missing: the whole packet is in the frame given.
    Whole(Whole),
    /// It waits for the others. The frame is taken: it counts as replied at its port.
    Kept,
    /// It is dropped; what is thrown away with it stands in `thrown`.
    Refused(DropReason),
}

/// How a packet that is whole again came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// In how many fragments.
    pub fragments: u32,
    /// Bytes of the longest as an IP packet: nothing longer may leave than came in.
    pub largest: u32,
    /// One of the fragments must not be fragmented further; so says the whole packet's header then.
    pub dont_fragment: bool,
    /// The identification that its fragments had.
    pub identification: u32,
}

/// Fragments of a port that were kept and are dropped now. They were counted as replied when they were kept, so that
/// they count as copies of that port now, and as drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thrown {
    /// The port they came in by.
    pub port: PortId,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub frames: u32,
}

/// A datagram that did not get whole in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The router and its interface that its fragments came in by.
    pub at: (RouterId, InterfaceId),
    /// Its first fragment, whole frame, where that came: who sent it is told (ICMP Time Exceeded, code 1).
    pub first: Option<First>,
}

/// The first fragment of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// The frame's bytes.
    pub bytes: Box<[u8]>,
    /// What they begin with.
    pub layer: Layer,
    /// The port it came in by.
    pub from: PortId,
}

/// See the module.
#[derive(Default)]
pub struct Reassembly {}

impl Reassembly {
    /// Takes the fragment `packet` of `frame`, which came in at `at` by the port `from`, and writes the packet that it
    /// makes whole to `whole`. Kept fragments that are thrown away for it are added to `thrown`.
    pub fn take(
        &mut self,
        frame: &Frame,
        packet: &Packet,
        at: (RouterId, InterfaceId),
        from: PortId,
        now: Time,
        whole: &mut Frame,
        thrown: &mut Vec<Thrown>,
    ) -> Outcome {
        let _ = (frame, packet, at, from, now, whole, thrown);
        Outcome::Refused(DropReason::FragmentFlood)
    }

    /// Throws away what did not get whole in time, and says when to come again.
    pub fn expire(
        &mut self,
        now: Time,
        expired: &mut Vec<Expired>,
        thrown: &mut Vec<Thrown>,
    ) -> Option<Time> {
        let _ = (now, expired, thrown);
        None
    }
}
