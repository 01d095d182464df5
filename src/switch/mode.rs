//! Port modes: which ports of a bridge frames pass between, as people know it from macvlan and macvtap.
//!
//! # Uplinks and the others
//!
//! An *uplink* leads outside: it is what macvlan calls the lower device. The other ports are the stations' of this machine,
//! each in a [`Mode`]. Every port passes frames to and from uplinks; the mode says what passes between two that are none.
//!
//! | from \ to | `bridge` | `private` | `vepa` |
//! |---|---|---|---|
//! | `bridge` | here | nothing | by the uplink and back |
//! | `private` | nothing | nothing | nothing |
//! | `vepa` | by the uplink and back | to the uplink, not back | by the uplink and back |
//!
//! *Here* is what a bridge does anyway. *By the uplink and back* is the virtual Ethernet port aggregator of 802.1Qbg: the
//! frame leaves by the uplinks and by nothing else, also when its destination is known to be a neighbour's, and the switch
//! outside, which may count, filter and police it like any other, sends it back by the port that it came in by. What is
//! flooded leaves a `vepa` or `private` port by the uplinks alone, and a `bridge` port by uplinks and other `bridge` ports.
//! `private` ends here what would end here anyway, so that it is seen in the counters; what a `vepa` port sends goes out
//! even so, since all of it is the outer switch's to see.
//!
//! # What comes back
//!
//! A frame that comes in by an uplink from a station that is behind another port of the bridge, maybe another uplink, has
//! come back: the outer switch reflects, or there is a loop. The FDB tells: it is where that station's frames came in a
//! moment ago. Such a frame goes, if its destination or its group asks for it,
//!
//! * from a `vepa` station to `vepa` and `bridge` ports,
//! * from a `bridge` station to `vepa` ports only: the others had it on its way out,
//! * from a `private` station, or one behind another uplink, to nobody,
//!
//! and never to the port that its sender is behind, to another uplink, or to a router of the bridge, which had it before.
//! Nor is its source learned at the uplink, or the sender would flap between its port and the uplink at every frame.
//!
//! Stations do move, and a guest that was migrated to another machine speaks from the uplink from then on. What is
//! reflected comes within milliseconds; so a station that was not heard at its own port for [`HOLD`], beyond what its age in
//! the FDB may be stale, and that then speaks from the uplink, is there, and learned there. Back again it is at its first
//! frame from its port. A static entry does not move at all,
//! and one at an uplink binds nobody to speak by that one. Where the sources of a port are not learned, nothing tells
//! what comes back from what is new: `vepa` and `private` ports learn.
//!
//! macvlan does the same for groups; a unicast frame that comes back it gives to whoever has the address, `private` or not.
//!
//! # Passthrough
//!
//! A bridge of a `passthrough` port and one uplink is a wire: what comes in by one leaves by the other, whatever its
//! addresses, its tags and its groups are, those included that no bridge forwards (LACP, LLDP). Nothing is learned.
//!
//! # With everything else
//!
//! * `isolated` and split horizon come on top: what they keep apart no mode joins, and what comes back is kept from isolated
//!   ports as if it had come by its sender's. A tunnel may be an uplink; all its peers are outside.
//! * VLANs are told before modes are asked: a frame leaves by an uplink only in a VLAN that the uplink has.
//! * A router of the bridge, and the bridge's own address, are to be had from every port: they are not a sibling's.
//! * A bridge that answers for neighbours does so only for who could talk to the asker directly.
//! * Rules of the bridge judge each passage: what leaves by the uplink and comes back is judged twice, the second time with
//!   the uplink as the port it came in by. On a passthrough bridge they hold as well.
//! * Storm control counts what comes back at the uplink, like all that comes in there.
//! * A patch port may have any mode: two bridges joined by one are to each other what two switches are.
//!
//! # Hairpin
//!
//! The other side of VEPA, reflective relay: a frame may leave by the port it came in by, if its destination is there or it
//! is flooded. `isolated` and split horizon are about two ports, and do not hinder it.

use std::time::Duration;

use crate::packet::DropReason;
use crate::table::fdb::Fdb;

/// What a port is to the others of its bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Talks to its like and to uplinks.
    #[default]
    Bridge,
    /// Leads outside; talks to all.
    Uplink,
    /// Talks to uplinks only.
    Private,
    /// Sends everything to uplinks, and gets what comes back from there.
    Vepa,
    /// The only one beside an uplink, which gets everything.
    Passthrough,
}

impl Mode {
    /// The modes that a port without `uplink` may be given.
    pub const GIVEN: [Mode; 4] = [Mode::Bridge, Mode::Private, Mode::Vepa, Mode::Passthrough];

    /// Its name on the surface.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Bridge => "bridge",
            Mode::Uplink => "uplink",
            Mode::Private => "private",
            Mode::Vepa => "vepa",
            Mode::Passthrough => "passthrough",
        }
    }
}

/// Which other ports of its bridge a port passes nothing to. What a port is and what it keeps from are sets of the same
/// bits, so that one comparison settles the usual case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apart {
    is: u8,
    keeps_from: u8,
    mode: Mode,
}

const ISOLATED: u8 = 1;
const SPLIT_HORIZON: u8 = 2;
/// No uplink.
const INSIDE: u8 = 4;
/// No uplink, and not of mode `bridge` either.
const RECLUSE: u8 = 8;

impl Default for Apart {
    fn default() -> Apart {
        Apart::NOT
    }
}

impl Apart {
    /// A port of mode `bridge` that is nothing else.
    pub const NOT: Apart = Apart::new(Mode::Bridge, false, false);
    /// An isolated one.
    pub const ISOLATED: Apart = Apart::new(Mode::Bridge, true, false);
    /// One with split horizon.
    pub const SPLIT_HORIZON: Apart = Apart::new(Mode::Bridge, false, true);

    /// A port of mode `mode`. If it is `isolated` it talks to no other isolated port. With `split_horizon` it passes nothing
    /// on to other ports of the same mind, and nothing from one of its peers to another: on for tunnels, since a full mesh
    /// of them is a loop (RFC 4762 section 4.4).
    pub const fn new(mode: Mode, isolated: bool, split_horizon: bool) -> Apart {
        let alike = if isolated { ISOLATED } else { 0 } | if split_horizon { SPLIT_HORIZON } else { 0 };
        let (is, keeps_from) = match mode {
            Mode::Uplink => (0, 0),
            Mode::Bridge => (INSIDE, RECLUSE),
            Mode::Private | Mode::Vepa | Mode::Passthrough => (INSIDE | RECLUSE, INSIDE),
        };
        Apart { is: is | alike, keeps_from: keeps_from | alike, mode }
    }

    /// Its mode.
    pub const fn mode(self) -> Mode {
        self.mode
    }

    /// Whether it talks to no other isolated port.
    pub const fn is_isolated(self) -> bool {
        self.is & ISOLATED != 0
    }

    /// Whether it passes nothing on to other ports with split horizon.
    pub const fn has_split_horizon(self) -> bool {
        self.is & SPLIT_HORIZON != 0
    }

    /// Whether nothing passes from here to `to`, not directly at least.
    #[inline(always)]
    pub(super) const fn keeps_from(self, to: Apart) -> bool {
        self.keeps_from & to.is != 0
    }

    /// What becomes of a unicast frame from here to `to`, which this port keeps from.
    pub(super) fn parting(self, to: Apart) -> Parting {
        match (self.alike(to), self.mode, to.mode) {
            (Some(reason), ..) => Parting::Dropped(reason),
            (None, Mode::Vepa, _) | (None, Mode::Bridge, Mode::Vepa) => Parting::ByUplinks,
            (None, ..) => Parting::Dropped(DropReason::Private),
        }
    }

    /// What keeps two ports apart whatever their modes are.
    pub(super) const fn alike(self, to: Apart) -> Option<DropReason> {
        let common = self.is & to.is;
        if common & ISOLATED != 0 {
            Some(DropReason::Isolated)
        } else if common & SPLIT_HORIZON != 0 {
            Some(DropReason::SplitHorizon)
        } else {
            None
        }
    }

    /// Why a frame that came back from outside, and was sent by a station behind this port, is not for another port, `to`;
    /// `None` when it is.
    pub(super) fn keeps_back(self, to: Apart) -> Option<DropReason> {
        if let Some(reason) = self.alike(to) {
            return Some(reason);
        }
        match (self.mode, to.mode) {
            (Mode::Vepa, Mode::Vepa | Mode::Bridge) | (Mode::Bridge, Mode::Vepa) => None,
            (Mode::Private, _) | (Mode::Bridge | Mode::Vepa, Mode::Private) => Some(DropReason::Private),
            _ => Some(DropReason::Reflected),
        }
    }
}

/// What becomes of a frame whose destination is behind a port that its own keeps from.
pub(super) enum Parting {
    Dropped(DropReason),
    /// It leaves by the uplinks, and may come back.
    ByUplinks,
}

/// How long after a station was last noted at its port its frames that come in by an uplink are taken for reflected, on top
/// of the refresh period of the FDB.
pub const HOLD: Duration = Duration::from_secs(1);

/// How stale the age of an entry may get on a bridge with ports of these modes: with uplinks, [`HOLD`] at most.
pub fn refresh_period(ageing: Duration, modes: impl IntoIterator<Item = Mode>) -> Duration {
    let period = Fdb::refresh_period(ageing);
    if modes.into_iter().any(|mode| mode == Mode::Uplink) { period.min(HOLD) } else { period }
}
